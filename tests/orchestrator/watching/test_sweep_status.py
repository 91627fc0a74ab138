from __future__ import annotations

import io
import json
import os
import shutil
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest
from fake_runs import record_run
from optuna.storages import InMemoryStorage
from plans import Driver, machine_cost, small_plan, small_study
from rich.console import Console

from orchestrator.flags import Locations, StudyFlags
from orchestrator.home import Home
from orchestrator.tracking.archive import SweepArchive
from orchestrator.tracking.recording import plan_record
from orchestrator.watching.progress_record import PROGRESS_FILE, read_progress, recorded_flags
from orchestrator.watching.status_view import status_view, sweeps_view
from orchestrator.watching.sweep_progress import ProgressFile, SweepProgress
from orchestrator.watching.sweep_status import StatusReader, SweepStatus
from trainables.errors import HomeError, RecordError, UserError
from trainables.run.record import Record
from trainables.run.result import Status

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from trainables.run.result import RunResult

COST = replace(machine_cost(0.0, 0.0), start_seconds=97.6)  # 16 runs of 0.3 s, by twos: 100 s


@dataclass
class Sweeping:
    """A sweep of the small study that a test carries out in a home folder."""

    home: Path
    driver: Driver
    progress: SweepProgress
    file: ProgressFile

    @property
    def archive(self) -> SweepArchive:
        return SweepArchive.of(self.home, self.driver.sweep.plan.digest)

    def save_plan(self) -> None:
        loaded = small_study()
        self.archive.write(plan_record(self.driver.sweep, loaded), loaded.to_yaml())

    def status(self) -> SweepStatus:
        return StatusReader(Home(self.home)).read(self.archive)


def open_sweep(home: Path) -> Sweeping:
    driver = Driver(small_plan(), home, InMemoryStorage())
    progress = SweepProgress(driver.sweep, COST, starts_workers=False)
    flags = recorded_flags(StudyFlags("small", trials=4), Locations(home_dir=home))
    folder = SweepArchive.of(home, driver.sweep.plan.digest).folder
    sweeping = Sweeping(home, driver, progress, ProgressFile(folder, progress, flags))
    sweeping.save_plan()
    return sweeping


@contextmanager
def carried_out(home: Path) -> Iterator[Sweeping]:
    """Carry out a sweep as a process does, for the duration of the context."""
    sweeping = open_sweep(home)
    with Home(home).study_lock("small"), sweeping.file:
        yield sweeping


def text_of(status: SweepStatus) -> str:
    console = Console(file=io.StringIO(), width=300)
    console.print(status_view(status))
    text: str = console.file.getvalue()  # type: ignore[attr-defined]
    return text


def counts(status: SweepStatus) -> dict[str, dict[str, int]]:
    return {phase.phase: phase.counts for phase in status.phases}


def test_beside_a_running_sweep(tmp_path: Path) -> None:
    with carried_out(tmp_path) as sweeping:
        sweep = sweeping.driver.sweep
        sweeping.driver.run(max_runs=2)
        running, failing = sweep.next(), sweep.next()
        assert running is not None
        assert failing is not None
        for task in (running, failing):
            sweeping.progress.on_start(task)
            sweeping.progress.on_report(task, {"epoch": 2, "val/accuracy": 0.75})
        log_path = Record(tmp_path, failing.spec.digest).log_path
        log_path.parent.mkdir(parents=True)
        log_path.touch()
        sweeping.progress.on_end(failing)
        sweep.end(failing, None, "a bug")
        sweeping.progress.on_notice("Ray was started again")
        sweeping.save_plan()
        sweeping.file._write("running")
        status = sweeping.status()
        text = text_of(status)
    assert status.state == "running"
    assert counts(status) == {
        "search": {"finished": 2, "running": 1, "failed": 1},
        "select": {"waiting": 6},
        "confirm": {"waiting": 6},
    }
    assert (status.ended, status.total) == (2, 16)
    assert status.silent_seconds is None
    assert status.max_concurrent_runs == 2
    assert (status.devices, status.hosts) == ({"cpu": 2}, {"node-1": 2})
    assert status.best is not None
    assert status.seconds_left is not None
    assert status.seconds_left_range is not None
    assert status.seconds_left_range[0] <= status.seconds_left <= status.seconds_left_range[1]
    best = max(
        result.mean_value("val/accuracy", _protocol(sweeping))
        for _, result in sweeping.driver.results
    )  # type: ignore[type-var]
    assert status.best.accuracy == best
    for part in (
        f"running: process {os.getpid()} on ",
        f"{running.spec.digest[:12]}  search  nal",
        "2/6",
        "75.0 %",
        f"search: nal on symmetric-0.4, {failing.spec.digest[:12]}: a bug; log: {log_path}",
        "Ray was started again",
        "2 runs at a time; ended 2 runs on cpu (node-1 2)",
        "whose forecast was 2 min",
    ):
        assert part in text
    assert "to go on" not in text


