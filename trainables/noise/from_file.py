"""Noisy labels from a user's file: `labels/NAME.npy`, `.csv` or `.json` in the data folder.

A `.npy` file is a vector of labels, one for each training sample in order. A `.csv` file has a
header with the column `label`. A `.json` file is a list, or an object with the list `label`. More
columns or lists are optional: `index` (the position of the sample in the training split, counted
from 0) or `file` (its path below the training folder) states which sample has the label, and all
other samples keep their labels; `true_label` is compared with the dataset's labels.

A label is a class index, counted from 0, or the name of a class.

Messages name lines of a `.csv` file, counted from 1 as in editors, and entries of the other files,
counted from 0 as in the files.
"""

from __future__ import annotations

import csv
import json
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Self

import numpy as np

from trainables.errors import DataError, FieldError, suggest
from trainables.noise.base import FixedLabels, Labels, check_labels

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

_PREFIX = "file-"
_NAME_PATTERN = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]*")
SUFFIXES = (".npy", ".csv", ".json")
"""File name suffixes of label files."""
COLUMN_NAMES = ("label", "index", "file", "true_label")
"""Allowed columns of a label file: columns in CSV, keys in JSON. Only "label" is required."""
INTEGER_COLUMN = "index"
"""The column that contains integers only; the others contain file names or labels."""

INT64_MAX = 2**63 - 1
"""Largest 64-bit integer."""

Columns = dict[str, list[object]]
"""Values of the columns of a label file, by column name."""


@dataclass(frozen=True)
class LabelTable:
    """Content of a label file.

    Attributes:
        path: path of the file.
        columns: values of the columns, of equal length.
        line_numbers: line of each entry, counted from 1; None if the file has no lines.
    """

    path: Path
    columns: Columns
    line_numbers: Sequence[int] | None = None

    def place(self, entry: int) -> str:
        """Return a text that says where an entry is in the file."""
        if self.line_numbers is None:
            return f"{self.path}, entry {entry} (counted from 0)"
        return f"{self.path}:{self.line_numbers[entry]}"

    def sample_positions(self) -> Labels:
        """Return the column "index" as an int64 array.

        Raises:
            DataError: if a value is not an integer, or out of the range of int64.
        """
        for entry, value in enumerate(self.columns[INTEGER_COLUMN]):
            if type(value) is not int:
                raise DataError(
                    f"{self.place(entry)}: {INTEGER_COLUMN} must be an integer, got {value!r}"
                )
            self._check_range(INTEGER_COLUMN, entry, value)
        return np.array(self.columns[INTEGER_COLUMN], dtype=np.int64)

    def class_indices(self, column: str, classes: Sequence[str]) -> Labels:
        """Return a column of labels as an int64 array of class indices.

        Args:
            column: name of the column, "label" or "true_label".
            classes: names of the classes, in the order of their indices.

        Raises:
            DataError: if a value is neither an integer nor the name of a class, or out of the range
                of int64.
        """
        index_of = {name: index for index, name in enumerate(classes)}
        indices = []
        for entry, value in enumerate(self.columns[column]):
            index = self._class_index(column, entry, value, index_of)
            self._check_range(column, entry, index)
            indices.append(index)
        return np.array(indices, dtype=np.int64)

    def _class_index(
        self, column: str, entry: int, value: object, index_of: Mapping[str, int]
    ) -> int:
        """Return the class index that an entry of a column states as an integer or by name."""
        if type(value) is int:
            return value
        if not isinstance(value, str):
            raise DataError(
                f"{self.place(entry)}: {column} must be a class index or the name of a class, got "
                f"{value!r}"
            )
        number = _parse_integer(value) if self.line_numbers is not None else None
        index = index_of.get(value, number)
        if index is None:
            raise DataError(
                f"{self.place(entry)}: {column} '{value}' is not a class of the dataset: "
                f"{suggest(value, index_of)}"
            )
        if number is not None and index != number:
            raise DataError(
                f"{self.place(entry)}: {column} {value} may be a class index or the name of the "
                f"class with the index {index}: write the labels as a JSON file, in which {value} "
                f'is an index and "{value}" a name'
            )
        return index

    def _check_range(self, column: str, entry: int, number: int) -> None:
        """Raise `DataError` if the number in an entry is out of the range of int64."""
        if not -INT64_MAX <= number <= INT64_MAX:
            raise DataError(
                f"{self.place(entry)}: {column} is outside the range of int64: {number}"
            )


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


def read_label_file(
    folder: Path,
    name: str,
    labels: Labels,
    classes: Sequence[str],
    list_files: Callable[[], Sequence[str] | None],
) -> Labels:
    """Read the noisy labels in a user's file.

    Args:
        folder: folder of the label files.
        name: name of the file, without its suffix.
        labels: true labels of the whole training split, shape (N,).
        classes: names of the K classes, in the order of their indices.
        list_files: function that returns the file names of the training samples, in their order;
            None if the samples are not files. It is called only if the label file names files.

    Returns:
        Noisy labels of the whole training split, shape (N,).

    Raises:
        DataError: if no file or several files have the name, or if the file does not fit the
            dataset.
    """
    path = _label_path(folder, name)
    table = {".npy": _read_npy, ".csv": _read_csv, ".json": _read_json}[path.suffix](path)
    _check_lengths(table)
    given_labels = table.class_indices("label", classes)
    index = _sample_index(table, len(labels), list_files)
    check_labels(given_labels, len(classes), table.place)
    if "true_label" in table.columns:
        true_labels = table.class_indices("true_label", classes)
        differing = np.flatnonzero(true_labels != labels[index])
        if len(differing):
            entry = int(differing[0])
            raise DataError(
                f"{table.place(entry)}: true_label is {true_labels[entry]}, but the dataset's "
                f"label of sample {index[entry]} (counted from 0) is {labels[index[entry]]} "
                f"({len(differing)} of {len(index)} entries differ): bring the entries into the "
                "order of the dataset, or correct 'index' or 'file'"
            )
    noisy_labels = labels.copy()
    noisy_labels[index] = given_labels
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


