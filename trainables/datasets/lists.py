"""Lists of files and labels as large datasets come with: one `<name> <label>` a line.

They are read line by line: a list of a million lines held twice would take more memory than all
that is kept of it.
"""

from __future__ import annotations

from array import array
from typing import TYPE_CHECKING

import numpy as np

from trainables.errors import DataError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from numpy.typing import NDArray


def iter_lines(path: Path) -> Iterator[tuple[int, bytes]]:
    """Yield number and content of each line.

    Raises:
        DataError: the list cannot be read, or is empty.
    """
    number = 0
    try:
        with path.open("rb") as file:
            for number, line in enumerate(file, start=1):
                yield number, line
    except OSError as error:
        raise DataError(f"cannot read {path}: {error.strerror}") from error
    if not number:
        raise DataError(f"{path} is empty: get it again")


def read_texts(path: Path) -> list[str]:
    """Read one text a line, such as the title of a class.

    Raises:
        DataError: as for `iter_lines`, or a line is empty or not UTF-8.
    """
    texts = []
    for number, line in iter_lines(path):
        try:
            text = line.decode().strip()
        except UnicodeDecodeError as error:
            raise DataError(
                f"{path}:{number}: {_shown(line)} is not UTF-8: get it again"
            ) from error
        if not text:
            raise DataError(f"{path}:{number}: the line is empty: get it again")
        texts.append(text)
    return texts


def read_names(path: Path) -> list[bytes]:
    """Read one name a line, none of them twice.

    Raises:
        DataError: as for `iter_lines`, or a line is no name, or one that stood there before.
    """
    names = []
    for number, line in iter_lines(path):
        words = line.split()
        if len(words) != 1:
            raise DataError(f"{path}:{number}: expected one name, got {_shown(line)}")
        names.append(words[0])
    check_unique(path, names)
    return names


def read_pairs(path: Path, classes: int) -> tuple[list[bytes], NDArray[np.int64]]:
    """Read a name and a label a line.

    Args:
        path: of the list.
        classes: number of classes K.

    Returns:
        Names and labels, in the order of the lines.

    Raises:
        DataError: as for `iter_lines`, or a line is no such pair, or a label is outside 0..K-1.
    """
    names: list[bytes] = []
    labels = array("q")
    for number, line in iter_lines(path):
        words = line.split()
        if len(words) != 2 or not words[1].isdigit():
            raise DataError(f"{path}:{number}: expected '<name> <label>', got {_shown(line)}")
        label = int(words[1])
        if label >= classes:
            raise DataError(f"{path}:{number}: label {label} is outside 0..{classes - 1}")
        names.append(words[0])
        labels.append(label)
    return names, np.frombuffer(labels, dtype=np.int64).copy()


def check_unique(path: Path, names: list[bytes]) -> None:
    """See that no name stands in a list twice.

    Raises:
        DataError: one does.
    """
    if len(set(names)) < len(names):
        seen: set[bytes] = set()
        for number, name in enumerate(names, start=1):
            if name in seen:
                raise DataError(f"{path}:{number}: {_shown(name)} stands there twice")
            seen.add(name)


def _shown(line: bytes) -> str:
    return repr(line.strip()[:80].decode("utf-8", "backslashreplace"))