def _protocol(sweeping: Sweeping) -> Any:
    return sweeping.driver.sweep.tunings[0].objective.protocol


def test_after_a_killed_sweep_the_command_is_named(tmp_path: Path) -> None:
    with carried_out(tmp_path) as sweeping:
        sweeping.driver.run(max_runs=5)
        sweeping.save_plan()
        sweeping.file._write("running")
        killed = (sweeping.archive.folder / PROGRESS_FILE).read_bytes()
    (sweeping.archive.folder / PROGRESS_FILE).write_bytes(killed)
    status = sweeping.status()
    assert status.state == "interrupted"
    assert status.running == []
    assert counts(status)["search"] == {"finished": 4}
    assert counts(status)["select"] == {"finished": 1, "waiting": 3}
    assert status.has_exact_command
    text = text_of(status)
    assert "interrupted: no process carries it out" in text
    assert f"python -m orchestrator sweep small --trials 4 --home {tmp_path}\n" in text
    assert "as of its last sign" in text


def test_after_the_end_the_forecast_is_compared(tmp_path: Path) -> None:
    with carried_out(tmp_path) as sweeping:
        sweeping.driver.run()
        sweeping.save_plan()
    progress = read_progress(sweeping.archive.folder)
    assert progress is not None
    start = replace(progress.last_start, elapsed_seconds=80.0)
    replace(progress, starts=[start]).write(sweeping.archive.folder)
    status = sweeping.status()
    assert status.state == "finished"
    assert counts(status) == {
        phase: {"finished": n} for phase, n in {"search": 4, "select": 4, "confirm": 6}.items()
    }
    assert status.seconds_left is None
    assert "80 s; the forecast was 2 min (+25 %)" in text_of(status)


def test_a_sweep_without_progress_file(tmp_path: Path) -> None:
    sweeping = open_sweep(tmp_path)
    sweeping.driver.run(max_runs=3)
    sweeping.save_plan()
    status = sweeping.status()
    assert counts(status) == {"search": {"finished": 3, "waiting": 1}, "select": {}, "confirm": {}}
    assert [phase.total for phase in status.phases] == [4, None, None]
    assert (status.command, status.has_exact_command) == (
        f"python -m orchestrator sweep small --home {tmp_path}",
        False,
    )
    assert "with the flags of its first start" in text_of(status)


def test_a_process_that_starts_or_ends(tmp_path: Path) -> None:
    sweeping = open_sweep(tmp_path)
    with Home(tmp_path).study_lock("small"):
        status = sweeping.status()
    assert status.state == "running"
    assert "its process prepares the runs, or writes the tables" in text_of(status)


def test_a_silent_process_is_noticed(tmp_path: Path) -> None:
    with carried_out(tmp_path) as sweeping:
        record = sweeping.file.record("running")
        long_ago = datetime.now(UTC) - timedelta(minutes=10)
        replace(record, written_at=long_ago.isoformat()).write(sweeping.archive.folder)
        status = sweeping.status()
    assert status.silent_seconds == pytest.approx(600, abs=10)
    assert "no sign of it for 10 min" in text_of(status)


def test_other_ends_of_runs_and_damaged_records(tmp_path: Path) -> None:
    sweeping = open_sweep(tmp_path)
    specs = [task.spec for task in sweeping.driver.run(max_runs=4).tasks]
    sweeping.save_plan()
    record_run(tmp_path, specs[0], diverged_at=2)
    record_run(tmp_path, specs[1], status=Status.STOPPED)
    (Record(tmp_path, specs[2].digest).folder / "result.json").write_text("{")
    status = sweeping.status()
    assert counts(status)["search"] == {"finished": 1, "diverged": 1, "stopped": 1, "damaged": 1}
    assert status.best is not None
    assert status.best.digest == specs[3].digest
    assert status.ended == 3


def test_a_failure_that_was_mended_is_not_named(tmp_path: Path) -> None:
    with carried_out(tmp_path) as sweeping:
        task = sweeping.driver.sweep.next()
        assert task is not None
        sweeping.driver.sweep.end(task, None, "a bug")
        sweeping.file._write("running")
        assert [each.failure.reason for each in sweeping.status().failures] == ["a bug"]
        record_run(tmp_path, task.spec, status=Status.OUT_OF_MEMORY)
        assert len(sweeping.status().failures) == 1
        record_run(tmp_path, task.spec)
        assert sweeping.status().failures == []


