"""Noisy labels from a user's file: `labels/NAME.npy`, `.csv` or `.json` in the data folder.

A `.npy` file is a vector of integers, one for each training sample in order. A `.csv` file has a
header with the column `label`. A `.json` file is a list, or an object with the list `label`. A CSV
file or an object may also have `index`, the positions of the labelled training samples (the others
keep their labels), and `true_label`, which is compared with the dataset's labels.
"""

from __future__ import annotations

import csv
import json
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Self

import numpy as np

from trainables.errors import DataError, FieldError
from trainables.noise.base import FixedLabels, Labels, check_labels

if TYPE_CHECKING:
    from pathlib import Path

_PREFIX = "file-"
_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]*")
SUFFIXES = (".npy", ".csv", ".json")
"""File name suffixes of the supported formats."""
COLUMNS = ("label", "index", "true_label")
"""Allowed columns of a CSV file and keys of a JSON object; "label" is required."""

INT64_MAX = 2**63 - 1
"""Largest 64-bit integer."""

Columns = dict[str, list[object]]
"""Columns of a label file by name."""


@dataclass(frozen=True, slots=True)
class LabelsFromFile(FixedLabels):
    """Noisy labels from a user's file.

    Attributes:
        name: name of the file in `labels/` in the data folder, without its suffix.
    """

    name: str

    name_forms: ClassVar[tuple[str, ...]] = ("file-NAME",)

    @classmethod
    def parse(cls, scenario: str) -> Self | None:
        """Return the noise of a scenario such as `file-mine`; None if it is of another kind.

        Raises:
            FieldError: if the name is not a plain file name.
        """
        if not scenario.startswith(_PREFIX):
            return None
        name = scenario.removeprefix(_PREFIX)
        if not _NAME.fullmatch(name):
            raise FieldError(
                "scenario",
                f"scenario '{scenario}': after file- comes the name of a file in labels/ in the "
                "data folder, without its ending: letters, digits, _ . and -",
            )
        return cls(name)

    @property
    def title(self) -> str:
        """Title of the scenario in tables."""
        return f"labels from {self.name}"

    @property
    def annotation(self) -> str:
        """Name of the scenario, which differs from the names of all sets of human labels."""
        return f"{_PREFIX}{self.name}"

    @property
    def label_file(self) -> str:
        """Name of the user's file with the labels."""
        return self.name


def read_label_file(folder: Path, name: str, labels: Labels, classes: int) -> Labels:
    """Return the noisy labels of a user's file.

    Args:
        folder: folder of the label files.
        name: name of the file, without its suffix.
        labels: the dataset's labels of the whole training split, shape (N,).
        classes: number of classes K.

    Returns:
        Noisy labels of the whole training split, shape (N,).

    Raises:
        DataError: if there is no such file or more than one, or if it does not fit the dataset.
    """
    path = _label_path(folder, name)
    content = {".npy": _read_npy, ".csv": _read_csv, ".json": _read_json}[path.suffix](path)
    columns = {column: _integer_array(path, column, values) for column, values in content.items()}
    if not len(columns["label"]):
        raise DataError(f"{path} has no labels")
    noisy = labels.copy()
    index = columns.get("index")
    if index is None:
        index = np.arange(len(columns["label"]))
        if len(index) != len(labels):
            raise DataError(
                f"{path} has {len(index)} labels, the training split {len(labels)} samples: a CSV "
                "or JSON file may say in 'index' which samples are meant"
            )
    _check_index(path, index, columns["label"], len(labels))
    check_labels(str(path), columns["label"], classes)
    true = columns.get("true_label")
    if true is not None:
        differing = np.flatnonzero(true != labels[index])
        if len(differing):
            first = int(differing[0])
            raise DataError(
                f"{path}: true_label {true[first]} in row {first + 1} is not the dataset's, "
                f"{labels[index[first]]} (sample {index[first]}; {len(differing)} rows differ): "
                "are its rows in another order?"
            )
    noisy[index] = columns["label"]
    return noisy


def _label_path(folder: Path, name: str) -> Path:
    """Return the path of the one label file with a name.

    Raises:
        DataError: if there is no such file, or more than one.
    """
    candidates = [folder / f"{name}{suffix}" for suffix in SUFFIXES]
    paths = [path for path in candidates if path.is_file()]
    if not paths:
        suffixes = ", ".join(SUFFIXES)
        raise DataError(f"no label file {folder / name} with one of the endings {suffixes}")
    if len(paths) > 1:
        names = " and ".join(path.name for path in paths)
        raise DataError(f"{folder} has {names}: remove all but one")
    return paths[0]


