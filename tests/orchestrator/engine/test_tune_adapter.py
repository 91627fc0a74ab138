"""Assignment of slots to runs and idle trials by the adapter, without Ray."""

from __future__ import annotations

import json
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from fake_runs import record_run
from plans import searches_of, small_plan
from task_sources import RecordingListener

from orchestrator.engine import tune_adapter
from orchestrator.engine.dispatch import Dispatcher
from orchestrator.engine.messages import StopError
from orchestrator.engine.ray_engine import DispatcherDesk
from orchestrator.engine.tune_adapter import MAX_NODE_LOSSES, MAX_WORKER_LOSSES, TuneAdapter
from orchestrator.sweeping.sweep import Sweep
from trainables.run.metrics import VAL_ACCURACY

if TYPE_CHECKING:
    from pathlib import Path

    import pytest


IDLE = {"idle": True, "placement": {}, "gpus": 0.0}


@dataclass
class FakePlaces:
    """Places whose nodes are alive, unless they are in a list.

    Attributes:
        refused: what the nodes lack that were refused.
    """

    slot_count: int = 2
    gpus: float = 0.0
    lost: tuple[str | None, ...] = ()
    refused: dict[str, str] = field(default_factory=dict)

    def placement(self) -> dict[str, str]:
        return {}

    def refuse(self, node_id: str, problem: str) -> None:
        self.refused[node_id] = problem

    def is_lost(self, node_id: str | None) -> bool:
        return node_id in self.lost


class StoppingDesk(DispatcherDesk):
    """A desk that stops all runs after an error, as the command does.

    Attributes:
        message: message of the error; "" before an error.
    """

    message = ""

    def fail(self, message: str, exit_code: int) -> None:
        self.message = f"{message} ({exit_code})"
        raise StopError


def open_adapter(
    home: Path,
    places: FakePlaces | None = None,
    max_concurrent: int | None = None,
    runs_per_gpu: int = 1,
) -> tuple[TuneAdapter, Sweep]:
    sweep = Sweep(small_plan(), home, searches_of(home))
    sweep.resume(lambda _task, _result: None)
    desk = StoppingDesk(Dispatcher(sweep, home, RecordingListener()))
    return TuneAdapter(desk, places or FakePlaces(), max_concurrent, runs_per_gpu), sweep


def test_every_slot_is_warmed_before_the_first_run(tmp_path: Path) -> None:
    adapter, _ = open_adapter(tmp_path)
    assert adapter.next_config("w1") == adapter.next_config("w2") == IDLE
    assert not adapter.should_stop("w1")
    first = adapter.next_config("t1")
    assert first is not None
    assert "spec" in first
    # One idle trial makes way for the new run; the other stays for the next run.
    assert adapter.should_stop("w1")
    assert not adapter.should_stop("w2")
    adapter.next_config("t2")
    assert adapter.should_stop("w2")


def test_a_run_that_lost_its_worker_keeps_its_slot(tmp_path: Path) -> None:
    adapter, sweep = open_adapter(tmp_path)
    adapter.next_config("w1")
    adapter.next_config("w2")
    for number in range(sweep.tunings[0].search.trial_count):
        adapter.next_config(f"t{number}")
    adapter.end_trial("w1", None, lost=False)
    adapter.end_trial("w2", None, lost=False)
    assert adapter.next_config("more") is None


def test_idle_trials_fill_free_slots_while_the_sweep_waits(tmp_path: Path) -> None:
    adapter, _sweep = open_adapter(tmp_path, FakePlaces(8))
    for number in range(8):
        adapter.next_config(f"w{number}")
    runs = 0
    while (config := adapter.next_config(f"t{runs}")) is not None and "spec" in config:
        runs += 1
    assert runs == 4  # trials of the small study
    assert config is None
    assert sum(not adapter.should_stop(f"w{number}") for number in range(8)) == 8 - runs


def test_idle_trials_stop_after_the_limit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    now = 1000.0
    monkeypatch.setattr(time, "monotonic", lambda: now)
    adapter, _ = open_adapter(tmp_path)
    adapter.next_config("w1")
    assert not adapter.should_stop("w1")
    now += tune_adapter.MAX_IDLE_SECONDS + 1
    assert adapter.should_stop("w1")


def test_an_error_stops_every_trial(tmp_path: Path) -> None:
    adapter, sweep = open_adapter(tmp_path)
    adapter.next_config("w1")
    adapter.next_config("w2")
    adapter.next_config("t1")
    adapter.next_config("t2")
    assert not adapter.should_stop("t2")
    adapter.end_trial("t1", {"error": "the disk is full", "exit_code": 2}, lost=False)
    assert adapter.finished
    assert adapter._desk.message == "the disk is full (2)"  # type: ignore[attr-defined]
    assert adapter.should_stop("t2")
    assert adapter.next_config("t3") is None
    adapter.end_trial("t2", {"rows": "[]", "done": False, "stopped": False}, lost=False)
    assert sweep.failures == []


