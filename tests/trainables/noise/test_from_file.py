from __future__ import annotations

import json
import pickle
from typing import TYPE_CHECKING

import numpy as np
import pytest

from trainables.errors import DataError
from trainables.noise.from_file import read_label_file

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

LABELS = np.arange(12) % 4
NOISY = (LABELS + 1) % 4
CLASSES = ("ant", "bee", "cat", "dog")

FILES = [f"{'abcd'[label]}/{n}.png" for n, label in enumerate(LABELS)]


def no_files() -> None:
    return None


def read(
    folder: Path,
    list_files: Callable[[], Sequence[str] | None] = lambda: FILES,
    classes: Sequence[str] = CLASSES,
) -> list[int]:
    labels: list[int] = read_label_file(folder, "mine", LABELS, classes, list_files).tolist()
    return labels


def error_message(folder: Path) -> str:
    with pytest.raises(DataError) as caught:
        read(folder)
    message = str(caught.value)
    assert "\n" not in message
    return message.replace(str(folder), "DIR")


def test_the_same_labels_in_every_form(tmp_path: Path) -> None:
    contents: dict[str, bytes] = {
        "mine.csv": "\ufefflabel\n".encode() + "".join(f"{n}\n" for n in NOISY).encode(),
        "mine.json": json.dumps(NOISY.tolist()).encode(),
    }
    for name, content in contents.items():
        (tmp_path / name).write_bytes(content)
        assert read(tmp_path) == NOISY.tolist()
        (tmp_path / name).unlink()
    for kind in (np.int64, np.uint8, ">i4"):
        np.save(tmp_path / "mine.npy", NOISY.astype(kind))
        assert read(tmp_path) == NOISY.tolist()


def test_index_selects_the_labelled_samples(tmp_path: Path) -> None:
    expected = LABELS.copy()
    expected[[5, 2]] = [0, 3]
    (tmp_path / "mine.json").write_text('{"index": [5, 2], "label": [0, 3], "true_label": [1, 2]}')
    assert read(tmp_path) == expected.tolist()
    (tmp_path / "mine.json").unlink()
    (tmp_path / "mine.csv").write_text("label, true_label, index\n0,1,5\n3,2,2\n")
    assert read(tmp_path) == expected.tolist()


def test_file_selects_the_labelled_samples(tmp_path: Path) -> None:
    expected = LABELS.copy()
    expected[[5, 2]] = [0, 3]
    content = {"file": ["b/5.png", "c/2.png"], "label": [0, 3], "true_label": [1, 2]}
    (tmp_path / "mine.json").write_text(json.dumps(content))
    assert read(tmp_path) == expected.tolist()
    (tmp_path / "mine.json").unlink()
    (tmp_path / "mine.csv").write_text("file,label\nb/5.png,0\nc/2.png,3\n")
    assert read(tmp_path) == expected.tolist()


def test_file_names_are_refused_where_samples_are_no_files(tmp_path: Path) -> None:
    (tmp_path / "mine.csv").write_text("file,label\nb/5.png,0\n")
    with pytest.raises(DataError, match=r"samples of the dataset are not files: state 'index'"):
        read(tmp_path, no_files)


def test_labels_may_be_names_of_classes(tmp_path: Path) -> None:
    names = [CLASSES[label] for label in NOISY]
    np.save(tmp_path / "mine.npy", names)
    assert read(tmp_path) == NOISY.tolist()
    (tmp_path / "mine.npy").unlink()
    (tmp_path / "mine.json").write_text(json.dumps([*names[:6], *NOISY[6:].tolist()]))
    assert read(tmp_path) == NOISY.tolist()
    (tmp_path / "mine.json").unlink()
    expected = LABELS.copy()
    expected[[5, 2]] = [0, 3]
    (tmp_path / "mine.csv").write_text("file,label,true_label\nb/5.png,ant,bee\nc/2.png,3,cat\n")
    assert read(tmp_path) == expected.tolist()


def test_names_that_are_other_integers_than_the_index_need_json(tmp_path: Path) -> None:
    classes = ("0", "1", "10", "2")  # in the order of class folders
    (tmp_path / "mine.json").write_text('{"index": [0, 1], "label": ["2", 2]}')
    assert read(tmp_path, classes=classes)[:2] == [3, 2]
    (tmp_path / "mine.json").unlink()
    (tmp_path / "mine.csv").write_text("label,index\n1,0\n2,1\n")
    with pytest.raises(DataError) as caught:
        read(tmp_path, classes=classes)
    assert str(caught.value) == (
        f"{tmp_path}/mine.csv:3: label 2 may be a class index or the name of the class with the "
        'index 3: write the labels as a JSON file, in which 2 is an index and "2" a name'
    )


