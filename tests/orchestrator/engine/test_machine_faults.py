"""Ray's own ends: workers that Ray kills for lack of memory, and a slow start of Ray."""

from __future__ import annotations

import os
import sys
import time
from contextlib import contextmanager, nullcontext
from typing import TYPE_CHECKING, Any

import psutil
import pytest
import ray
from fake_runs import FakeRun, attempts
from task_sources import EPOCHS, RecordingListener, ScriptedTaskSource

from orchestrator.engine import cluster, ray_engine
from orchestrator.engine.cluster import cpus_for_fewer_runs, ray_cluster
from orchestrator.engine.ray_engine import MAX_RESTARTS_AT_SAME_SIZE, RayEngine
from trainables.errors import ServiceError
from trainables.training.job import Job

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from orchestrator.engine.dispatch import Dispatcher
    from trainables.run.spec import RunSpec

HOG_BYTES = 4_000_000_000
"""Memory that a worker takes until Ray has killed a worker once."""


class HungryRun(FakeRun):
    """A fake run that takes much memory in its third epoch, unless another run did so before."""

    def advance(self) -> Any:
        marker = self._home / "was-hungry"
        if self.epoch == 2 and not marker.exists():
            marker.touch()
            hog = bytearray(b"x") * HOG_BYTES
            while hog:  # until Ray kills this process
                time.sleep(0.1)
        return super().advance()


@contextmanager
def open_hungry(spec: RunSpec, job: Job) -> Iterator[FakeRun]:
    """Open a run that takes much memory; an `Opener`."""
    yield HungryRun(spec, job.home)


@pytest.fixture
def _little_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let Ray kill workers that take more memory than Ray itself and two idle workers."""
    memory = psutil.virtual_memory()
    limit = memory.total - memory.available + HOG_BYTES * 0.6
    monkeypatch.setenv("RAY_memory_usage_threshold", str(limit / memory.total))
    monkeypatch.setenv("RAY_memory_monitor_refresh_ms", "100")
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(sys.path))
    monkeypatch.setattr(cluster, "usable_cpu_count", lambda: 2)


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

    def run_out_of_memory(_engine: RayEngine, _dispatcher: Dispatcher, _job: Job, cpu: int) -> bool:
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


@pytest.mark.parametrize(
    ("nodes", "cpus", "gpus", "expected"),
    [
        ([{"CPU": 16}], 1, 0, 2),
        ([{"CPU": 16}], 2, 0, 4),
        ([{"CPU": 6}], 1, 0, 2),
        ([{"CPU": 3}], 1, 0, 2),
        ([{"CPU": 2}], 2, 0, 2),
        ([{"CPU": 1}], 1, 0, 1),
        ([{"CPU": 16, "GPU": 4}], 1, 1, 6),
        ([{"CPU": 16, "GPU": 1}], 1, 1, 1),
        ([{"CPU": 2}, {"CPU": 64}], 1, 0, 2),
        ([{"CPU": 0}, {"CPU": 8}], 1, 0, 2),
        ([], 1, 0, 1),
    ],
)
def test_fewer_runs_occupy_more_cpus_each(
    nodes: list[dict[str, float]],
    cpus: int,
    gpus: float,
    expected: int,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    states = [{"Alive": True, "Resources": node} for node in nodes]
    monkeypatch.setattr(ray, "nodes", lambda: [*states, {"Alive": False, "Resources": {}}])
    assert cpus_for_fewer_runs(cpus, gpus) == expected


class SlowRay:
    """Double of `ray.init`, whose first attempts fail as those of a node that starts slowly."""

    def __init__(self, failure_count: int) -> None:
        self.failures_left = failure_count

    def init(self, **_options: Any) -> None:
        if self.failures_left:
            self.failures_left -= 1
            raise Exception("The current node timed out during startup. This\ncould happen")  # noqa: TRY002


@pytest.fixture
def _no_ray(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ray, "shutdown", lambda: None)
    monkeypatch.setattr(os, "environ", dict(os.environ))


@pytest.mark.usefixtures("_no_ray")
def test_a_slow_start_is_repeated(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ray, "init", SlowRay(1).init)
    notices: list[str] = []
    with ray_cluster(None, notices.append):
        pass
    assert notices == [
        "Ray on this machine could not be used (The current node timed out during startup. This): "
        "attempt 2 of 3"
    ]


@pytest.mark.usefixtures("_no_ray")
def test_a_start_that_is_always_too_slow_is_explained(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ray, "init", SlowRay(cluster.MAX_START_ATTEMPTS).init)
    notices: list[str] = []
    message = (
        r"^Ray on this machine could not be used in 3 attempts \(The current .*--engine inline$"
    )
    with pytest.raises(ServiceError, match=message), ray_cluster(None, notices.append):
        pass
    assert len(notices) == cluster.MAX_START_ATTEMPTS - 1
