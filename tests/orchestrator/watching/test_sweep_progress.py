from __future__ import annotations

import json
import os
import time
from typing import TYPE_CHECKING

import pytest
from fake_runs import record_run
from optuna.storages import InMemoryStorage
from plans import Driver, machine_cost, searches_of, small_plan

from orchestrator.planning.sizes import phase_sizes
from orchestrator.watching import sweep_progress
from orchestrator.watching.progress_record import PROGRESS_FILE, PhaseProgress, read_progress
from orchestrator.watching.sweep_progress import ProgressFile, SweepProgress
from search_spaces.schema import Phase
from trainables.run.record import Record

if TYPE_CHECKING:
    from pathlib import Path

    from optuna.storages import BaseStorage

    from orchestrator.sweeping.tasks import Task
    from orchestrator.watching.progress_record import ProgressRecord

COST = machine_cost(0.01, 0.001)
FLAGS = {"study": "digits"}


class FakeClock:
    """A clock whose time a test sets."""

    def __init__(self) -> None:
        self.now = 1000.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> FakeClock:
    fake_clock = FakeClock()
    monkeypatch.setattr(sweep_progress, "time", fake_clock)
    return fake_clock


def follow(home: Path, storage: BaseStorage | None = None) -> tuple[SweepProgress, Driver]:
    driver = Driver(small_plan(), home, storage or InMemoryStorage())
    return SweepProgress(driver.sweep, COST, starts_workers=False), driver


def next_task(driver: Driver) -> Task:
    task = driver.sweep.next()
    assert task is not None
    return task


def test_the_time_left_starts_from_the_measured_cost(tmp_path: Path, clock: FakeClock) -> None:
    progress, driver = follow(tmp_path)
    sizes = phase_sizes(driver.sweep.plan)
    whole = sum(size.max_run_count * COST.mean_run_seconds(size.groups) for size in sizes)
    assert progress.seconds_left() == pytest.approx(whole / COST.max_concurrent_runs)
    clock.now += 0.5
    assert progress.seconds_left() == pytest.approx(whole / COST.max_concurrent_runs)


def test_the_time_left_follows_the_actual_speed(tmp_path: Path, clock: FakeClock) -> None:
    progress, driver = follow(tmp_path)
    expected = progress.seconds_left()
    driver.run(max_runs=10)
    clock.now += 1000.0  # far slower than measured
    slow = progress.seconds_left()
    assert slow > 10 * expected
    driver.run()
    assert progress.seconds_left() == 0


def test_recorded_runs_do_not_count_as_progress_of_this_start(
    tmp_path: Path, clock: FakeClock
) -> None:
    follow(tmp_path, searches_of(tmp_path))[1].run(max_runs=8)
    progress, driver = follow(tmp_path, searches_of(tmp_path))
    assert driver.recorded_count == 8
    clock.now += 100.0
    assert 0 < progress.seconds_left() < 10


def test_the_time_left_does_not_count_the_start_of_workers(
    tmp_path: Path, clock: FakeClock
) -> None:
    progress, driver = follow(tmp_path)
    task = next_task(driver)
    clock.now += 500.0
    progress.on_start(task)
    progress.on_report(task, {})
    driver.run(max_runs=10)
    clock.now += 1.0
    assert progress.seconds_left() < 10


def test_failed_runs_take_no_more_time(tmp_path: Path, clock: FakeClock) -> None:
    progress, driver = follow(tmp_path)
    driver.run(max_runs=11)
    clock.now += 10
    task = next_task(driver)
    driver.sweep.end(task, None, "a bug")
    driver.run()
    assert driver.sweep.done
    assert len(driver.sweep.failed_runs) == 1
    assert progress.seconds_left() == pytest.approx(0, abs=1e-9)


