"""Noisy labels from a user's file: `labels/NAME.npy`, `.csv` or `.json` in the data folder.

A `.npy` file is a vector of integers, one for each training sample in order. A `.csv` file has a
header with the column `label`. A `.json` file is a list, or an object with the list `label`. Two
more columns or lists are optional: `index` states the position of the training sample of each label
(all other samples keep their labels), and `true_label` is compared with the dataset's labels.
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
_NAME_PATTERN = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]*")
SUFFIXES = (".npy", ".csv", ".json")
"""File name suffixes of label files."""
COLUMN_NAMES = ("label", "index", "true_label")
"""Allowed columns of a label file: columns in CSV, keys in JSON. Only "label" is required."""

INT64_MAX = 2**63 - 1
"""Largest 64-bit integer."""

Columns = dict[str, list[object]]
"""Values of the columns of a label file, by column name."""


@dataclass(frozen=True, slots=True)
class LabelsFromFile(FixedLabels):
    """Noisy labels from a user's file.

    Attributes:
        name: name of the file in the folder `labels/` of the data folder, without its suffix.
    """

    name: str

    name_forms: ClassVar[tuple[str, ...]] = ("file-NAME",)

    @classmethod
    def parse(cls, scenario: str) -> Self | None:
        """Return the noise of a scenario such as `file-mine`; None for other kinds of noise.

        Raises:
            FieldError: if the part after "file-" is not a plain file name.
        """
        if not scenario.startswith(_PREFIX):
            return None
        name = scenario.removeprefix(_PREFIX)
        if not _NAME_PATTERN.fullmatch(name):
            raise FieldError(
                "scenario",
                f"scenario '{scenario}': after file-, write the name of a file in labels/ in the "
                "data "
                "folder, without its suffix; only letters, digits, _ . and - are allowed",
            )
        return cls(name)

    @property
    def title(self) -> str:
        """Title of the scenario in tables."""
        return f"labels from {self.name}"

    @property
    def annotation(self) -> str:
        """Name of the file's labels in `NoiseContext.annotations`: the scenario's name."""
        return f"{_PREFIX}{self.name}"

    @property
    def label_file(self) -> str:
        """Name of the user's file with the noisy labels, without its suffix."""
        return self.name


def read_label_file(folder: Path, name: str, labels: Labels, class_count: int) -> Labels:
    """Read the noisy labels in a user's file.

    Args:
        folder: folder of the label files.
        name: name of the file, without its suffix.
        labels: true labels of the whole training split, shape (N,).
        class_count: number of classes K.

    Returns:
        Noisy labels of the whole training split, shape (N,).

    Raises:
        DataError: if no file or several files have the name, or if the file does not fit the
            dataset.
    """
    path = _label_path(folder, name)
    raw_columns = {".npy": _read_npy, ".csv": _read_csv, ".json": _read_json}[path.suffix](path)
    columns = {
        column: _integer_array(path, column, values) for column, values in raw_columns.items()
    }
    if not len(columns["label"]):
        raise DataError(f"{path} has no labels")
    noisy_labels = labels.copy()
    index = columns.get("index")
    if index is None:
        index = np.arange(len(columns["label"]))
        if len(index) != len(labels):
            raise DataError(
                f"{path} has {len(index)} labels, the training split has {len(labels)} samples: "
                "state "
                "the positions of the labelled samples as 'index' in a CSV or JSON file"
            )
    _check_index(path, index, columns["label"], len(labels))
    check_labels(str(path), columns["label"], class_count)
    true_labels = columns.get("true_label")
    if true_labels is not None:
        differing = np.flatnonzero(true_labels != labels[index])
        if len(differing):
            row = int(differing[0])
            raise DataError(
                f"{path}: true_label in row {row + 1} is {true_labels[row]}, but the dataset's "
                "label of "
                f"sample {index[row]} is {labels[index[row]]} ({len(differing)} rows differ): "
                "bring "
                "the rows into the order of the dataset, or correct 'index'"
            )
    noisy_labels[index] = columns["label"]
    return noisy_labels


