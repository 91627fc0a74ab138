"""Compact index of millions of picture files, which are decoded on demand."""

from __future__ import annotations

import hashlib
import os
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Self

import numpy as np

from trainables.errors import DataError

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from numpy.typing import NDArray


@dataclass(frozen=True, eq=False)
class Pictures:
    """Index of the picture files in a folder: names and sizes, in a fixed order.

    Attributes:
        root: folder that contains the files.
        names: all file names, relative to `root`, as one array of concatenated UTF-8 bytes; uint8.
        ends: end of each file name in `names`, int64, shape (n,).
        sizes: size of each file in bytes, int64, shape (n,).
        short_side: length in pixels to which the short side of a picture is resized before a square
            is cut out; None resizes only pictures that are smaller than the square.
    """

    root: Path
    names: NDArray[np.uint8]
    ends: NDArray[np.int64]
    sizes: NDArray[np.int64]
    short_side: int | None = None

    @classmethod
    def from_names(cls, root: Path, names: Sequence[bytes], short_side: int | None = None) -> Self:
        """Create the index of the given files; their sizes are read from the file system.

        Args:
            root: folder that contains the files.
            names: file names relative to `root`, as UTF-8 bytes.
            short_side: length in pixels to which short sides are resized; see the class.

        Raises:
            DataError: if files are missing, or a name is not UTF-8 or points outside the folder.
        """
        check_inside(names)
        sizes, missing = _read_sizes(root, names)
        if missing:
            first = os.fsdecode(missing[0]).encode("utf-8", "backslashreplace").decode()
            raise DataError(
                f"{root}: {len(missing)} of the {len(names)} listed files are missing, the first "
                f"is {first}: unpack all pictures into this folder"
            )
        lengths = np.fromiter(map(len, names), dtype=np.int64, count=len(names))
        concatenated = np.frombuffer(b"".join(names), dtype=np.uint8)
        return cls(root, concatenated, np.cumsum(lengths), sizes, short_side)

    def __len__(self) -> int:
        return len(self.ends)

    def name(self, position: int) -> str:
        """Return the name, relative to `root`, of the file at a position of the index."""
        start = int(self.ends[position - 1]) if position else 0
        return self.names[start : int(self.ends[position])].tobytes().decode()

    def path(self, position: int) -> str:
        """Return the path of the file at a position of the index."""
        return f"{self.root}/{self.name(position)}"

    def fingerprint(self) -> bytes:
        """Return the SHA-256 of the file names, the file sizes and `short_side`."""
        content = hashlib.sha256(str(self.short_side).encode())
        for array in (self.names, self.ends, self.sizes):
            content.update(np.ascontiguousarray(array).data)
        return content.digest()


def thumbnails(
    pictures: Pictures, positions: NDArray[np.integer], side: int = 128
) -> NDArray[np.uint8]:
    """Return thumbnails of the central squares of pictures, uint8, shape (n, 3, side, side).

    The thumbnail of a picture that cannot be decoded is black.

    Args:
        pictures: index of the pictures.
        positions: positions of the pictures in the index, shape (n,).
        side: height and width of a thumbnail in pixels.
    """
    from PIL import Image, ImageOps

    pixels = np.zeros((len(positions), 3, side, side), dtype=np.uint8)
    for row, position in zip(pixels, positions, strict=True):
        path = Path(pictures.path(int(position)))
        if not path.is_file():  # reading a pipe or a device may never end
            continue
        with suppress(OSError, ValueError), Image.open(path) as picture:
            row[:] = np.asarray(ImageOps.fit(picture.convert("RGB"), (side, side))).transpose(
                2, 0, 1
            )
    return pixels


def check_inside(names: Iterable[bytes]) -> None:
    """Check that relative file names are UTF-8 and do not point outside their folder.

    Raises:
        DataError: if a name is not UTF-8 or points outside the folder.
    """
    for name in names:
        if name.startswith(b"/") or (b".." in name and b".." in name.split(b"/")):
            text = name.decode("utf-8", "backslashreplace")
            raise DataError(
                f"the name '{text}' points outside the data folder: use a name relative to the "
                "folder"
            )
        if not name.isascii():
            try:
                name.decode()
            except UnicodeDecodeError as error:
                text = name.decode("utf-8", "backslashreplace")
                raise DataError(f"the name '{text}' is not UTF-8: rename the file") from error


def _read_sizes(root: Path, names: Sequence[bytes]) -> tuple[NDArray[np.int64], list[bytes]]:
    """Return the size of each file in bytes, and the names of files that are missing."""
    prefix = os.fsencode(root) + b"/"
    sizes = np.empty(len(names), dtype=np.int64)
    missing = []
    for position, name in enumerate(names):
        try:
            sizes[position] = os.stat(prefix + name).st_size  # noqa: PTH116 - a million Paths are slow
        except OSError:
            missing.append(name)
    return sizes, missing
