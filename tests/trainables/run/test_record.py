from __future__ import annotations

import errno
import json
import math
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from factories import make_result, make_spec

from trainables.errors import HomeError, RecordError
from trainables.run.record import Record, write_atomically, write_once
from trainables.run.result import RunResult

ROOT = Path(__file__).parents[3]
SPEC = make_spec()


@pytest.fixture
def record(tmp_path: Path) -> Record:
    record = Record(tmp_path, SPEC.digest)
    record.folder.mkdir(parents=True)
    return record


def test_a_record_from_start_to_result(record: Record) -> None:
    assert record.read_spec() is None
    assert record.record_start(SPEC) == 1
    assert record.record_start(SPEC) == 2
    assert record.read_spec() == SPEC
    assert record.read_result() is None
    record.previous_checkpoint_path.write_bytes(b"old")
    record.checkpoint_path.write_bytes(b"latest")
    result = make_result(SPEC, attempts=2)
    record.write_result(result)

    assert record.read_result() == result
    assert record.folder.name == SPEC.digest
    assert {path.name for path in record.folder.iterdir()} == {
        *("spec.json", "result.json", "attempts", "checkpoint.pt")
    }


def test_an_altered_result_is_read_only_where_it_is_asked_for(record: Record) -> None:
    assert record.read_altered_result() == (None, False)
    result = make_result(SPEC)
    record.write_result(result)
    assert record.read_altered_result() == (result, False)
    path = record.folder / "result.json"
    content = json.loads(path.read_text())
    path.write_text(json.dumps({**content, "parameters": 7}))
    altered, is_altered = record.read_altered_result()
    assert altered is not None
    assert (altered.parameters, is_altered) == (7, True)
    with pytest.raises(RecordError, match="its content does not match its checksum"):
        record.read_result()
    first, *others = content["trace"]
    damaged: list[dict[str, Any]] = [
        {"spec": {}},
        {"spec": {**content["spec"], "code": 7}},
        {"seconds": ["a"]},
        {"seconds": [math.nan]},
        {"parameters": math.inf},
        {"provenance": {"device": 7}},
        {"reason": 7},
        {"labels": {**content["labels"], "sha256": 7}},
        *({"trace": [{**first, "train/loss": value}, *others]} for value in ("abc", None, 10**400)),
        *({"trace": [row, *others]} for row in (None, [0.5])),
    ]
    for text in ("{", "[]", *(json.dumps({**content, **each}) for each in damaged)):
        path.write_text(text)
        with pytest.raises(RecordError, match="cannot be read"):
            record.read_altered_result()


def test_a_file_is_replaced_atomically(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "file"
    write_atomically(path, "before")

    def full(_descriptor: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        with pytest.raises(HomeError) as caught:
            write_atomically(path, "after" * 1000)
    assert str(caught.value) == f"cannot write {path}: No space left on device"
    assert path.read_text() == "before"
    assert list(tmp_path.iterdir()) == [path]
    write_atomically(path, b"after")
    assert path.read_bytes() == b"after"


def test_a_home_that_is_a_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "home").write_text("")
    record = Record(tmp_path / "home", SPEC.digest)
    with pytest.raises(HomeError, match=r"^cannot write .*: Not a directory$"), record.claimed():
        pass
    with pytest.raises(HomeError, match=r"^cannot write .*: Not a directory$"):
        record.record_start(SPEC)
    for read in (record.read_result, record.read_spec):
        with pytest.raises(HomeError, match=r"^cannot read .*: Not a directory$"):
            read()


@pytest.mark.parametrize("damage", [b"", b'{"digest": ', b"[]", b"\xff\xfe\x00", b"{}", b"null"])
def test_a_damaged_result_is_refused_with_a_remedy(record: Record, damage: bytes) -> None:
    (record.folder / "result.json").write_bytes(damage)
    with pytest.raises(RecordError, match=r"result.json cannot be read .*: delete its folder"):
        record.read_result()
    (record.folder / "spec.json").write_bytes(damage)
    with pytest.raises(RecordError, match=r"spec.json cannot be read: "):
        record.read_spec()


def test_a_result_in_the_wrong_place_is_refused(record: Record) -> None:
    other = make_result(make_spec(seed=1))
    record.write_result(other)
    with pytest.raises(RecordError, match=f"belongs to run {other.digest[:12]}: move it"):
        record.read_result()
    with pytest.raises(RecordError, match="contains the spec of another run"):
        RunResult.from_dict(other.to_dict() | {"digest": SPEC.digest})


def test_a_record_whose_content_was_changed_is_refused(record: Record) -> None:
    record.write_result(make_result(SPEC, accuracy=0.9))
    path = record.folder / "result.json"
    plain = json.loads(path.read_text())
    assert len(plain["content_sha256"]) == 64
    plain["trace"][-1]["test/accuracy"] = 0.99
    for changed in (plain, {k: v for k, v in plain.items() if k != "content_sha256"}):
        path.write_text(json.dumps(changed))
        with pytest.raises(RecordError, match=r"its content does not match its checksum\): delete"):
            record.read_result()


def test_a_file_is_written_once(tmp_path: Path) -> None:
    path = tmp_path / "folder/file"
    assert write_once(path, b"first") == b"first"
    assert write_once(path, b"second") == b"first"
    assert [entry.name for entry in path.parent.iterdir()] == ["file"]


def test_partial_files_of_killed_processes_are_removed(record: Record) -> None:
    (record.folder / ".checkpoint.next.pt.4711.partial").write_bytes(b"half")
    record.record_start(SPEC)
    assert {path.name for path in record.folder.iterdir()} == {"spec.json", "attempts"}


HOLD = """
import sys
from pathlib import Path
from trainables.run.record import Record
with Record(Path(sys.argv[1]), sys.argv[2]).claimed():
    print("held", flush=True)
    sys.stdin.read()
"""


def test_one_process_claims_a_run_until_it_ends(record: Record) -> None:
    home = record.folder.parents[1]
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(home), SPEC.digest],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        cwd=ROOT,
    )
    with holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == b"held\n"
        with (
            pytest.raises(HomeError, match=r"is being trained by another process: wait until"),
            record.claimed(patience_seconds=0.1),
        ):
            pass
        with Record(home, "0" * 64).claimed(patience_seconds=0.1):
            pass  # another run is not locked
        holder.kill()
    with record.claimed(patience_seconds=10):  # the lock of a killed process is released
        pass