JSON = "DIR/mine.json"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (
            [0] * 9,
            f"{JSON} has 9 labels, the training split has 12 samples: state the labelled samples "
            "as 'index' or 'file' in a CSV or JSON file",
        ),
        ([0] * 11 + [4], f"{JSON}, entry 11 (counted from 0): label 4 is outside 0..3"),
        ([-1] * 12, f"{JSON}, entry 0 (counted from 0): label -1 is outside 0..3"),
        (
            [0] * 2 + [0.5],
            f"{JSON}, entry 2 (counted from 0): label must be a class index or the name of a "
            "class, got 0.5",
        ),
        (
            [True] * 12,
            f"{JSON}, entry 0 (counted from 0): label must be a class index or the name of a "
            "class, got True",
        ),
        (
            ["1"] * 12,
            f"{JSON}, entry 0 (counted from 0): label '1' is not a class of the dataset: known: "
            "ant, bee, cat, dog",
        ),
        (
            {"label": [1], "index": [0.5]},
            f"{JSON}, entry 0 (counted from 0): index must be an integer, got 0.5",
        ),
        (
            {"label": [1, 1], "index": [3, 12]},
            f"{JSON}, entry 1 (counted from 0): index 12 is outside 0..11",
        ),
        (
            {"label": [1], "index": [-1]},
            f"{JSON}, entry 0 (counted from 0): index -1 is outside 0..11",
        ),
        (
            {"label": [1, 1], "index": [3, 3]},
            f"{JSON}, entry 1 (counted from 0): sample 3 (counted from 0) occurs more than once",
        ),
        (
            {"label": [1, 1], "index": [3]},
            f"{JSON}: 'label' has 2 entries, but 'index' has 1",
        ),
        (
            {"label": [1, 1], "index": [3, 4], "true_label": [3]},
            f"{JSON}: 'label' has 2 entries, but 'true_label' has 1",
        ),
        (
            {"label": [1], "file": [3]},
            f"{JSON}, entry 0 (counted from 0): no training sample is the file 3: write paths "
            "below the training folder, such as a/0.png",
        ),
        (
            {"label": [1], "file": ["a/0.png"], "index": [0]},
            f"{JSON}: 'index' and 'file' both state the samples: remove one of them",
        ),
        (
            {"label": NOISY.tolist(), "true_label": NOISY.tolist()},
            f"{JSON}, entry 0 (counted from 0): true_label is 1, but the dataset's label of "
            "sample 0 (counted from 0) is 0 (12 of 12 entries differ): bring the entries into the "
            "order of the dataset, or correct 'index' or 'file'",
        ),
        (
            {"labels": [1]},
            f"{JSON}: the columns must be label and, optionally, index or file, and true_label: "
            "'labels' is unknown",
        ),
        (
            {"index": [1]},
            f"{JSON}: the columns must be label and, optionally, index or file, and true_label: "
            "got index",
        ),
        (7, f"{JSON} must contain a list of labels, or an object of lists"),
    ],
)
def test_invalid_json_is_refused(content: object, message: str, tmp_path: Path) -> None:
    (tmp_path / "mine.json").write_text(json.dumps(content))
    assert error_message(tmp_path) == message


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (
            "label\n1\nantt\n",
            "DIR/mine.csv:3: label 'antt' is not a class of the dataset: did you mean 'ant'? "
            "known: ant, bee, cat, dog",
        ),
        ("label,index\n1,x\n", "DIR/mine.csv:2: index must be an integer, got 'x'"),
        ("label\n" + "0\n" * 11 + "4\n", "DIR/mine.csv:13: label 4 is outside 0..3"),
        ("label,index\n1,3\n1,12\n", "DIR/mine.csv:3: index 12 is outside 0..11"),
        (
            'label,file\n1,a/0.png\n"1","a\n.png"\n',
            "DIR/mine.csv:4: no training sample is the file 'a\\n.png': write paths below the "
            "training folder, such as a/0.png",
        ),
        (
            "label,file\n1,b/1.png\n2,a/0.png\n3,b/1.png\n",
            "DIR/mine.csv:4: sample 1 (counted from 0) occurs more than once",
        ),
        (
            "label,file,true_label\n1,a/0.png,0\n2,b/1.png,2\n",
            "DIR/mine.csv:3: true_label is 2, but the dataset's label of sample 1 (counted from 0) "
            "is 1 (1 of 2 entries differ): bring the entries into the order of the "
            "dataset, or correct 'index' or 'file'",
        ),
        ("label,index\n1\n", "DIR/mine.csv:2: the row has 1 values, the header 2"),
        (
            "1\n2\n",
            "DIR/mine.csv: the columns must be label and, optionally, index or file, and "
            "true_label: '1' is unknown",
        ),
        (
            "",
            "DIR/mine.csv: the columns must be label and, optionally, index or file, and "
            "true_label: got none",
        ),
    ],
)
def test_invalid_csv_is_refused(content: str, message: str, tmp_path: Path) -> None:
    (tmp_path / "mine.csv").write_text(content)
    assert error_message(tmp_path) == message


