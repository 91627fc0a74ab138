from __future__ import annotations

import logging
import warnings
from pathlib import Path

import pytest

from trainables.errors import DataError
from trainables.training import run_log
from trainables.training.run_log import LogHandler, RunLog


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "log.txt"


def messages(path: Path) -> list[str]:
    """Return the lines of a log without their times."""
    return [
        line if line.startswith("  ") else line.split(" ", 2)[2]
        for line in path.read_text().splitlines()
    ]


@pytest.fixture
def _shown() -> None:
    warnings.simplefilter("default")


@pytest.mark.usefixtures("_shown")
def test_warnings_and_log_records_are_written_and_not_printed(
    path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with RunLog(path) as log:
        log.write("begins")
        warnings.warn("an old name", UserWarning, stacklevel=1)
        logging.getLogger("lib").warning("low on %s", "memory")
        logging.getLogger("lib").info("all is well")
    first, second, third = messages(path)
    assert first == "begins"
    assert second.startswith("warning: UserWarning: an old name (")
    assert "test_run_log.py:" in second
    assert third == "warning: lib: low on memory"
    assert capsys.readouterr().err == ""


@pytest.mark.usefixtures("_shown")
def test_a_warning_is_written_once_per_attempt(path: Path) -> None:
    for _ in range(2):
        with RunLog(path):
            for _ in range(3):
                warnings.warn("again", UserWarning, stacklevel=1)
                logging.getLogger("lib").error("again")
    assert [line.split(" (")[0] for line in messages(path)] == 2 * [
        "warning: UserWarning: again",
        "error: lib: again",
    ]


def test_a_record_whose_arguments_do_not_fit_is_no_error(path: Path) -> None:
    record = logging.LogRecord("lib", logging.ERROR, "", 1, "%d of %d", (1,), None)
    LogHandler(RunLog(path)).emit(record)
    assert not path.exists()


def test_everything_is_as_before_at_the_end(path: Path) -> None:
    handlers, show = list(logging.getLogger().handlers), warnings.showwarning
    with RunLog(path):
        warnings.filterwarnings("ignore", message="of a library that is imported meanwhile")
    assert logging.getLogger().handlers == handlers
    assert warnings.showwarning is show
    warnings.warn("of a library that is imported meanwhile", UserWarning, stacklevel=1)


@pytest.mark.usefixtures("_shown")
def test_a_closed_log_receives_no_warning(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shown: list[str] = []
    monkeypatch.setattr(warnings, "showwarning", lambda text, *_: shown.append(str(text)))
    with RunLog(path):
        other_thread = warnings.catch_warnings()
        other_thread.__enter__()
    other_thread.__exit__(None, None, None)
    warnings.warn("of nobody", UserWarning, stacklevel=1)
    assert shown == ["of nobody"]
    assert not path.exists()


def test_exceptions_have_their_traceback(path: Path) -> None:
    log = RunLog(path)
    try:
        raise ZeroDivisionError("a bug")
    except ZeroDivisionError as error:
        log.write_exception(error)
    log.write_exception(DataError("the data are gone: bring them back"))
    log.write_exception(KeyboardInterrupt())
    lines = messages(path)
    assert lines[0] == "error: Traceback (most recent call last):"
    assert lines[-3] == "  ZeroDivisionError: a bug"
    assert lines[-2:] == [
        "error: the data are gone: bring them back",
        "interrupted: KeyboardInterrupt",
    ]


def test_many_warnings_stay_small(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(run_log, "MAX_ATTEMPT_BYTES", 1000)
    log = RunLog(path)
    for number in range(150):  # with their times and indentations, far larger than their texts
        log.write_warning(f"{number}\n\n\n")
        log.write_warning(f"{number}:\na\nb")
    log.write("finished")
    lines = messages(path)
    assert lines[-2:] == ["too many warnings: later ones of this attempt are left out", "finished"]
    written = path.read_text().rpartition("\n")[0].rpartition("\n")[0].rpartition("\n")[0]
    assert 1000 < len(written) + 1 < 1050


def test_a_long_message_is_cut_in_the_middle(path: Path) -> None:
    RunLog(path).write("a" * 50_000 + "end")
    assert len(path.read_text()) < 20_200
    assert path.read_text().endswith("aend\n")


def test_old_attempts_are_dropped_by_lines(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(run_log, "MAX_FILE_BYTES", 1000)
    log = RunLog(path)
    for number in range(40):
        log.write(f"line {number}")
    with RunLog(path) as new_log:
        new_log.write("new")
    lines = messages(path)
    assert path.stat().st_size < 600
    assert lines == [*(f"line {n}" for n in range(40 - len(lines) + 1, 40)), "new"]
    assert [other.name for other in path.parent.iterdir()] == ["log.txt"]


def test_a_log_that_cannot_be_written_is_no_error(tmp_path: Path) -> None:
    with RunLog(tmp_path / "missing" / "log.txt") as log:
        log.write("lost")
    assert list(tmp_path.iterdir()) == []


def test_a_full_disk_is_no_error() -> None:
    with RunLog(Path("/dev/full")) as log:
        log.write("lost")
        log.write_warning("lost")


def test_text_that_is_no_unicode_is_escaped(path: Path) -> None:
    RunLog(path).write("file \udcff.png")
    assert messages(path) == ["file \\udcff.png"]
