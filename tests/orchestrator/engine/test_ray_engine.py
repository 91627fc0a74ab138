"""Workers that Ray kills for lack of memory, the restart with fewer runs at a time, interrupts."""

from __future__ import annotations

import os
import signal
import sys
import time
from contextlib import contextmanager, nullcontext
from typing import TYPE_CHECKING, Any

import psutil
import pytest
import ray
from fake_runs import FakeRun, attempts
from task_sources import EPOCHS, RecordingListener, ScriptedTaskSource

from orchestrator.engine import ray_engine
from orchestrator.engine.dispatch import Dispatcher
from orchestrator.engine.ray_engine import MAX_RESTARTS_AT_SAME_SIZE, RayEngine, interrupt_runs
from orchestrator.engine.tune_adapter import TuneAdapter
from trainables.errors import ServiceError
from trainables.training.job import Job

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from orchestrator.engine.base import Listener
    from trainables.run.spec import RunSpec

HOG_FRACTION = 0.6
"""Fraction of the available memory that a worker takes until Ray has killed a worker once."""
LIMIT_FRACTION = 0.35
"""Fraction of the available memory beyond which Ray kills workers.

It exceeds what Ray itself, idle workers and other tests at the same time take.
"""


class HungryRun(FakeRun):
    """A fake run that takes much memory in its third epoch, unless another run did so before."""

    def advance(self) -> Any:
        marker = self._home / "was-hungry"
        if self.epoch == 2 and not marker.exists():
            marker.touch()
            hog = bytearray(b"x") * int(HOG_FRACTION * psutil.virtual_memory().available)
            while hog:  # until Ray kills this process
                time.sleep(0.1)
        return super().advance()


@contextmanager
def open_hungry(spec: RunSpec, job: Job) -> Iterator[FakeRun]:
    """Open a run that takes much memory; an `Opener`."""
    yield HungryRun(spec, job.home)


@pytest.fixture
def _little_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let Ray kill workers that take a large part of the memory."""
    memory = psutil.virtual_memory()
    limit = memory.total - memory.available + LIMIT_FRACTION * memory.available
    monkeypatch.setenv("RAY_memory_usage_threshold", str(limit / memory.total))
    monkeypatch.setenv("RAY_memory_monitor_refresh_ms", "100")
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(sys.path))
    monkeypatch.setattr("orchestrator.engine.cluster.usable_cpu_count", lambda: 2)


@pytest.mark.slow
@pytest.mark.usefixtures("_little_memory")
def test_runs_continue_with_fewer_at_a_time_after_a_lack_of_memory(tmp_path: Path) -> None:
    listener, task_source = RecordingListener(), ScriptedTaskSource()
    engine = RayEngine(opener=open_hungry)
    with engine.start(tmp_path, listener):
        engine.carry_out(task_source, Job(tmp_path, tmp_path, "fake"), listener)
    assert listener.notices[0] == (
        "Ray has ended workers because the memory of a machine was nearly full: continuing from "
        "the checkpoints, with fewer runs at a time"
    )
    assert sorted(end[:2] for end in task_source.ends) == [(n, "finished") for n in range(3)]
    epochs = list(range(1, EPOCHS + 1))
    assert [task_source.epochs(seed) for seed in range(3)] == [epochs] * 3
    assert max(attempts(tmp_path).values()) >= 2


def test_a_lasting_lack_of_memory_ends_the_sweep_after_some_restarts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cpus: list[int] = []

    def run_out_of_memory(
        _engine: RayEngine, _dispatcher: Dispatcher, _job: Job, cpu: int, _listener: Listener
    ) -> bool:
        cpus.append(cpu)
        return False

    monkeypatch.setattr(RayEngine, "_carry_out_until_memory_lacks", run_out_of_memory)
    monkeypatch.setattr(ray_engine, "ray_cluster", lambda *_: nullcontext())
    monkeypatch.setattr(ray_engine, "has_gpus", lambda: False)
    monkeypatch.setattr(ray, "nodes", lambda: [{"Alive": True, "Resources": {"CPU": 4}}])
    listener = RecordingListener()
    with pytest.raises(ServiceError, match="no fewer runs can be trained at a time: free some mem"):
        RayEngine().carry_out(ScriptedTaskSource(), Job(tmp_path, tmp_path, "fake"), listener)
    assert cpus == [1, 2, 3, 3, 3, 3]
    assert [notice.rpartition(", ")[2] for notice in listener.notices] == [
        *["with fewer runs at a time"] * 2,
        *["with as many runs at a time"] * MAX_RESTARTS_AT_SAME_SIZE,
    ]


def wait_for_notice(listener: RecordingListener) -> None:
    deadline = time.monotonic() + 10
    while not listener.notices and time.monotonic() < deadline:
        time.sleep(0.01)


def test_an_interrupt_is_announced_while_ray_starts_or_ends(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ray_engine, "ray_cluster", lambda *_: nullcontext())
    listener = RecordingListener()
    handler = signal.getsignal(signal.SIGINT)
    with pytest.raises(KeyboardInterrupt), RayEngine().start(tmp_path, listener):
        signal.raise_signal(signal.SIGINT)
    wait_for_notice(listener)
    assert listener.notices == ["stopping: waiting for the workers to end"]
    assert signal.getsignal(signal.SIGINT) is handler


def test_an_interrupt_is_announced_once(tmp_path: Path) -> None:
    listener = RecordingListener()
    adapter = TuneAdapter(Dispatcher(ScriptedTaskSource(), tmp_path, listener), slot_count=1)
    interrupts = [KeyboardInterrupt(), KeyboardInterrupt()]
    for interrupt in interrupts:
        interrupt_runs(adapter, listener, interrupt)
    wait_for_notice(listener)
    assert listener.notices == ["stopping: waiting for the workers to end"]
    assert adapter.error is interrupts[1]
