"""Noisy labels from a file of the user's: `labels/NAME.npy`, `.csv` or `.json` in the data folder.

`.npy`: a vector of integers, one for each training sample in order. `.csv`: a head line with the
column `label`. `.json`: a list, or an object with the list `label`. A CSV or an object may also
have `index`, positions of the training samples that are meant (the others keep their labels), and
`true_label`, which is compared with the dataset's.
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
ENDINGS = (".npy", ".csv", ".json")
COLUMNS = ("label", "index", "true_label")

LARGEST = 2**63 - 1
"""That an integer of 64 bits holds."""

Columns = dict[str, list[object]]


@dataclass(frozen=True, slots=True)
class FromFile(FixedLabels):
    """The labels that stand in a file, one fixed set; see above for its forms.

    Attributes:
        name: of the file in the data folder's `labels/`, without its ending.
    """

    name: str

    forms: ClassVar[tuple[str, ...]] = ("file-NAME",)

    @classmethod
    def parse(cls, scenario: str) -> Self | None:
        """Read `file-mine`.

        Raises:
            FieldError: the name is no plain file name.
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
        """The setting as tables head a column with it."""
        return f"labels from {self.name}"

    @property
    def annotation(self) -> str:
        """The scenario's name, which no set of human annotations has."""
        return f"{_PREFIX}{self.name}"

    @property
    def label_file(self) -> str:
        """Name of the file."""
        return self.name


def read_label_file(folder: Path, name: str, labels: Labels, classes: int) -> Labels:
    """Read a file of noisy labels.

    Args:
        folder: where the files are.
        name: of the file, without its ending.
        labels: of the whole training split, as the dataset has them, shape (N,).
        classes: number of classes K.

    Returns:
        Labels of the whole split, shape (N,).

    Raises:
        DataError: no such file, more than one, or one that does not fit the dataset.
    """
    path = _find(folder, name)
    table = {".npy": _read_npy, ".csv": _read_csv, ".json": _read_json}[path.suffix](path)
    columns = {key: _integers(path, key, values) for key, values in table.items()}
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
        differs = np.flatnonzero(true != labels[index])
        if len(differs):
            first = int(differs[0])
            raise DataError(
                f"{path}: true_label {true[first]} in row {first + 1} is not the dataset's, "
                f"{labels[index[first]]} (sample {index[first]}; {len(differs)} rows differ): are "
                "its rows in another order?"
            )
    noisy[index] = columns["label"]
    return noisy


def _find(folder: Path, name: str) -> Path:
    found = [path for path in (folder / f"{name}{ending}" for ending in ENDINGS) if path.is_file()]
    if not found:
        endings = ", ".join(ENDINGS)
        raise DataError(f"no label file {folder / name} with one of the endings {endings}")
    if len(found) > 1:
        names = " and ".join(path.name for path in found)
        raise DataError(f"{folder} has {names}: remove all but one")
    return found[0]


def _read_npy(path: Path) -> Columns:
    try:
        array = np.load(path, allow_pickle=False, mmap_mode="r")
    except (OSError, ValueError, EOFError) as error:
        raise DataError(
            f"{path} cannot be read as a NumPy array of integers: write it with numpy.save"
        ) from error
    if not isinstance(array, np.ndarray):
        raise DataError(f"{path} holds several arrays: it must hold one, a vector of labels")
    if array.ndim != 1:
        raise DataError(f"{path} must be a vector of labels, its shape is {array.shape}")
    return {"label": array.tolist()}


def _read_csv(path: Path) -> Columns:
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            rows = csv.reader(file)
            head = [name.strip() for name in next(rows, [])]
            _check_columns(path, head)
            columns: Columns = {name: [] for name in head}
            for row in rows:
                if len(row) != len(head):
                    raise DataError(
                        f"{path}:{rows.line_num}: {len(row)} values, the head has {len(head)}"
                    )
                for name, text in zip(head, row, strict=True):
                    columns[name].append(_number(path, rows.line_num, name, text))
    except (OSError, csv.Error, UnicodeDecodeError) as error:
        raise DataError(f"{path} cannot be read as a CSV file: {error}") from error
    return columns


def _number(path: Path, line: int, name: str, text: str) -> int:
    try:
        return int(text)
    except ValueError as error:
        raise DataError(f"{path}:{line}: {name} must be an integer, got '{text}'") from error


def _read_json(path: Path) -> Columns:
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
    unknown = [name for name in names if name not in COLUMNS]
    if unknown or "label" not in names or len(set(names)) < len(names):
        wrong = f"'{unknown[0]}' is unknown" if unknown else f"it has {', '.join(names) or 'none'}"
        raise DataError(
            f"{path}: its columns must be label, and if wanted index and true_label: {wrong}"
        )


def _integers(path: Path, key: str, values: list[object]) -> Labels:
    for position, value in enumerate(values):
        if type(value) is not int:
            raise DataError(f"{path}: {key} {position + 1} must be an integer, got {value!r}")
        if not -LARGEST <= value <= LARGEST:
            raise DataError(f"{path}: {key} {position + 1} is out of range: {value}")
    return np.array(values, dtype=np.int64)


def _check_index(path: Path, index: Labels, labels: Labels, size: int) -> None:
    if len(index) != len(labels):
        raise DataError(f"{path} has {len(labels)} labels but {len(index)} in 'index'")
    wrong = index[(index < 0) | (index >= size)]
    if len(wrong):
        raise DataError(f"{path}: index {wrong[0]} is outside 0..{size - 1}")
    unique, counts = np.unique(index, return_counts=True)
    if len(unique) < len(index):
        raise DataError(f"{path}: index {unique[counts > 1][0]} is given twice")