def _read_npy(path: Path) -> LabelTable:
    """Read the labels of a `.npy` file; return them as the column "label".

    Raises:
        DataError: if the file is not a vector.
    """
    try:
        array = np.load(path, allow_pickle=False, mmap_mode="r")
    except (OSError, ValueError, EOFError) as error:
        raise DataError(
            f"{path} cannot be read as a NumPy array of labels: write it with numpy.save"
        ) from error
    if not isinstance(array, np.ndarray):
        array.close()
        raise DataError(f"{path} contains several arrays: save a single vector of labels")
    if array.ndim != 1:
        raise DataError(f"{path} must contain a vector of labels, got shape {array.shape}")
    return LabelTable(path, {"label": array.tolist()})


def _read_csv(path: Path) -> LabelTable:
    """Read the columns of a `.csv` label file.

    Raises:
        DataError: if the file cannot be read or has unknown columns.
    """
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            rows = csv.reader(file)
            header = [name.strip() for name in next(rows, [])]
            _check_columns(path, header)
            columns: Columns = {name: [] for name in header}
            line_numbers = []
            for row in rows:
                if len(row) != len(header):
                    raise DataError(
                        f"{path}:{rows.line_num}: the row has {len(row)} values, the header "
                        f"{len(header)}"
                    )
                line_numbers.append(rows.line_num)
                for name, text in zip(header, row, strict=True):
                    number = _parse_integer(text) if name == INTEGER_COLUMN else None
                    columns[name].append(text if number is None else number)
    except (OSError, csv.Error, UnicodeDecodeError) as error:
        raise DataError(f"{path} cannot be read as a CSV file: {error}") from error
    return LabelTable(path, columns, line_numbers)


def _parse_integer(text: str) -> int | None:
    """Return the integer that a text states; None if it states none."""
    try:
        return int(text)
    except ValueError:
        return None


def _read_json(path: Path) -> LabelTable:
    """Read the columns of a `.json` label file; a bare list is the column "label".

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
    return LabelTable(path, content)


def _check_columns(path: Path, names: list[str]) -> None:
    """Raise `DataError` unless columns are known, different, and state samples in one way."""
    unknown = [name for name in names if name not in COLUMN_NAMES]
    if unknown or "label" not in names or len(set(names)) < len(names):
        reason = f"'{unknown[0]}' is unknown" if unknown else f"got {', '.join(names) or 'none'}"
        raise DataError(
            f"{path}: the columns must be label and, optionally, index or file, and true_label: "
            f"{reason}"
        )
    if "index" in names and "file" in names:
        raise DataError(f"{path}: 'index' and 'file' both state the samples: remove one of them")


def _check_lengths(table: LabelTable) -> None:
    """Raise `DataError` if a label file has no labels, or its columns differ in length."""
    label_count = len(table.columns["label"])
    if not label_count:
        raise DataError(f"{table.path} has no labels")
    for name, values in table.columns.items():
        if len(values) != label_count:
            raise DataError(
                f"{table.path}: 'label' has {label_count} entries, but '{name}' has {len(values)}"
            )


def _sample_index(
    table: LabelTable, sample_count: int, list_files: Callable[[], Sequence[str] | None]
) -> Labels:
    """Return the position in the training split of each entry of a label file, counted from 0.

    Args:
        table: content of the file.
        sample_count: number of samples in the training split.
        list_files: function that returns the file names of the samples; see `read_label_file`.

    Raises:
        DataError: if a position is out of range, a file is unknown, a sample occurs more than once,
            or the entries name no samples and are not as many as these.
    """
    entry_count = len(table.columns["label"])
    if "file" in table.columns:
        index = _positions_of_files(table, list_files())
    elif "index" in table.columns:
        index = table.sample_positions()
    elif entry_count == sample_count:
        return np.arange(sample_count)
    else:
        raise DataError(
            f"{table.path} has {entry_count} labels, the training split has {sample_count} "
            "samples: state the labelled samples as 'index' or 'file' in a CSV or JSON file"
        )
    outside = np.flatnonzero((index < 0) | (index >= sample_count))
    if len(outside):
        entry = int(outside[0])
        raise DataError(
            f"{table.place(entry)}: index {index[entry]} is outside 0..{sample_count - 1}"
        )
    _, first_entries = np.unique(index, return_index=True)
    if len(first_entries) < len(index):
        entry = int(np.setdiff1d(np.arange(len(index)), first_entries)[0])
        raise DataError(
            f"{table.place(entry)}: sample {index[entry]} (counted from 0) occurs more than once"
        )
    return index


def _positions_of_files(table: LabelTable, file_names: Sequence[str] | None) -> Labels:
    """Return the position in the training split of each file that a label file names.

    Raises:
        DataError: if the samples are not files, or no sample has one of the names.
    """
    if file_names is None:
        raise DataError(
            f"{table.path}: the samples of the dataset are not files: state 'index' instead of "
            "'file'"
        )
    position_of = {file_name: position for position, file_name in enumerate(file_names)}
    positions = []
    for entry, file_name in enumerate(table.columns["file"]):
        position = position_of.get(file_name) if isinstance(file_name, str) else None
        if position is None:
            raise DataError(
                f"{table.place(entry)}: no training sample is the file {file_name!r}: write paths "
                f"below the training folder, such as {file_names[0]}"
            )
        positions.append(position)
    return np.array(positions, dtype=np.int64)