def _label_path(folder: Path, name: str) -> Path:
    """Return the path of the label file with the given name and any allowed suffix.

    Raises:
        DataError: if no file or several files have the name.
    """
    candidates = [folder / f"{name}{suffix}" for suffix in SUFFIXES]
    paths = [path for path in candidates if path.is_file()]
    if not paths:
        suffixes = ", ".join(SUFFIXES)
        raise DataError(f"no label file {folder / name} with one of the suffixes {suffixes}")
    if len(paths) > 1:
        names = " and ".join(path.name for path in paths)
        raise DataError(f"{folder} contains {names}: keep one of these files, remove the others")
    return paths[0]


def _read_npy(path: Path) -> Columns:
    """Read the labels of a `.npy` file; return them as the column "label".

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
        raise DataError(f"{path} contains several arrays: save a single vector of labels")
    if array.ndim != 1:
        raise DataError(f"{path} must contain a vector of labels, got shape {array.shape}")
    return {"label": array.tolist()}


def _read_csv(path: Path) -> Columns:
    """Return the columns of a `.csv` label file by name.

    Raises:
        DataError: if the file cannot be read, has unknown columns, or has values that are not
            integers.
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
                        f"{path}:{rows.line_num}: the row has {len(row)} values, the header "
                        f"{len(header)}"
                    )
                for name, text in zip(header, row, strict=True):
                    columns[name].append(_parse_integer(path, rows.line_num, name, text))
    except (OSError, csv.Error, UnicodeDecodeError) as error:
        raise DataError(f"{path} cannot be read as a CSV file: {error}") from error
    return columns


def _parse_integer(path: Path, line_number: int, column: str, text: str) -> int:
    """Convert one value of a CSV file to an integer.

    Raises:
        DataError: if the text is not an integer.
    """
    try:
        return int(text)
    except ValueError as error:
        raise DataError(
            f"{path}:{line_number}: {column} must be an integer, got '{text}'"
        ) from error


def _read_json(path: Path) -> Columns:
    """Return the columns of a `.json` label file by name; a bare list is the column "label".

    Raises:
        DataError: if the file cannot be read, is not a list or an object of lists, or has unknown
            keys.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise DataError(f"{path} cannot be read as JSON: {error}") from error
    if isinstance(content, list):
        content = {"label": content}
    if not isinstance(content, dict) or not all(isinstance(v, list) for v in content.values()):
        raise DataError(f"{path} must contain a list of labels, or an object of lists")
    _check_columns(path, list(content))
    return content


def _check_columns(path: Path, names: list[str]) -> None:
    """Raise `DataError` if column names are unknown or repeated, or "label" is missing."""
    unknown = [name for name in names if name not in COLUMN_NAMES]
    if unknown or "label" not in names or len(set(names)) < len(names):
        reason = f"'{unknown[0]}' is unknown" if unknown else f"got {', '.join(names) or 'none'}"
        raise DataError(
            f"{path}: the columns must be label and, optionally, index and true_label: {reason}"
        )


def _integer_array(path: Path, column: str, values: list[object]) -> Labels:
    """Return a column of a label file as an int64 array.

    Raises:
        DataError: if a value is not an integer, or out of the range of int64.
    """
    for position, value in enumerate(values):
        if type(value) is not int:
            raise DataError(f"{path}: {column} {position + 1} must be an integer, got {value!r}")
        if not -INT64_MAX <= value <= INT64_MAX:
            raise DataError(
                f"{path}: {column} {position + 1} is outside the range of int64: {value}"
            )
    return np.array(values, dtype=np.int64)


def _check_index(path: Path, index: Labels, labels: Labels, sample_count: int) -> None:
    """Check that the labels of a file have different positions in the training split.

    Raises:
        DataError: if the numbers of positions and labels differ, or if a position is out of range
            or repeated.
    """
    if len(index) != len(labels):
        raise DataError(f"{path} has {len(labels)} labels but {len(index)} positions in 'index'")
    outside = index[(index < 0) | (index >= sample_count)]
    if len(outside):
        raise DataError(f"{path}: index {outside[0]} is outside 0..{sample_count - 1}")
    unique, counts = np.unique(index, return_counts=True)
    if len(unique) < len(index):
        raise DataError(f"{path}: index {unique[counts > 1][0]} occurs more than once")
