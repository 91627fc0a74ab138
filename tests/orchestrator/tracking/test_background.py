from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
from factories import cell_specs, make_cell, make_plan, make_result, make_spec
from fake_runs import record_run
from stores import fresh_store
from waiting import wait_until

from orchestrator.home import Home
from orchestrator.tracking import background, persistence
from orchestrator.tracking.archive import SweepArchive, UnwrittenPart
from orchestrator.tracking.background import BackgroundTracker
from orchestrator.tracking.tracker import Tracker
from reports.read import read_sweep
from reports.store import StoreUnavailableError, open_store
from search_spaces.schema import Phase
from trainables.errors import HomeError, RecordError, ServiceError

if TYPE_CHECKING:
    from pathlib import Path

    from trainables.run.result import RunResult


def sweep_status(uri: str) -> str:
    client = open_store(uri)
    experiment = client.get_experiment_by_name("digits")
    assert experiment is not None
    (sweep,) = client.search_runs([experiment.experiment_id], "tags.`nal.kind` = 'sweep'")
    return str(sweep.info.status)


def test_all_operations_are_executed_in_order(tmp_path: Path) -> None:
    uri = fresh_store(tmp_path)
    cell = make_cell(seeds=(0, 1))
    plan = make_plan([cell])
    with BackgroundTracker(Home(tmp_path), uri, "digits", print) as writer:
        writer.start_sweep(plan, "title: digits\n")
        for spec in cell_specs("nal", "symmetric-0.4", (0, 1), cell.values):
            writer.record(make_result(spec), Phase.CONFIRM, cell)
        writer.flush()
        assert {run.digest for run in read_sweep(uri)[1]} == set(cell.digests)
        writer.update_plan(plan)
        writer.finish_sweep(plan, {"table.md": "x"})
    assert sweep_status(uri) == "FINISHED"


def test_an_interrupted_sweep_is_marked_as_killed(tmp_path: Path) -> None:
    uri = fresh_store(tmp_path)
    with BackgroundTracker(Home(tmp_path), uri, "digits", print) as writer:
        writer.start_sweep(make_plan([make_cell()], state="running"), "")
        writer.mark_interrupted()
    assert sweep_status(uri) == "KILLED"