def test_the_adapter_finishes_with_the_sweep(tmp_path: Path) -> None:
    adapter, sweep = open_adapter(tmp_path)
    number = 0
    while not adapter.finished:
        name = f"t{number}"
        config = adapter.next_config(name)
        digest = adapter._digests.get(name)
        if digest is not None:
            record_run(tmp_path, adapter._desk._tasks[digest].spec)  # type: ignore[attr-defined]
            adapter.end_trial(name, {"done": True}, lost=False)
        elif config == IDLE:
            adapter.end_trial(name, None, lost=False)
        number += 1
        assert number < 200
    assert sweep.done
    assert adapter.should_stop("w1")


def start_runs(adapter: TuneAdapter, count: int) -> None:
    """Let the idle trials of two slots end, and start runs as trials t0, t1, ..."""
    for name in ("w1", "w2"):
        adapter.next_config(name)
        adapter.end_trial(name, None, lost=False)
    for number in range(count):
        config = adapter.next_config(f"t{number}")
        assert config is not None
        assert "spec" in config


def test_a_run_that_loses_its_worker_again_and_again_fails(tmp_path: Path) -> None:
    adapter, sweep = open_adapter(tmp_path)
    start_runs(adapter, 1)
    digest = adapter._digests["t0"]
    for number in range(MAX_WORKER_LOSSES + 1):
        assert adapter._digests[f"t{number}"] == digest
        adapter.report(f"t{number}", {"rows": "[]", "node": "a"})
        adapter.end_trial(f"t{number}", None, lost=True)
        adapter.next_config(f"t{number + 1}")
    assert ["was lost 4 times" in failure for failure in sweep.failures] == [True]


def test_the_loss_of_a_node_does_not_count_against_a_run(tmp_path: Path) -> None:
    adapter, sweep = open_adapter(tmp_path, FakePlaces(lost=("a",)))
    start_runs(adapter, 1)
    digest = adapter._digests["t0"]
    for number in range(3 * MAX_WORKER_LOSSES):
        adapter.report(f"t{number}", {"rows": "[]", "node": "a"})
        adapter.end_trial(f"t{number}", None, lost=True)
        adapter.next_config(f"t{number + 1}")
        assert adapter._digests[f"t{number + 1}"] == digest
    assert sweep.failures == []


def test_a_node_on_which_a_worker_finds_a_problem_is_refused(tmp_path: Path) -> None:
    places = FakePlaces()
    adapter, sweep = open_adapter(tmp_path, places)
    start_runs(adapter, 1)
    digest = adapter._digests["t0"]
    report = {"done": True, "problem": "lacks the data", "node": "a"}
    adapter.report("t0", report)
    adapter.end_trial("t0", report, lost=False)
    adapter.next_config("t1")
    assert adapter._digests["t1"] == digest
    assert places.refused == {"a": "lacks the data"}
    assert sweep.failures == []


def test_a_run_that_takes_down_one_node_after_the_other_fails(tmp_path: Path) -> None:
    adapter, sweep = open_adapter(tmp_path, FakePlaces(lost=("a",)))
    start_runs(adapter, 1)
    digest = adapter._digests["t0"]
    for number in range(MAX_NODE_LOSSES + 1):
        assert adapter._digests[f"t{number}"] == digest
        adapter.report(f"t{number}", {"rows": "[]", "node": "a"})
        adapter.end_trial(f"t{number}", None, lost=True)
        adapter.next_config(f"t{number + 1}")
    assert ["11 nodes were lost before" in failure for failure in sweep.failures] == [True]


def test_an_epoch_forgives_a_run_the_nodes_that_were_lost(tmp_path: Path) -> None:
    adapter, sweep = open_adapter(tmp_path, FakePlaces(lost=("a",)))
    start_runs(adapter, 1)
    for number in range(2 * MAX_NODE_LOSSES):
        row = {"epoch": 1.0, VAL_ACCURACY: 0.5}
        rows = json.dumps([row] if number == MAX_NODE_LOSSES else [])
        adapter.report(f"t{number}", {"rows": rows, "node": "a"})
        adapter.end_trial(f"t{number}", None, lost=True)
        adapter.next_config(f"t{number + 1}")
    assert sweep.failures == []


def test_no_more_runs_start_than_permitted(tmp_path: Path) -> None:
    adapter, _ = open_adapter(tmp_path, FakePlaces(8), max_concurrent=2)
    start_runs(adapter, 2)
    assert adapter.next_config("t2") is None
    adapter.end_trial("t0", None, lost=True)
    assert adapter.next_config("t3") is not None


def test_runs_share_a_gpu_after_the_first_has_shown_its_memory(tmp_path: Path) -> None:
    places = FakePlaces(gpus=1.0)
    adapter, _ = open_adapter(tmp_path, places, runs_per_gpu=8)
    start_runs(adapter, 1)
    report = {"rows": "[]", "node": "a", "used_gpu_fraction": 0.22}
    adapter.end_trial("t0", report, lost=False)
    assert places.gpus == 0.25
    config = adapter.next_config("t1")
    assert config is not None
    assert config["gpus"] == 0.25
