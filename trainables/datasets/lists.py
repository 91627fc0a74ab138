"""Lists of files and labels of large datasets: one `<name> <label>` a line.

They are read line by line, since a whole list of a million lines would take more memory than the
names and labels in it.
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
    """Yield the number, counted from 1, and the content of each line.

    Raises:
        DataError: if the list cannot be read or is empty.
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
    """Read a list with one text a line, such as the title of a class.

    Raises:
        DataError: if the list cannot be read or is empty, or a line is empty or not UTF-8.
    """
    texts = []
    for number, line in iter_lines(path):
        try:
            text = line.decode().strip()
        except UnicodeDecodeError as error:
            raise DataError(
                f"{path}:{number}: {_printable(line)} is not UTF-8: get it again"
            ) from error
        if not text:
            raise DataError(f"{path}:{number}: the line is empty: get it again")
        texts.append(text)
    return texts


def read_names(path: Path) -> list[bytes]:
    """Read a list with one name a line.

    Raises:
        DataError: if the list cannot be read or is empty, or a line is not one name or repeats one.
    """
    names = []
    for number, line in iter_lines(path):
        words = line.split()
        if len(words) != 1:
            raise DataError(f"{path}:{number}: expected one name, got {_printable(line)}")
        names.append(words[0])
    check_unique(path, names)
    return names


def read_pairs(path: Path, classes: int) -> tuple[list[bytes], NDArray[np.int64]]:
    """Read a list with a name and a label a line.

    Args:
        path: path of the list.
        classes: number of classes K.

    Returns:
        Names and labels, in the order of the lines.

    Raises:
        DataError: if the list cannot be read or is empty, a line is not a name and a label, or a
            label is outside 0..K-1.
    """
    names: list[bytes] = []
    labels = array("q")
    for number, line in iter_lines(path):
        words = line.split()
        if len(words) != 2 or not words[1].isdigit():
            raise DataError(f"{path}:{number}: expected '<name> <label>', got {_printable(line)}")
        label = int(words[1])
        if label >= classes:
            raise DataError(f"{path}:{number}: label {label} is outside 0..{classes - 1}")
        names.append(words[0])
        labels.append(label)
    return names, np.frombuffer(labels, dtype=np.int64).copy()


def check_unique(path: Path, names: list[bytes]) -> None:
    """Check that no name is in a list twice.

    Raises:
        DataError: if one is; the message names its line.
    """
    if len(set(names)) < len(names):
        seen: set[bytes] = set()
        for number, name in enumerate(names, start=1):
            if name in seen:
                raise DataError(f"{path}:{number}: {_printable(name)} is in the list twice")
            seen.add(name)


def _printable(line: bytes) -> str:
    return repr(line.strip()[:80].decode("utf-8", "backslashreplace"))