def _read_npy(path: Path) -> Columns:
    """Return the labels of a `.npy` file as the column "label".

    Raises:
        DataError: if the file is not a vector of numbers.
    """
    try:
        array = np.load(path, allow_pickle=False, mmap_mode="r")
    except (OSError, ValueError, EOFError) as error:
        raise DataError(
            f"{path} cannot be read as a NumPy array of integers: write it with numpy.save"
        ) from error
    if not isinstance(array, np.ndarray):
        array.close()
        raise DataError(f"{path} holds several arrays: it must hold one, a vector of labels")
    if array.ndim != 1:
        raise DataError(f"{path} must be a vector of labels, its shape is {array.shape}")
    return {"label": array.tolist()}


def _read_csv(path: Path) -> Columns:
    """Return the columns of a `.csv` file.

    Raises:
        DataError: if the file cannot be read, or has other columns or values that are no integers.
    """
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            rows = csv.reader(file)
            header = [name.strip() for name in next(rows, [])]
            _check_columns(path, header)
            columns: Columns = {name: [] for name in header}
            for row in rows:
                if len(row) != len(header):
                    raise DataError(
                        f"{path}:{rows.line_num}: {len(row)} values, the header has {len(header)}"
                    )
                for name, text in zip(header, row, strict=True):
                    columns[name].append(_parse_integer(path, rows.line_num, name, text))
    except (OSError, csv.Error, UnicodeDecodeError) as error:
        raise DataError(f"{path} cannot be read as a CSV file: {error}") from error
    return columns


def _parse_integer(path: Path, line: int, name: str, text: str) -> int:
    """Return the integer in a cell of a CSV file.

    Raises:
        DataError: if the text is not an integer.
    """
    try:
        return int(text)
    except ValueError as error:
        raise DataError(f"{path}:{line}: {name} must be an integer, got '{text}'") from error


def _read_json(path: Path) -> Columns:
    """Return the columns of a `.json` file; a bare list is the column "label".

    Raises:
        DataError: if the file cannot be read, or has another structure or other keys.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise DataError(f"{path} cannot be read as JSON: {error}") from error
    if isinstance(content, list):
        content = {"label": content}
    if not isinstance(content, dict) or not all(isinstance(v, list) for v in content.values()):
        raise DataError(f"{path} must be a list of labels, or an object of lists")
    _check_columns(path, list(content))
    return content


def _check_columns(path: Path, names: list[str]) -> None:
    """Raise `DataError` if columns are unknown or repeated, or if "label" is missing."""
    unknown = [name for name in names if name not in COLUMNS]
    if unknown or "label" not in names or len(set(names)) < len(names):
        reason = f"'{unknown[0]}' is unknown" if unknown else f"it has {', '.join(names) or 'none'}"
        raise DataError(
            f"{path}: its columns must be label, and if wanted index and true_label: {reason}"
        )


def _integer_array(path: Path, column: str, values: list[object]) -> Labels:
    """Return the values of a column as an int64 array.

    Raises:
        DataError: if a value is not an integer, or out of the range of int64.
    """
    for position, value in enumerate(values):
        if type(value) is not int:
            raise DataError(f"{path}: {column} {position + 1} must be an integer, got {value!r}")
        if not -INT64_MAX <= value <= INT64_MAX:
            raise DataError(f"{path}: {column} {position + 1} is out of range: {value}")
    return np.array(values, dtype=np.int64)


def _check_index(path: Path, index: Labels, labels: Labels, size: int) -> None:
    """Raise `DataError` if positions are not one for each label, out of range or repeated."""
    if len(index) != len(labels):
        raise DataError(f"{path} has {len(labels)} labels but {len(index)} in 'index'")
    outside = index[(index < 0) | (index >= size)]
    if len(outside):
        raise DataError(f"{path}: index {outside[0]} is outside 0..{size - 1}")
    unique, counts = np.unique(index, return_counts=True)
    if len(unique) < len(index):
        raise DataError(f"{path}: index {unique[counts > 1][0]} is given twice")
