"""A Ray process that is killed, workers that Ray kills for lack of memory, and interrupts."""

from __future__ import annotations

import os
import signal
import sys
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import psutil
import pytest
from fake_runs import FakeRun, attempts, misbehave, open_fake
from task_sources import EPOCHS, RecordingListener, ScriptedTaskSource

from orchestrator.engine import ray_engine
from orchestrator.engine.messages import MemoryLack, OrderDone
from orchestrator.engine.ray_engine import (
    MAX_LOSSES_WITHOUT_PROGRESS,
    MAX_RESTARTS_AT_SAME_SIZE,
    STOPPING_NOTICE,
    RayEngine,
)
from orchestrator.engine.ray_process import (
    SILENCE_SECONDS,
    WAIT_SECONDS,
    RayLostError,
    RayProcess,
)
from trainables.errors import ServiceError
from trainables.training.job import Job

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from orchestrator.engine.messages import CarryOutOrder, RunDesk
    from orchestrator.sweeping.tasks import Task
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
def _importable_tests(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the Ray process and its workers import fake runs."""
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(sys.path))


@pytest.fixture
def _little_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let Ray kill workers that take a large part of the memory."""
    memory = psutil.virtual_memory()
    limit = memory.total - memory.available + LIMIT_FRACTION * memory.available
    monkeypatch.setenv("RAY_memory_usage_threshold", str(limit / memory.total))
    monkeypatch.setenv("RAY_memory_monitor_refresh_ms", "100")


def carry_out(
    engine: RayEngine, home: Path, task_source: ScriptedTaskSource, listener: RecordingListener
) -> None:
    """Start an engine and carry out the runs of a task source."""
    with engine.start(listener):
        engine.carry_out(task_source, Job(home, home, "fake"), listener)


def assert_all_finished(task_source: ScriptedTaskSource) -> None:
    assert sorted(task_source.ends) == [(n, "finished", "") for n in range(3)]
    epochs = list(range(1, EPOCHS + 1))
    assert [task_source.epochs(seed) for seed in range(3)] == [epochs] * 3


@pytest.mark.slow
@pytest.mark.usefixtures("_little_memory", "_importable_tests")
def test_runs_continue_with_fewer_at_a_time_after_a_lack_of_memory(tmp_path: Path) -> None:
    listener, task_source = RecordingListener(), ScriptedTaskSource()
    carry_out(RayEngine(opener=open_hungry), tmp_path, task_source, listener)
    assert listener.notices[0] == (
        "Ray has ended workers because the memory of a machine was nearly full: continuing from "
        "the checkpoints, with fewer runs at a time"
    )
    assert_all_finished(task_source)
    assert max(attempts(tmp_path).values()) >= 2


def command_line(process: psutil.Process) -> str:
    """Return the command line of a process; "" if it has ended."""
    try:
        return " ".join(process.cmdline())
    except psutil.Error:
        return ""


class KillingListener(RecordingListener):
    """A listener that kills a process of Ray once, when a run has trained two epochs.

    Args:
        name: part of the command line of the process.
    """

    def __init__(self, name: str) -> None:
        super().__init__()
        self._name = name
        self.killed: list[int] = []

    def on_report(self, task: Task, row: dict[str, float]) -> None:
        super().on_report(task, row)
        if row.get("epoch", 0) >= 2 and not self.killed:
            for process in psutil.Process().children(recursive=True):
                if self._name in command_line(process):
                    self.killed.append(process.pid)
                    process.kill()


@pytest.mark.slow
@pytest.mark.usefixtures("_importable_tests")
@pytest.mark.parametrize("name", ["raylet/raylet", "gcs_server", "orchestrator.engine.ray_main"])
def test_runs_continue_after_a_process_of_ray_was_killed(tmp_path: Path, name: str) -> None:
    misbehave(tmp_path, seconds=0.5)
    listener, task_source = KillingListener(name), ScriptedTaskSource()
    carry_out(RayEngine(opener=open_fake), tmp_path, task_source, listener)
    assert len(listener.killed) == 1
    assert listener.notices == [
        "Ray has ended unexpectedly: it is started again, and the runs continue from their "
        "checkpoints"
    ]
    assert_all_finished(task_source)
    left = [process for process in psutil.Process().children(recursive=True) if is_ray(process)]
    assert left == []


def is_ray(process: psutil.Process) -> bool:
    """Return whether a process belongs to Ray; its agents outlive a killed raylet by a minute."""
    words = command_line(process)
    return "ray" in words and "agent" not in words.lower()


class ScriptedProcess:
    """A Ray process whose orders have given outcomes.

    Attributes:
        cpus: number of CPUs per run of each order.
        stops: number of calls of `stop`.
    """

    outcomes: list[Callable[[CarryOutOrder, RunDesk], OrderDone | MemoryLack]]
    cpus: list[int]
    stops: int

    def __init__(self, _address: str | None) -> None:
        pass

    def wait_for_start(self, _on_notice: Callable[[str], None]) -> None:
        pass

    def carry_out(
        self, order: CarryOutOrder, desk: RunDesk, _on_notice: Callable[[str], None]
    ) -> OrderDone | MemoryLack:
        type(self).cpus.append(order.cpus)
        return type(self).outcomes.pop(0)(order, desk)

    def stop(self) -> None:
        type(self).stops += 1

    def end(self) -> None:
        pass

    def kill(self) -> None:
        pass

    def last_line(self) -> str:
        return "raylet.cc: the disk is broken"


@pytest.fixture
def process(monkeypatch: pytest.MonkeyPatch) -> type[ScriptedProcess]:
    """The scripted process that all engines use, without outcomes yet."""
    monkeypatch.setattr(ScriptedProcess, "outcomes", [], raising=False)
    monkeypatch.setattr(ScriptedProcess, "cpus", [], raising=False)
    monkeypatch.setattr(ScriptedProcess, "stops", 0, raising=False)
    monkeypatch.setattr(ray_engine, "RayProcess", ScriptedProcess)
    return ScriptedProcess


def lose(_order: CarryOutOrder, _desk: RunDesk) -> OrderDone:
    raise RayLostError("Ray has ended unexpectedly")


def lose_after_progress(_order: CarryOutOrder, desk: RunDesk) -> OrderDone:
    order = desk.next()
    assert order is not None
    desk.report(order.digest, [{"epoch": order.reported_epoch + 1.0}])
    raise RayLostError("Ray has ended unexpectedly")


def test_a_lasting_lack_of_memory_ends_the_sweep_after_some_restarts(
    tmp_path: Path, process: type[ScriptedProcess]
) -> None:
    process.outcomes += [lambda order, _desk: MemoryLack(min(order.cpus + 1, 3))] * 6
    listener = RecordingListener()
    with pytest.raises(ServiceError, match="no fewer runs can be trained at a time: free some mem"):
        carry_out(RayEngine(), tmp_path, ScriptedTaskSource(), listener)
    assert process.cpus == [1, 2, 3, 3, 3, 3]
    assert [notice.rpartition(", ")[2] for notice in listener.notices] == [
        *["with fewer runs at a time"] * 2,
        *["with as many runs at a time"] * MAX_RESTARTS_AT_SAME_SIZE,
    ]


def test_ray_that_is_lost_again_and_again_ends_the_sweep(
    tmp_path: Path, process: type[ScriptedProcess]
) -> None:
    process.outcomes += [lose, lose, lose_after_progress, *[lose] * MAX_LOSSES_WITHOUT_PROGRESS]
    message = (
        r"^Ray has ended unexpectedly, 4 times: type the same command again to continue, or add "
        r"--engine inline \(Ray has printed: raylet\.cc: the disk is broken\)$"
    )
    listener = RecordingListener()
    with pytest.raises(ServiceError, match=message):
        carry_out(RayEngine(), tmp_path, ScriptedTaskSource(), listener)
    assert len(listener.notices) == 2 + MAX_LOSSES_WITHOUT_PROGRESS
    assert process.outcomes == []


def test_an_interrupt_is_announced_and_stops_the_process(
    tmp_path: Path, process: type[ScriptedProcess]
) -> None:
    def interrupt(_order: CarryOutOrder, _desk: RunDesk) -> OrderDone:
        signal.raise_signal(signal.SIGINT)
        return OrderDone()

    process.outcomes.append(interrupt)
    listener = RecordingListener()
    with pytest.raises(KeyboardInterrupt):
        carry_out(RayEngine(), tmp_path, ScriptedTaskSource(), listener)
    assert (listener.notices, process.stops) == ([STOPPING_NOTICE], 1)


def test_a_process_that_ends_at_once_is_lost(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        "orchestrator.engine.ray_process.module_command",
        lambda *_: [sys.executable, "-c", "print('no such module')"],
    )
    with (
        pytest.raises(
            ServiceError, match=r"unexpectedly while it was .*printed: no such module\)$"
        ),
        RayEngine().start(RecordingListener()),
    ):
        pytest.fail("Ray has started")


def test_a_process_that_is_silent_is_lost_and_killed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("orchestrator.engine.ray_process.SILENCE_SECONDS", 0.2)
    monkeypatch.setattr(
        "orchestrator.engine.ray_process.module_command",
        lambda *_: [sys.executable, "-c", "import time; time.sleep(60)"],
    )
    process = RayProcess(None)
    with pytest.raises(RayLostError, match=r"^Ray has not answered for 0 s$"):
        process.carry_out(None, None, print)  # type: ignore[arg-type]
    process.stop()
    assert process._process.returncode == -signal.SIGKILL


class SleepyConnection:
    """Connection whose process is suspended for hours in the first waits for a message."""

    def __init__(self, waits: int) -> None:
        self._waits_left = waits

    def poll(self, seconds: float) -> bool:
        assert seconds <= WAIT_SECONDS
        self._waits_left -= 1
        return self._waits_left < 0

    def recv(self) -> object:
        return OrderDone()

    def send(self, _message: object) -> None:
        pass

    def close(self) -> None:
        pass


def test_time_for_which_the_machine_was_suspended_is_no_silence(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(
        "orchestrator.engine.ray_process.module_command", lambda *_: [sys.executable, "-c", ""]
    )
    process = RayProcess(None)
    patience = round(SILENCE_SECONDS / WAIT_SECONDS)
    monkeypatch.setattr(process, "_connection", SleepyConnection(patience - 1))
    assert process.carry_out(None, None, print) == OrderDone()  # type: ignore[arg-type]
    monkeypatch.setattr(process, "_connection", SleepyConnection(patience))
    with pytest.raises(RayLostError, match=r"^Ray has not answered for 120 s$"):
        process.carry_out(None, None, print)  # type: ignore[arg-type]
    process.kill()