def test_pickled_content_is_refused(tmp_path: Path) -> None:
    np.save(tmp_path / "mine.npy", np.array([{"a": 1}] * 12, dtype=object), allow_pickle=True)
    assert error_message(tmp_path).startswith(
        "DIR/mine.npy cannot be read as a NumPy array of labels: write"
    )
    (tmp_path / "mine.npy").write_bytes(pickle.dumps(NOISY))
    assert error_message(tmp_path).startswith(
        "DIR/mine.npy cannot be read as a NumPy array of labels: write"
    )
    np.save(tmp_path / "mine.npy", np.zeros((12, 4)))
    assert (
        error_message(tmp_path) == "DIR/mine.npy must contain a vector of labels, got shape (12, 4)"
    )


def test_numbers_out_of_the_range_of_int64_are_refused(tmp_path: Path) -> None:
    rows = [str(2**70)] + ["0"] * 11
    (tmp_path / "mine.csv").write_text("\n".join(["label", *rows]))
    assert (
        error_message(tmp_path) == f"DIR/mine.csv:2: label is outside the range of int64: {2**70}"
    )
    (tmp_path / "mine.csv").unlink()
    np.save(tmp_path / "mine.npy", np.full(12, 2**63, dtype=np.uint64))
    assert (
        error_message(tmp_path)
        == f"DIR/mine.npy, entry 0 (counted from 0): label is outside the range of int64: {2**63}"
    )


def test_npz_archive_and_deeply_nested_json_are_refused(tmp_path: Path) -> None:
    with (tmp_path / "mine.npy").open("wb") as file:
        np.savez(file, a=NOISY, b=NOISY)
    assert error_message(tmp_path) == (
        "DIR/mine.npy contains several arrays: save a single vector of labels"
    )
    (tmp_path / "mine.npy").unlink()
    (tmp_path / "mine.json").write_text("[" * 100_000)
    assert error_message(tmp_path).startswith("DIR/mine.json cannot be read as JSON: ")


def test_csv_header_without_rows_is_refused(tmp_path: Path) -> None:
    (tmp_path / "mine.csv").write_text("index,label\n")
    assert error_message(tmp_path) == "DIR/mine.csv has no labels"


def test_missing_and_ambiguous_files_are_refused(tmp_path: Path) -> None:
    assert error_message(tmp_path) == (
        "no label file DIR/mine with one of the suffixes .npy, .csv, .json"
    )
    np.save(tmp_path / "mine.npy", NOISY)
    (tmp_path / "mine.csv").write_text("label\n")
    assert (
        error_message(tmp_path)
        == "DIR contains mine.npy and mine.csv: keep one of these files, remove the others"
    )


def test_45_000_labels_of_plc_with_an_index(tmp_path: Path) -> None:
    labels, classes = np.arange(50_000) % 10, [str(label) for label in range(10)]
    noisy = (labels[:45_000] + 1) % 10
    np.save(tmp_path / "plc.npy", noisy)
    with pytest.raises(DataError, match="has 45000 labels, the training split has 50000 samples"):
        read_label_file(tmp_path, "plc", labels, classes, no_files)
    (tmp_path / "plc.npy").unlink()
    content = {"label": noisy.tolist(), "index": list(range(45_000))}
    (tmp_path / "plc.json").write_text(json.dumps(content))
    result = read_label_file(tmp_path, "plc", labels, classes, no_files)
    np.testing.assert_array_equal(result[:45_000], noisy)
    np.testing.assert_array_equal(result[45_000:], labels[45_000:])