def test_nothing_is_written(tmp_path: Path) -> None:
    with carried_out(tmp_path) as sweeping:
        sweeping.driver.run(max_runs=3)
    before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")}
    StatusReader(Home(tmp_path)).read(sweeping.archive)
    assert {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")} == before


def test_results_are_read_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sweeping = open_sweep(tmp_path)
    specs = [task.spec for task in sweeping.driver.run(max_runs=3).tasks]
    sweeping.save_plan()
    reader = StatusReader(Home(tmp_path))
    first = reader.read(sweeping.archive)
    read: list[str] = []
    original = Record.read_result

    def counted(record: Record) -> RunResult | None:
        read.append(record.digest)
        return original(record)

    monkeypatch.setattr(Record, "read_result", counted)
    assert reader.read(sweeping.archive) == first
    assert read == []
    record_run(tmp_path, specs[1], diverged_at=1)
    assert counts(reader.read(sweeping.archive))["search"]["diverged"] == 1
    assert read == [specs[1].digest]


def test_a_sweep_is_found_by_name_or_digest(tmp_path: Path) -> None:
    home = Home(tmp_path)
    with pytest.raises(HomeError, match="no run is recorded"):
        StatusReader(home).archives()
    sweeping = open_sweep(tmp_path)
    digest = sweeping.archive.folder.name
    reader = StatusReader(home)
    for name in (None, "small", digest[:6], "some/small.yaml"):
        if name is not None and name.endswith(".yaml"):
            (tmp_path / "small.yaml").write_text("{}")
            name = str(tmp_path / "small.yaml")  # noqa: PLW2901
        assert reader.archives(name) == [sweeping.archive]
    with pytest.raises(UserError, match=rf"no study or sweep 'no' .*: small {digest[:12]}"):
        reader.archives("no")


def test_of_two_sweeps_of_a_study_the_latest_runs(tmp_path: Path) -> None:
    sweeping = open_sweep(tmp_path)
    older = SweepArchive.of(tmp_path, "0" * 64)
    shutil.copytree(sweeping.archive.folder, older.folder)
    plan = json.loads((older.folder / "plan.json").read_text())
    (older.folder / "plan.json").write_text(json.dumps(plan | {"sweep": "0" * 64}))
    os.utime(older.folder / "plan.json", (1, 1))
    reader = StatusReader(Home(tmp_path))
    assert reader.archives("small") == [sweeping.archive]
    with Home(tmp_path).study_lock("small"):
        statuses = [reader.read(archive) for archive in reader.archives()]
    assert [status.state for status in statuses] == ["interrupted", "running"]
    console = Console(file=io.StringIO(), width=200)
    console.print(sweeps_view(statuses))
    lines = console.file.getvalue().splitlines()  # type: ignore[attr-defined]
    assert lines[1].split()[:6] == ["small", "0" * 12, "interrupted", "0", "of", "4"]


def test_a_damaged_plan_is_named(tmp_path: Path) -> None:
    sweeping = open_sweep(tmp_path)
    (sweeping.archive.folder / "plan.json").write_text("{")
    with pytest.raises(RecordError, match=r"plan.json cannot be read"):
        sweeping.status()


def test_texts_of_others_do_not_reach_the_terminal_as_codes(tmp_path: Path) -> None:
    with carried_out(tmp_path) as sweeping:
        task = sweeping.driver.sweep.next()
        assert task is not None
        sweeping.driver.sweep.end(task, None, "a \x1b[31m[bold]bug")
        sweeping.file._write("running")
        status = sweeping.status()
    assert "a [31m[bold]bug" in text_of(status)
    assert "\x1b" not in text_of(status)
    assert json.dumps(asdict(status))


def test_a_sweep_whose_budget_is_spent_goes_on_with_a_larger_one(tmp_path: Path) -> None:
    with carried_out(tmp_path) as sweeping:
        sweeping.driver.run(max_runs=2)
        plan = sweeping.archive.read_plan()
        assert plan is not None
        spent = replace(plan, budget_hours=1.5, is_budget_spent=True)
        sweeping.archive.write_plan(spent)
        assert not sweeping.status().is_budget_spent  # it has started again
    status = sweeping.status()
    assert (status.state, status.is_budget_spent, status.seconds_left) == (
        "interrupted",
        True,
        None,
    )
    text = text_of(status)
    assert "interrupted: its time budget is spent; the command below goes on with a larger" in text
    assert "sweep small --trials 4 --budget-hours 3.0 --home" in text
