"""Reading of new images for the network of a finished run, in the way of the run's evaluations.

Pictures are read by the decoder that read the run's own images. A dataset of picture files is
resized and cropped as in an evaluation. The images of other datasets have one size; a picture of
another size is resized until it covers that size, and cropped to its centre.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from trainables.datasets.folder import decode
from trainables.datasets.npz import channels_first
from trainables.errors import DataError
from trainables.run_data.picture_loader import (
    central_crop,
    decode_picture,
    resize,
    resize_short_side,
)

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

ARRAY_SUFFIXES = (".npy", ".npz")
"""Suffixes of the files that contain an array of images instead of one picture."""
ARRAY_NAME = "x_test"
"""Name of the array that is read from a .npz file with several arrays."""


@dataclass(frozen=True, slots=True)
class InputFormat:
    """Format of the images that a network takes, and the way from a picture file to it.

    Attributes:
        shape: shape (C, H, W) of an image.
        short_side: length in pixels to which the short side of a picture file is resized before a
            square is cut out; None keeps its length, if it is not too short.
        has_picture_files: whether the network was trained on picture files of any size.
    """

    shape: tuple[int, int, int]
    short_side: int | None = None
    has_picture_files: bool = False


def read_images(path: Path, input_format: InputFormat) -> NDArray[np.uint8]:
    """Read the images in a file: one picture, or the array of a .npy or .npz file.

    Args:
        path: path of the file.
        input_format: format of the returned images.

    Returns:
        Pixels, uint8, shape (n, C, H, W).

    Raises:
        DataError: if the file cannot be read, or contains other images.
    """
    if path.suffix.lower() in ARRAY_SUFFIXES:
        return _read_array(path, input_format.shape)
    channels, height, width = input_format.shape
    if input_format.has_picture_files:
        image = resize_short_side(decode_picture(str(path)), input_format.short_side, height)
    else:
        image = _decode(path, channels)
        scale = max(height / image.shape[1], width / image.shape[2])
        if scale != 1:
            rounded = [round(side * scale) for side in image.shape[1:]]
            image = resize(image, [max(height, rounded[0]), max(width, rounded[1])])
    pixels: NDArray[np.uint8] = central_crop(image, height, width).numpy()
    return pixels[None]


def _decode(path: Path, channels: int) -> torch.Tensor:
    """Decode a picture to RGB or grey pixels, uint8, shape (C, h, w)."""
    from PIL import Image

    pixels = decode(path)
    if channels == 1:
        pixels = np.asarray(Image.fromarray(pixels).convert("L"))[:, :, None]
    return torch.from_numpy(np.array(pixels.transpose(2, 0, 1), order="C"))


def _read_array(path: Path, shape: tuple[int, int, int]) -> NDArray[np.uint8]:
    """Read images from a .npy file, or from the only array or `x_test` of a .npz file."""
    try:
        with path.open("rb") as stream:
            content = np.load(stream, allow_pickle=False)
            if isinstance(content, np.ndarray):
                images: NDArray[Any] = content
            elif len(content.files) == 1 or ARRAY_NAME in content.files:
                images = content[content.files[0] if len(content.files) == 1 else ARRAY_NAME]
            else:
                raise DataError(f"{path} has {len(content.files)} arrays, none is '{ARRAY_NAME}'")
    except DataError:
        raise
    except OSError as error:
        raise DataError(f"cannot read {path}: {error.strerror or error}") from error
    except Exception as error:  # a damaged file raises errors of many kinds
        raise DataError(f"cannot read {path} as a NumPy array without Python objects") from error
    expected = "×".join(map(str, shape))
    if images.dtype != np.uint8 or images.ndim not in (3, 4):
        raise DataError(
            f"{path} is {images.dtype} of shape {images.shape}, required are uint8 images of "
            f"{expected}, with pixels from 0 to 255"
        )
    images = channels_first(images)
    if images.shape[1:] != shape:
        raise DataError(
            f"{path} has images of {'×'.join(map(str, images.shape[1:]))}, required are {expected}"
        )
    return np.ascontiguousarray(images)