def test_an_error_in_the_thread_is_raised_by_the_next_call(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def raise_disk_full(*_: Any) -> None:
        raise HomeError("no space left")

    monkeypatch.setattr(Tracker, "start_sweep", raise_disk_full)
    writer = BackgroundTracker(Home(tmp_path), fresh_store(tmp_path), "digits", print)
    writer.start_sweep(make_plan(), "")
    with pytest.raises(HomeError, match="no space left"):
        writer.flush()
    with pytest.raises(HomeError, match="no space left"):
        writer.record(make_result(), "train")
    with pytest.raises(HomeError, match="no space left"), writer:
        pass


def test_an_error_of_the_driver_takes_precedence_over_one_of_the_thread(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def raise_disk_full(*_: Any) -> None:
        raise HomeError("no space left")

    monkeypatch.setattr(Tracker, "start_sweep", raise_disk_full)
    writer = BackgroundTracker(Home(tmp_path), fresh_store(tmp_path), "digits", print)
    writer.start_sweep(make_plan(), "")
    with pytest.raises(ZeroDivisionError), writer:
        raise ZeroDivisionError


def test_calls_do_not_wait_for_the_store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    opened = threading.Event()

    class SlowTracker:
        def __init__(self, *_: object) -> None:
            opened.wait()

        def record(self, *_: object) -> None:
            written.append(1)

    written: list[int] = []
    monkeypatch.setattr(persistence, "Tracker", SlowTracker)
    uri = f"sqlite:///{tmp_path}/mlflow.db"
    with BackgroundTracker(Home(tmp_path), uri, "digits", print) as writer:
        writer.record(make_result(), "train")
        writer.record(make_result(), "train")
        assert written == []
        opened.set()
    assert written == [1, 1]


def test_an_unreachable_server_is_reported_at_once(tmp_path: Path) -> None:
    with pytest.raises(ServiceError, match=r"http://127\.0\.0\.1:1 cannot be reached"):
        BackgroundTracker(Home(tmp_path), "http://127.0.0.1:1", "digits", print)


class Outage:
    """A store that fails while it is away, in place of the tracker's own."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.is_away = False
        self.notices: list[str] = []
        self.written: list[str] = []
        self.reasons: list[str] = []
        self.opened_count = 0
        outage = self

        class FailingTracker:
            def __init__(self, *_: object) -> None:
                self.reopen()

            def reopen(self) -> None:
                outage.check()
                outage.opened_count += 1

            def record(self, result: RunResult, *_: object) -> None:
                outage.check()
                outage.written.append(result.digest)
                outage.reasons.append(result.reason)

            def start_sweep(self, *_: object) -> None:
                outage.check()

            def finish_sweep(self, *_: object) -> None:
                outage.check()

            def mark_interrupted(self) -> None:
                outage.check()

        monkeypatch.setattr(persistence, "Tracker", FailingTracker)
        monkeypatch.setattr(persistence, "FIRST_PAUSE_SECONDS", 0.01)
        monkeypatch.setattr(persistence, "MAX_PAUSE_SECONDS", 0.02)

    def check(self) -> None:
        if self.is_away:
            raise StoreUnavailableError("the store failed", "connection refused")

    def tracker(self, home: Path) -> BackgroundTracker:
        uri = f"sqlite:///{home}/mlflow.db"
        return BackgroundTracker(Home(home), uri, "digits", self.notices.append)


def recorded_result(home: Path, seed: int) -> RunResult:
    return record_run(home, make_spec(seed=seed))


def test_an_outage_stops_nothing_and_everything_arrives_later_in_order(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    outage = Outage(monkeypatch)
    results = [recorded_result(tmp_path, seed) for seed in range(5)]
    digests = [result.digest for result in results]
    with outage.tracker(tmp_path) as tracker:
        tracker.record(results[0], "train")
        tracker.flush()
        outage.is_away = True
        for result in results[1:]:
            tracker.record(result, "train")
            wait_until(lambda: len(outage.notices) == 1)
        assert outage.written == digests[:1]
        outage.is_away = False
        tracker.flush()
        assert outage.written == digests
        wait_until(lambda: "works again" in outage.notices[-1])
    address = f"MLflow at sqlite:///{tmp_path}/mlflow.db"
    first = f"{address} cannot be written (connection refused): training goes on, 1 run waits"
    assert outage.notices[0] == f"{first} to be written"
    assert outage.notices[-1] == f"{address} works again: 4 runs were written"
    assert outage.opened_count == 2


def test_results_of_a_long_outage_are_read_again_from_their_records(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    outage = Outage(monkeypatch)
    first, second = (recorded_result(tmp_path, seed) for seed in (0, 1))
    with outage.tracker(tmp_path) as tracker:
        tracker.flush()
        outage.is_away = True
        tracker.record(first, "train")
        wait_until(lambda: outage.notices != [])
        tracker.record(replace(second, reason="only in memory"), "train")
        outage.is_away = False
    assert outage.written == [first.digest, second.digest]
    assert outage.reasons == ["", ""]


def test_a_store_that_stays_away_ends_a_command_with_a_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    outage = Outage(monkeypatch)
    monkeypatch.setattr(background, "PATIENCE_SECONDS", 0.3)
    line = (
        rf"MLflow at .*mlflow\.db cannot be written \(connection refused\): every run .* in "
        rf"{tmp_path}, and MLflow lacks at most 2 runs .* `python -m orchestrator sync`"
    )

    def record_runs() -> None:
        with outage.tracker(tmp_path) as tracker:
            tracker.flush()
            outage.is_away = True
            for seed in (0, 1):
                tracker.record(recorded_result(tmp_path, seed), "train")

    with pytest.raises(ServiceError, match=line):
        record_runs()
    assert outage.notices[-1] == "waiting for MLflow for up to 0.3 s: 2 runs wait to be written"


def test_an_interruption_does_not_wait_for_a_store_that_is_away(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    outage = Outage(monkeypatch)
    tracker = outage.tracker(tmp_path)
    tracker.flush()
    outage.is_away = True
    tracker.record(recorded_result(tmp_path, 0), "train")
    wait_until(lambda: outage.notices != [])
    tracker.mark_interrupted()
    start = time.monotonic()
    with pytest.raises(KeyboardInterrupt), tracker:
        raise KeyboardInterrupt
    assert time.monotonic() - start < 5
    wait_until(lambda: not tracker._thread.is_alive())


def test_an_interruption_says_and_records_how_many_runs_the_store_lacks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    outage = Outage(monkeypatch)
    plan = make_plan()
    archive = SweepArchive.of(tmp_path, plan.sweep)
    with outage.tracker(tmp_path) as tracker:
        tracker.start_sweep(plan, "")
        assert archive.read_unwritten() == UnwrittenPart("", None)
        tracker.finish_sweep(plan, {})
    assert archive.read_unwritten() is None

    tracker = outage.tracker(tmp_path)
    tracker.start_sweep(plan, "")
    tracker.record(recorded_result(tmp_path, 0), "train")
    tracker.flush()
    outage.is_away = True
    for seed in (1, 2):
        tracker.record(recorded_result(tmp_path, seed), "train")
    wait_until(lambda: outage.notices != [])
    message = (
        r"^interrupted after 3 runs; MLflow lacks up to 2 runs that have ended "
        r"\(`python -m orchestrator sync` writes them too\)$"
    )
    with pytest.raises(KeyboardInterrupt, match=message), tracker:
        raise KeyboardInterrupt("interrupted after 3 runs")
    assert archive.read_unwritten() == UnwrittenPart("", 2)
    archive.mark_written("http://other")
    assert archive.read_unwritten() is not None
    archive.mark_written(f"sqlite:///{tmp_path}/mlflow.db")
    assert archive.read_unwritten() is None


def test_an_interruption_after_which_nothing_lacks_keeps_its_text(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    outage = Outage(monkeypatch)
    plan = make_plan()
    tracker = outage.tracker(tmp_path)
    tracker.start_sweep(plan, "")
    with pytest.raises(KeyboardInterrupt, match=r"^interrupted after 0 runs$"), tracker:
        raise KeyboardInterrupt("interrupted after 0 runs")
    assert SweepArchive.of(tmp_path, plan.sweep).read_unwritten() is None


def test_ctrl_c_ends_the_wait_for_a_store_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    outage = Outage(monkeypatch)
    tracker = outage.tracker(tmp_path)
    tracker.flush()
    outage.is_away = True
    tracker.record(recorded_result(tmp_path, 0), "train")
    handler = signal.signal(signal.SIGINT, signal.default_int_handler)
    timer = threading.Timer(0.2, os.kill, (os.getpid(), signal.SIGINT))
    start = time.monotonic()
    try:
        timer.start()
        with pytest.raises(KeyboardInterrupt), tracker:
            tracker.flush()
    finally:
        signal.signal(signal.SIGINT, handler)
    assert time.monotonic() - start < 5


def test_an_interruption_does_not_wait_for_a_silent_store(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    outage = Outage(monkeypatch)
    monkeypatch.setattr(background, "INTERRUPTED_PATIENCE_SECONDS", 0.2)
    answer = threading.Event()
    tracker = outage.tracker(tmp_path)
    tracker.flush()
    tracker._enqueue(lambda _: wait_until(answer.is_set))
    with pytest.raises(KeyboardInterrupt), tracker:
        raise KeyboardInterrupt
    assert tracker._thread.is_alive()
    answer.set()


def test_a_long_wait_for_a_store_that_answers_is_announced(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    outage = Outage(monkeypatch)
    monkeypatch.setattr(background, "SILENT_SECONDS", 0.01)
    with outage.tracker(tmp_path) as tracker:
        tracker._enqueue(lambda _: wait_until(lambda: outage.notices != []))
        tracker.record(recorded_result(tmp_path, 0), "train")
    assert outage.notices == ["waiting for MLflow: 1 run waits to be written"]


def test_a_store_that_cannot_be_opened_is_not_waited_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    outage = Outage(monkeypatch)
    outage.is_away = True
    tracker = outage.tracker(tmp_path)
    with pytest.raises(ServiceError, match="the store failed"):
        tracker.flush()
    assert outage.notices == []


def test_reading_is_repeated_and_its_other_errors_are_raised(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    outage = Outage(monkeypatch)
    failures = iter([True, True, False])

    def read() -> int:
        if next(failures):
            raise StoreUnavailableError("the store failed", "connection refused")
        return 7

    def fail() -> None:
        raise RecordError("damaged")

    with outage.tracker(tmp_path) as tracker:
        assert tracker.read(read) == 7
    with pytest.raises(RecordError, match="damaged"), outage.tracker(tmp_path) as tracker:
        tracker.read(fail)


def test_the_driver_does_not_import_mlflow_or_torch_before_it_writes() -> None:
    code = (
        "import orchestrator.tracking.background, sys; "
        "sys.exit(any(name in sys.modules for name in ('mlflow', 'torch', 'ray')))"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
