"""Readers of text files that list the file names and labels of a large dataset.

Lists may have a million lines. They are read line by line to save memory.
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
    """Yield the number (from 1) and the content of each line of a text file.

    Raises:
        DataError: if the file cannot be read or is empty.
    """
    line_number = 0
    try:
        with path.open("rb") as file:
            for line_number, line in enumerate(file, start=1):
                yield line_number, line
    except OSError as error:
        raise DataError(f"cannot read {path}: {error.strerror}") from error
    if not line_number:
        raise DataError(f"{path} is empty: download this file again")


def read_texts(path: Path) -> list[str]:
    """Return the lines of a text file, without blanks at their beginning and end.

    Raises:
        DataError: if the file cannot be read or is empty, or a line is empty or not UTF-8.
    """
    texts = []
    for line_number, line in iter_lines(path):
        try:
            text = line.decode().strip()
        except UnicodeDecodeError as error:
            raise DataError(
                f"{path}:{line_number}: {_printable(line)} is not UTF-8: download this file again"
            ) from error
        if not text:
            raise DataError(f"{path}:{line_number}: the line is empty: download this file again")
        texts.append(text)
    return texts


def read_names(path: Path) -> list[bytes]:
    """Return the names in a text file that has one name on each line.

    Raises:
        DataError: if the file cannot be read or is empty, a line does not contain exactly one name,
            or a name occurs twice.
    """
    names = []
    for line_number, line in iter_lines(path):
        fields = line.split()
        if len(fields) != 1:
            raise DataError(f"{path}:{line_number}: expected one name, got {_printable(line)}")
        names.append(fields[0])
    check_unique(path, names)
    return names


def read_pairs(path: Path, class_count: int) -> tuple[list[bytes], NDArray[np.int64]]:
    """Return the names and labels in a text file that has `<name> <label>` on each line.

    Args:
        path: path of the list.
        class_count: number of classes K.

    Returns:
        Names and labels, in the order of the lines.

    Raises:
        DataError: if the file cannot be read or is empty, a line is not a name and a label, or a
            label is not in 0..K-1.
    """
    names: list[bytes] = []
    labels = array("q")
    for line_number, line in iter_lines(path):
        fields = line.split()
        if len(fields) != 2 or not fields[1].isdigit():
            raise DataError(
                f"{path}:{line_number}: expected '<name> <label>', got {_printable(line)}"
            )
        label = int(fields[1])
        if label >= class_count:
            raise DataError(f"{path}:{line_number}: label {label} is outside 0..{class_count - 1}")
        names.append(fields[0])
        labels.append(label)
    return names, np.frombuffer(labels, dtype=np.int64).copy()


def check_unique(path: Path, names: list[bytes]) -> None:
    """Check that no name occurs twice in a list of names.

    Args:
        path: path of the file that contains the list, for the message.
        names: names in the order of the lines.

    Raises:
        DataError: if a name occurs twice; the message has the line number of the repetition.
    """
    if len(set(names)) < len(names):
        seen: set[bytes] = set()
        for line_number, name in enumerate(names, start=1):
            if name in seen:
                raise DataError(
                    f"{path}:{line_number}: {_printable(name)} occurs twice in the list"
                )
            seen.add(name)


def _printable(line: bytes) -> str:
    return repr(line.strip()[:80].decode("utf-8", "backslashreplace"))