def test_seeds_that_are_left_out_take_no_time(tmp_path: Path, clock: FakeClock) -> None:
    sets = (
        "search.scheduler={kind: wilcoxon, threshold: 0.2}",
        f"search.seeds={list(range(1000, 1006))}",
    )
    driver = Driver(small_plan(trials=6, sets=sets), tmp_path, InMemoryStorage())
    progress = SweepProgress(driver.sweep, COST, starts_workers=False)
    assert progress.total_runs()[Phase.SEARCH] == 36
    driver.run()
    clock.now += 10
    ended = driver.sweep.ended_run_counts[Phase.SEARCH]
    assert progress.total_runs()[Phase.SEARCH] == ended < 36
    assert progress.seconds_left() == pytest.approx(0, abs=1e-9)
    again = Driver(small_plan(trials=6, sets=sets), tmp_path, InMemoryStorage()).sweep
    assert again.next() is None
    assert SweepProgress(again, COST, starts_workers=False).total_runs()[Phase.SEARCH] == ended


def end_run(progress: SweepProgress, driver: Driver, clock: FakeClock, seconds: float) -> None:
    """Carry out the next run, whose six epochs take `seconds` each."""
    task = next_task(driver)
    progress.on_start(task)
    progress.on_report(task, {})
    clock.now += 6 * seconds
    progress.on_report(task, {"epoch": 6})
    driver.sweep.end(task, record_run(driver.home, task.spec))
    progress.on_end(task)


def test_the_range_of_the_time_left_is_that_of_the_runs(tmp_path: Path, clock: FakeClock) -> None:
    progress, driver = follow(tmp_path)
    seconds = progress.seconds_left()
    assert progress.seconds_left_range() == (seconds / 2, seconds * 2)
    for epoch_seconds in (1.0, 1.0, 1.0, 1.0, 1.5):
        end_run(progress, driver, clock, epoch_seconds)
    seconds = progress.seconds_left()
    low, high = progress.seconds_left_range()
    assert low == pytest.approx(seconds)
    assert high == pytest.approx(1.3 * seconds)  # ninth decile of 1, 1, 1, 1 and 1.5


def test_the_time_left_follows_the_latest_runs(
    tmp_path: Path, clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sweep_progress, "RECENT_RUNS", 3)
    progress, driver = follow(tmp_path)
    for epoch_seconds in (1, 1, 1, 1, 4, 4, 4):
        end_run(progress, driver, clock, epoch_seconds)
    recent = progress.seconds_left()
    monkeypatch.setattr(sweep_progress, "RECENT_RUNS", 7)
    assert recent == pytest.approx(4 * progress.seconds_left())


def test_a_running_run_has_a_speed(tmp_path: Path, clock: FakeClock) -> None:
    progress, driver = follow(tmp_path)
    task = next_task(driver)
    progress.on_start(task)
    assert progress.training_runs() == []
    progress.on_report(task, {"epoch": 2})  # continued from a checkpoint
    (run,) = progress.training_runs()
    assert run.record().seconds_per_epoch is None
    clock.now += 6
    progress.on_report(task, {"epoch": 5, "val/accuracy": 0.5})
    clock.now += 100
    progress.on_report(task, {"epoch": 5, "val/accuracy": 0.5})
    record = run.record()
    assert record.seconds_per_epoch == 2
    assert (record.phase, record.method, record.scenario) == ("search", "nal", "symmetric-0.4")
    assert (record.values, record.seed) == ("λ = 0.5, α = 0.9", 1000)
    assert (record.epoch, record.epochs, record.accuracy) == (5, 6, 0.5)


def written(folder: Path) -> ProgressRecord:
    record = read_progress(folder)
    assert record is not None
    return record


