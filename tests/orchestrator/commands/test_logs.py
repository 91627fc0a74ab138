from __future__ import annotations

import io
import sys
import threading
import time
from typing import TYPE_CHECKING

import pytest
from factories import make_spec

from orchestrator.commands import logs
from orchestrator.home import Home
from trainables.errors import HomeError, UserError
from trainables.run.record import Record
from trainables.training import run_log
from trainables.training.run_log import RunLog

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def record(tmp_path: Path) -> Record:
    record = Record(tmp_path, make_spec().digest)
    record.folder.mkdir(parents=True)
    return record


def test_a_log_is_printed_without_codes(
    tmp_path: Path, record: Record, capsys: pytest.CaptureFixture[str]
) -> None:
    record.log_path.write_text("attempt 1\n  \x1b[31mred\x1b[0m [bold]\nunfinis")
    assert logs.run(Home(tmp_path), record.digest[:8], follow=False) == 0
    assert capsys.readouterr().out == "attempt 1\n  [31mred[0m [bold]\n"


def test_a_log_is_followed_until_the_run_is_released(
    tmp_path: Path, record: Record, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(logs, "POLL_SECONDS", 0.01)
    output = io.StringIO()
    monkeypatch.setattr(sys, "stdout", output)
    record.log_path.write_text("attempt 1\n")
    with record.claimed():
        follower = threading.Thread(
            target=logs.run, args=(Home(tmp_path), record.digest), kwargs={"follow": True}
        )
        follower.start()
        deadline = time.monotonic() + 20
        while output.getvalue() != "attempt 1\n":
            assert time.monotonic() < deadline
            time.sleep(0.01)
        assert follower.is_alive()
        with record.log_path.open("a") as file:
            file.write("finished\n")
    follower.join(timeout=20)
    assert not follower.is_alive()
    assert output.getvalue() == "attempt 1\nfinished\n"


def test_what_has_no_log_is_named(tmp_path: Path, record: Record) -> None:
    with pytest.raises(HomeError, match=f"run {record.digest[:12]} has no log"):
        logs.run(Home(tmp_path), record.digest, follow=False)
    with pytest.raises(UserError, match=r"no run in .* has a digest that begins with 'zz'"):
        logs.run(Home(tmp_path), "zz", follow=False)


@pytest.mark.parametrize("appended_count", [0, 3, 30])
def test_a_log_that_was_shortened_is_followed_line_by_line(
    record: Record, monkeypatch: pytest.MonkeyPatch, appended_count: int
) -> None:
    monkeypatch.setattr(run_log, "MAX_FILE_BYTES", 1300)
    monkeypatch.setattr(logs, "REMEMBERED_BYTES", 100)
    log, reader = RunLog(record.log_path), logs.LogReader(record)
    for number in range(40):
        log.write(f"line {number}")
    lines = reader.read_new_lines()
    for number in range(40, 40 + appended_count):
        log.write(f"line {number}")
    with RunLog(record.log_path) as next_log:
        next_log.write("attempt 2")
    lines += reader.read_new_lines()
    numbers = [int(line.rpartition(" ")[2]) for line in lines[:-1]]
    kept_count = record.log_path.read_text().count("line")
    assert kept_count < 40
    dropped_count = max(0, appended_count - kept_count)
    assert numbers == [*range(40), *range(40 + dropped_count, 40 + appended_count)]
    assert lines[-1].endswith("attempt 2")
    assert reader.read_new_lines() == []
