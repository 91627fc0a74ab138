"""Sweeps on a real Ray, of runs that do nothing or go wrong."""

from __future__ import annotations

import os
import signal
import sys
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import pytest
from fake_runs import NullTrainable, attempts, misbehave
from plans import complete_trials, searches_of, small_plan, wanted_digests

from orchestrator.engine.carry_out import carry_out
from orchestrator.engine.cluster import ray_cluster
from orchestrator.engine.nodes import check_nodes
from orchestrator.sweeping.sweep import Sweep
from trainables.errors import NalError, ServiceError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from orchestrator.sweeping.tasks import Task

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module", autouse=True)
def _ray() -> Iterator[None]:
    # Workers take over the driver's environment, but not its search path for modules.
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", os.pathsep.join(sys.path))
        with ray_cluster(None):
            yield


class Ears:
    """Hears what goes on."""

    def __init__(self) -> None:
        self.begun: list[str] = []
        self.over: list[str] = []

    def started(self, task: Task) -> None:
        self.begun.append(task.spec.digest)

    def reported(self, task: Task, epoch: int, accuracy: float | None) -> None:
        assert task.spec.digest in self.begun
        assert 0 <= epoch <= task.spec.recipe.epochs
        assert accuracy is None or 0 <= accuracy <= 1

    def ended(self, task: Task) -> None:
        self.over.append(task.spec.digest)


def swept(home: Path, ears: Ears | None = None, **flags: Any) -> Sweep:
    """Carry out the small study on Ray."""
    sweep = Sweep(small_plan(**flags), home, searches_of(home))
    sweep.resume(lambda _task, _result: None)
    job = {"home": str(home), "data_dir": str(home), "study": "small"}
    carry_out(sweep, home, ears or Ears(), job, 0.0, NullTrainable)
    return sweep


def test_a_sweep_on_ray_trains_each_run_once(tmp_path: Path) -> None:
    ears = Ears()
    sweep = swept(tmp_path, ears)
    assert sweep.done
    assert set(attempts(tmp_path)) == wanted_digests(sweep)
    assert set(attempts(tmp_path).values()) == {1}
    assert complete_trials(sweep) == [4]
    assert sorted(ears.begun) == sorted(ears.over) == sorted(attempts(tmp_path))


def test_a_bug_costs_the_runs_that_have_it_alone(tmp_path: Path) -> None:
    misbehave(tmp_path, crash_above=1.0)
    sweep = swept(tmp_path, trials=6)
    assert sweep.done
    assert sweep.failed
    assert all("ZeroDivisionError: a bug" in words for words in sweep.failed)
    assert all(values["lambda"] <= 1 for values, _ in sweep.tunings[0].search.completed())
    assert complete_trials(sweep) == [6 - len(sweep.failed)]


class Deaf(Ears):
    """Swallows the exception of a Ctrl-C, as code of Ray's may."""

    def started(self, task: Task) -> None:
        super().started(task)
        with suppress(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGINT)


def test_an_interrupt_is_not_lost(tmp_path: Path) -> None:
    ears = Deaf()
    handler = signal.getsignal(signal.SIGINT)
    with pytest.raises(KeyboardInterrupt):
        swept(tmp_path, ears)
    assert len(ears.begun) == 1
    assert signal.getsignal(signal.SIGINT) is handler


def test_a_fault_that_is_explained_ends_the_sweep(tmp_path: Path) -> None:
    misbehave(tmp_path, explain="ce")
    with pytest.raises(NalError, match="the data went away: bring them back"):
        swept(tmp_path)
    misbehave(tmp_path)
    assert swept(tmp_path).done
    assert set(attempts(tmp_path).values()) == {1}


def test_a_lost_worker_is_replaced(tmp_path: Path) -> None:
    misbehave(tmp_path, die_once_above=8.0)
    sweep = swept(tmp_path, sets=("reference.nal.lambda=9",), trials=1)
    assert list(tmp_path.glob("died.*"))
    assert sweep.done
    assert sweep.failed == []
    assert complete_trials(sweep) == [1]


def test_diverged_runs_count_as_chance(tmp_path: Path) -> None:
    misbehave(tmp_path, diverge_above=1.0)
    sweep = swept(tmp_path, trials=6)
    assert sweep.done
    assert complete_trials(sweep) == [6]
    for values, value in sweep.tunings[0].search.completed():
        assert (value == 0.1) is (values["lambda"] > 1)
    chosen = sweep.tunings[0].chosen
    assert chosen is not None
    assert chosen["lambda"] <= 1


def test_nodes_are_asked_for_the_package_and_the_home(tmp_path: Path) -> None:
    check_nodes(tmp_path)
    missing = tmp_path / "elsewhere"
    with pytest.raises(ServiceError, match=f"does not see --home {missing}"):
        check_nodes(missing)