def test_the_file_says_what_runs(tmp_path: Path, clock: FakeClock) -> None:
    progress, driver = follow(tmp_path)
    with ProgressFile(tmp_path, progress, {"study": "small"}) as file:
        first = written(tmp_path)
        assert (first.running, first.last_start.state) == ([], "running")
        task = next_task(driver)
        progress.on_start(task)
        progress.on_report(task, {"epoch": 1})
        progress.on_notice("Ray was started again")
        file._write("running")
        record = written(tmp_path)
        assert [run.digest for run in record.running] == [task.spec.digest]
        assert record.notices == ["Ray was started again"]
        assert record.phases["search"] == PhaseProgress(4, 0)
        assert record.max_concurrent_runs == 2
        assert record.last_start.pid == os.getpid()
        assert record.last_start.forecast_seconds == COST.plan_seconds(driver.sweep.plan)
        progress.on_end(task)
        driver.sweep.end(task, None, "a bug")
        driver.run(max_runs=2)
        clock.now += 60
    record = written(tmp_path)
    assert record.running == []
    assert [(each.digest, each.phase, each.reason) for each in record.failures] == [
        (task.spec.digest, "search", "a bug")
    ]
    start = record.last_start
    assert (start.state, start.ended_count, start.elapsed_seconds) == ("ended", 2, 60)


def test_each_start_is_kept_with_its_forecast(tmp_path: Path) -> None:
    progress, driver = follow(tmp_path, searches_of(tmp_path))

    def interrupted_runs() -> None:
        driver.run(max_runs=5)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt), ProgressFile(tmp_path, progress, FLAGS):
        interrupted_runs()
    progress = SweepProgress(driver.sweep, COST, starts_workers=False)
    expected = progress.seconds_left()
    with pytest.raises(ZeroDivisionError), ProgressFile(tmp_path, progress, FLAGS):
        raise ZeroDivisionError
    first, second = written(tmp_path).starts
    assert (first.state, first.forecast_seconds, first.ended_count) == (
        "interrupted",
        COST.plan_seconds(driver.sweep.plan),
        5,
    )
    assert (second.state, second.ended_count) == ("failed", 0)
    assert second.forecast_seconds == pytest.approx(COST.start_seconds + expected)


def test_the_file_is_written_again_and_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sweep_progress, "WRITE_SECONDS", 0.01)
    progress, driver = follow(tmp_path)
    with ProgressFile(tmp_path, progress, FLAGS) as file:
        driver.run(max_runs=3)
        deadline = time.monotonic() + 20
        while written(tmp_path).phases["search"].ended != 3:
            assert time.monotonic() < deadline
            time.sleep(0.01)
        assert file._thread.is_alive()
    assert not file._thread.is_alive()


def test_a_file_that_cannot_be_written_ends_nothing(tmp_path: Path) -> None:
    progress, driver = follow(tmp_path)
    with ProgressFile(tmp_path / "missing", progress, FLAGS):
        driver.run(max_runs=1)
    assert len(driver.tasks) == 1


def test_the_log_of_a_failed_run_is_named(tmp_path: Path) -> None:
    _, driver = follow(tmp_path)
    for has_log in (True, False):
        task = next_task(driver)
        log_path = Record(tmp_path, task.spec.digest).log_path
        if has_log:
            log_path.parent.mkdir(parents=True)
            log_path.touch()
        driver.sweep.end(task, None, "a bug")
        suffix = f"; log: {log_path}" if has_log else ""
        assert driver.sweep.failures[-1].endswith(f"{task.spec.digest[:12]}: a bug{suffix}")


@pytest.mark.parametrize("content", ["", "[]", "{}", '{"starts": []}', "{"])
def test_a_damaged_file_is_none(tmp_path: Path, content: str) -> None:
    (tmp_path / PROGRESS_FILE).write_text(content)
    assert read_progress(tmp_path) is None


def test_a_file_of_another_version_is_none(tmp_path: Path) -> None:
    progress, _ = follow(tmp_path)
    with ProgressFile(tmp_path, progress, FLAGS):
        pass
    path = tmp_path / PROGRESS_FILE
    values = json.loads(path.read_text())
    path.write_text(json.dumps(values | {"novel": 1}))
    assert read_progress(tmp_path) is None
