from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from trainables.datasets.lists import read_names, read_pairs, read_texts
from trainables.errors import DataError

if TYPE_CHECKING:
    from pathlib import Path


def error_messages(folder: Path, content: bytes) -> list[str]:
    """Return the messages of reading a file as names and as pairs; "" for no error."""
    path = folder / "list.txt"
    path.write_bytes(content)
    messages = []
    for read in (lambda: read_names(path), lambda: read_pairs(path, 10)):
        try:
            read()
        except DataError as error:
            messages.append(str(error).replace(str(path), "LIST"))
        else:
            messages.append("")
    return messages


def test_names_and_pairs(tmp_path: Path) -> None:
    path = tmp_path / "list.txt"
    path.write_bytes(b"a/b.jpg 3\r\nc.jpg\t09\nd.jpg  0")
    names, labels = read_pairs(path, 10)
    assert names == [b"a/b.jpg", b"c.jpg", b"d.jpg"]
    assert labels.tolist() == [3, 9, 0]
    labels[0] = 1  # the array is writable
    path.write_bytes(b"a\nb\n")
    assert read_names(path) == [b"a", b"b"]


NAME, PAIR = "expected one name, got", "expected '<name> <label>', got"


@pytest.mark.parametrize(
    ("content", "names", "pairs"),
    [
        (b"", "LIST is empty: download this file again", "LIST is empty: download this file again"),
        (b"a 1\n", f"LIST:1: {NAME} 'a 1'", ""),
        (
            b"a\n\nb\n",
            f"LIST:2: {NAME} ''",
            f"LIST:1: {PAIR} 'a'",
        ),
        (
            b"a 1\nb x\n",
            f"LIST:1: {NAME} 'a 1'",
            f"LIST:2: {PAIR} 'b x'",
        ),
        (
            b"a -1\n",
            f"LIST:1: {NAME} 'a -1'",
            f"LIST:1: {PAIR} 'a -1'",
        ),
        (b"a 10\n", f"LIST:1: {NAME} 'a 10'", "LIST:1: label 10 is outside 0..9"),
        (b"a\na\n", "LIST:2: 'a' occurs twice in the list", f"LIST:1: {PAIR} 'a'"),
    ],
)
def test_the_line_that_is_wrong_is_named(
    content: bytes, names: str, pairs: str, tmp_path: Path
) -> None:
    assert error_messages(tmp_path, content) == [names, pairs]


def test_texts(tmp_path: Path) -> None:
    path = tmp_path / "names.txt"
    path.write_bytes("Übergang, coat \r\nT-Shirt\n".encode())
    assert read_texts(path) == ["Übergang, coat", "T-Shirt"]
    path.write_bytes(b"coat\n\xfcber\n")
    with pytest.raises(DataError, match=r"names\.txt:2: .*xfcber' is not UTF-8"):
        read_texts(path)
    path.write_bytes(b"coat\n\nshirt\n")
    with pytest.raises(DataError, match=r"names\.txt:2: the line is empty"):
        read_texts(path)


def test_a_list_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"cannot read .*none\.txt: No such file or directory"):
        read_names(tmp_path / "none.txt")
