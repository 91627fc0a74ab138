"""Pictures that stay in their files, and a memory-saving index of millions of them."""

from __future__ import annotations

import hashlib
import os
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Self

import numpy as np

from trainables.errors import DataError

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from pathlib import Path

    from numpy.typing import NDArray


@dataclass(frozen=True, eq=False)
class Pictures:
    """Picture files of a folder, in a fixed order; 8-bit colour once decoded.

    Attributes:
        root: folder that contains the files.
        names: file names relative to the folder, UTF-8, one after the other; uint8.
        ends: end of each name in `names`, int64, shape (n,).
        sizes: sizes of the files in bytes, int64, shape (n,).
        resize: short side, in pixels, to which a picture is resized before a part is cut out; None
            resizes only pictures that are smaller than the part.
    """

    root: Path
    names: NDArray[np.uint8]
    ends: NDArray[np.int64]
    sizes: NDArray[np.int64]
    resize: int | None = None

    @classmethod
    def of(cls, root: Path, names: Sequence[bytes], resize: int | None = None) -> Self:
        """Look up files and return their index.

        Args:
            root: folder that contains the files.
            names: file names relative to the folder.
            resize: value of the attribute `resize`.

        Raises:
            DataError: if files are missing, or a name is not UTF-8 or leaves the folder.
        """
        check_inside(names)
        sizes, missing = _sizes(root, names)
        if missing:
            first = os.fsdecode(missing[0]).encode("utf-8", "backslashreplace").decode()
            raise DataError(
                f"{root} lacks {first}"
                + (f" and {len(missing) - 1} more" if missing[1:] else "")
                + f" of the {len(names)} files that its lists name: unpack the pictures there, all"
                " of them"
            )
        lengths = np.fromiter(map(len, names), dtype=np.int64, count=len(names))
        joined = np.frombuffer(b"".join(names), dtype=np.uint8)
        return cls(root, joined, np.cumsum(lengths), sizes, resize)

    def __len__(self) -> int:
        return len(self.ends)

    def name(self, position: int) -> str:
        """Return the name of a file, relative to the folder."""
        start = int(self.ends[position - 1]) if position else 0
        return self.names[start : int(self.ends[position])].tobytes().decode()

    def path(self, position: int) -> str:
        """Return the path of a file."""
        return f"{self.root}/{self.name(position)}"

    def fingerprint(self) -> bytes:
        """Return a digest of the names, the sizes and `resize`."""
        content = hashlib.sha256(str(self.resize).encode())
        for array in (self.names, self.ends, self.sizes):
            content.update(np.ascontiguousarray(array).data)
        return content.digest()


def thumbnails(
    pictures: Pictures, positions: NDArray[np.integer], side: int = 128
) -> NDArray[np.uint8]:
    """Return small versions of the central squares of pictures, uint8, shape (n, 3, side, side).

    A picture that cannot be decoded is black.

    Args:
        pictures: index of the pictures.
        positions: positions of the wanted ones in it, shape (n,).
        side: side of a thumbnail, in pixels.
    """
    from PIL import Image, ImageOps

    pixels = np.zeros((len(positions), 3, side, side), dtype=np.uint8)
    for row, position in zip(pixels, positions, strict=True):
        with suppress(OSError, ValueError), Image.open(pictures.path(int(position))) as picture:
            row[:] = np.asarray(ImageOps.fit(picture.convert("RGB"), (side, side))).transpose(
                2, 0, 1
            )
    return pixels


def check_inside(names: Iterable[bytes]) -> None:
    """Check that names are UTF-8 and do not leave the folder that they are relative to.

    Raises:
        DataError: if a name is not UTF-8 or leaves the folder.
    """
    for name in names:
        if name.startswith(b"/") or (b".." in name and b".." in name.split(b"/")):
            text = name.decode("utf-8", "backslashreplace")
            raise DataError(f"'{text}' leaves the data folder: names are relative to it")
        if not name.isascii():
            try:
                name.decode()
            except UnicodeDecodeError as error:
                text = name.decode("utf-8", "backslashreplace")
                raise DataError(f"the name '{text}' is not UTF-8: rename the file") from error


def _sizes(root: Path, names: Sequence[bytes]) -> tuple[NDArray[np.int64], list[bytes]]:
    prefix = os.fsencode(root) + b"/"
    sizes = np.empty(len(names), dtype=np.int64)
    missing = []
    for position, name in enumerate(names):
        try:
            sizes[position] = os.stat(prefix + name).st_size  # noqa: PTH116 - a million Paths are slow
        except OSError:
            missing.append(name)
    return sizes, missing
