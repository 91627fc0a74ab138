"""Pictures that stay files: an index of millions of them in little memory."""

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
    """Files of a folder, in an order; 8-bit colour once decoded.

    Attributes:
        root: the folder.
        names: all names one after the other, UTF-8, relative to the folder; uint8.
        ends: where each name ends in `names`, int64, shape (n,).
        sizes: of the files in bytes, int64, shape (n,).
        resize: what the short side is brought to before a part is cut out; None: nothing is
            resized unless it is smaller than the part.
    """

    root: Path
    names: NDArray[np.uint8]
    ends: NDArray[np.int64]
    sizes: NDArray[np.int64]
    resize: int | None = None

    @classmethod
    def of(cls, root: Path, names: Sequence[bytes], resize: int | None = None) -> Self:
        """Index files, looking each up.

        Args:
            root: the folder.
            names: relative to it.
            resize: see the attribute.

        Raises:
            DataError: a file is missing, or a name leaves the folder; names the first and how many.
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
        """Return a digest of names, sizes and how they are read."""
        content = hashlib.sha256(str(self.resize).encode())
        for array in (self.names, self.ends, self.sizes):
            content.update(np.ascontiguousarray(array).data)
        return content.digest()


def thumbnails(
    pictures: Pictures, positions: NDArray[np.integer], side: int = 128
) -> NDArray[np.uint8]:
    """Return the middle squares of some pictures made small, uint8, shape (n, 3, side, side).

    A picture that cannot be decoded is black.
    """
    from PIL import Image, ImageOps

    found = np.zeros((len(positions), 3, side, side), dtype=np.uint8)
    for row, position in zip(found, positions, strict=True):
        with suppress(OSError, ValueError), Image.open(pictures.path(int(position))) as picture:
            row[:] = np.asarray(ImageOps.fit(picture.convert("RGB"), (side, side))).transpose(
                2, 0, 1
            )
    return found


def check_inside(names: Iterable[bytes]) -> None:
    """See that names are UTF-8 and stay inside the folder that they are relative to.

    Raises:
        DataError: one does not.
    """
    for name in names:
        if name.startswith(b"/") or (b".." in name and b".." in name.split(b"/")):
            shown = name.decode("utf-8", "backslashreplace")
            raise DataError(f"'{shown}' leaves the data folder: names are relative to it")
        if not name.isascii():
            try:
                name.decode()
            except UnicodeDecodeError as error:
                shown = name.decode("utf-8", "backslashreplace")
                raise DataError(f"the name '{shown}' is not UTF-8: rename the file") from error


def _sizes(root: Path, names: Sequence[bytes]) -> tuple[NDArray[np.int64], list[bytes]]:
    base = os.fsencode(root) + b"/"
    sizes = np.empty(len(names), dtype=np.int64)
    missing = []
    for position, name in enumerate(names):
        try:
            sizes[position] = os.stat(base + name).st_size  # noqa: PTH116 - a million Paths are slow
        except OSError:
            missing.append(name)
    return sizes, missing
