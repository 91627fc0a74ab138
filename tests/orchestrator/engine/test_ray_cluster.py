"""Clusters of several nodes: nodes that lack something, join and are lost, and a lost head."""

from __future__ import annotations

import os
import sys
import tempfile
import time
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from fake_runs import FakeRun, attempts, misbehave, open_fake
from ray_clusters import RayCluster, ray_cluster_of_tests
from task_sources import EPOCHS, SPECS, RecordingListener, ScriptedTaskSource

from orchestrator.engine.ray_engine import RayEngine
from trainables.errors import NalError, ServiceError
from trainables.training.job import Job, Opener

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    import psutil

    from orchestrator.sweeping.tasks import Task
    from trainables.run.spec import RunSpec


@pytest.fixture(scope="module")
def module_cluster() -> Iterator[RayCluster]:
    """A cluster with a head node of one CPU, which the last test kills."""
    with (
        tempfile.TemporaryDirectory(prefix="ray-", dir="/tmp") as folder,
        ray_cluster_of_tests(Path(folder)) as cluster,
    ):
        yield cluster


@pytest.fixture
def cluster(
    module_cluster: RayCluster, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> Iterator[RayCluster]:
    """The cluster, whose token the command has, and whose nodes import nothing from the command."""
    monkeypatch.chdir(tmp_path)
    for name in ("RAY_AUTH_MODE", "RAY_AUTH_TOKEN_PATH"):
        monkeypatch.setenv(name, module_cluster.environment[name])
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(sys.path))
    yield module_cluster
    module_cluster.kill_further_nodes()


class ActingListener(RecordingListener):
    """A listener that does something once, when a run has trained two epochs.

    Args:
        action: what it does.
    """

    def __init__(self, action: Callable[[], object]) -> None:
        super().__init__()
        self._action: Callable[[], object] | None = action

    def on_report(self, task: Task, row: dict[str, float]) -> None:
        super().on_report(task, row)
        if row.get("epoch", 0) >= 2 and self._action is not None:
            action, self._action = self._action, None
            action()


def carry_out(
    cluster: RayCluster,
    job: Job,
    task_source: ScriptedTaskSource,
    listener: RecordingListener,
    opener: Opener = open_fake,
) -> None:
    """Carry out the runs of a task source on a cluster."""
    engine = RayEngine(cluster.address, opener=opener)
    with engine.start(listener):
        engine.carry_out(task_source, job, listener)


def assert_all_finished(task_source: ScriptedTaskSource) -> None:
    assert sorted(task_source.ends) == [(n, "finished", "") for n in range(len(SPECS))]
    epochs = list(range(1, EPOCHS + 1))
    assert [task_source.epochs(seed) for seed in range(len(SPECS))] == [epochs] * len(SPECS)


@pytest.mark.slow
def test_nodes_that_lack_something_are_named_and_take_no_runs(
    cluster: RayCluster, tmp_path: Path
) -> None:
    stub = tmp_path / "site" / "trainables"
    stub.mkdir(parents=True)
    (stub / "__init__.py").write_text("raise ImportError('not installed')")
    cluster.add_node("--num-cpus=4", wrapper=["env", f"PYTHONPATH={stub.parent}"])
    listener, task_source = RecordingListener(), ScriptedTaskSource()
    carry_out(cluster, Job(tmp_path, tmp_path, "fake"), task_source, listener)
    assert_all_finished(task_source)
    host = cluster.address.rpartition(":")[0]
    package_notice = (
        f"node {host} takes no runs: it cannot import this version of nal-orchestrator (not "
        "installed): install the package on it. Then start Ray on the node again"
    )
    assert listener.notices == [package_notice]
    assert set(attempts(tmp_path).values()) == {1}
    cluster.add_node("--num-cpus=4", "--num-gpus=4")
    job = Job(tmp_path, tmp_path, "fake", gpus=1)
    message = r"^resources.gpus = 1, but no node of the cluster has a GPU that can be used: add "
    with pytest.raises(NalError, match=message):
        carry_out(cluster, job, ScriptedTaskSource(), listener)
    gpu_notice = next(text for text in listener.notices if text != package_notice)
    assert gpu_notice.startswith(
        f"node {host} takes no runs: it has a GPU that PyTorch cannot use ("
    )
    assert not list(tmp_path.glob(".*"))


class JoiningListener(RecordingListener):
    """A listener that adds a node, and kills it when two runs have met.

    Attributes:
        killed: whether the node was killed.
    """

    def __init__(self, cluster: RayCluster) -> None:
        super().__init__()
        self._cluster = cluster
        self._node: psutil.Process | None = None
        self._epochs: dict[str, float] = {}
        self.killed = False

    def on_report(self, task: Task, row: dict[str, float]) -> None:
        super().on_report(task, row)
        self._epochs[task.spec.digest] = row.get("epoch", 0)
        if self._node is None:
            self._node = self._cluster.add_node()
        elif not self.killed and sum(3 <= epoch < EPOCHS for epoch in self._epochs.values()) == 2:
            self.killed = True
            self._cluster.kill(self._node)

    def on_end(self, task: Task) -> None:
        super().on_end(task)
        del self._epochs[task.spec.digest]


class MeetingRun(FakeRun):
    """A fake run that trains its third epoch when another run has trained two epochs."""

    def advance(self) -> Any:
        if self.epoch == 2:
            deadline = time.monotonic() + 90
            (self._home / f"met.{self._spec.digest}").touch()
            while len(list(self._home.glob("met.*"))) < 2 and time.monotonic() < deadline:
                time.sleep(0.1)
        return super().advance()


@contextmanager
def open_meeting(spec: RunSpec, job: Job) -> Iterator[FakeRun]:
    """Open a run that waits for another; an `Opener`."""
    yield MeetingRun(spec, job.home)


@pytest.mark.slow
def test_a_node_that_joins_is_used_and_its_loss_is_survived(
    cluster: RayCluster, tmp_path: Path
) -> None:
    misbehave(tmp_path, seconds=0.5)
    listener, task_source = JoiningListener(cluster), ScriptedTaskSource()
    carry_out(cluster, Job(tmp_path, tmp_path, "fake"), task_source, listener, open_meeting)
    assert_all_finished(task_source)
    assert listener.killed
    assert listener.notices == []
    assert sum(attempts(tmp_path).values()) > len(SPECS)


@pytest.mark.slow
def test_a_lost_head_ends_the_command_and_names_the_cluster(
    cluster: RayCluster, tmp_path: Path
) -> None:
    misbehave(tmp_path, seconds=0.5)
    kill_times: list[float] = []

    def kill_head() -> None:
        kill_times.append(time.monotonic())
        cluster.kill(cluster.head)

    listener = ActingListener(kill_head)
    message = (
        rf"^Ray has ended unexpectedly, and --ray-address {cluster.address} cannot be reached "
        r"\(.* refused\): start the cluster .* Type the same command again when the cluster is back"
    )
    with pytest.raises(ServiceError, match=message):
        carry_out(cluster, Job(tmp_path, tmp_path, "fake"), ScriptedTaskSource(), listener)
    assert time.monotonic() - kill_times[0] < 60
