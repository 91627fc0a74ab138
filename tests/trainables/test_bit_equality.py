"""Every method gives the same bits wherever, however often interrupted, and observed or not."""

from __future__ import annotations

import math
import multiprocessing
import random
import signal
from typing import TYPE_CHECKING, Any

import pytest
import torch
from small_runs import (
    assert_same_bits,
    bits,
    complete_run,
    digits,
    recipe,
    runnable,
    short_values,
    with_needs,
)
from workers import HomeTrainable, trial

from trainables.methods import METHODS
from trainables.run.record import Record
from trainables.training import running
from trainables.training.running import Running

if TYPE_CHECKING:
    from multiprocessing.connection import Connection
    from pathlib import Path

    from trainables.run.spec import RunSpec

pytestmark = pytest.mark.slow

EPOCHS = 8
SAMPLES = 400
PROCESSES = multiprocessing.get_context("forkserver")
"""Children are forked from a process that has torch imported and has computed nothing."""
PROCESSES.set_forkserver_preload(["trainables.training.running", "small_runs"])


def chain_of(method: str) -> list[RunSpec]:
    """The runs that a short training of a method takes; the last is the method's own."""
    spec = runnable(
        method=method,
        recipe=recipe(EPOCHS),
        subset=SAMPLES,
        values=short_values(method, EPOCHS),
    )
    return with_needs(spec)


def train(home: Path, specs: list[RunSpec], **options: Any) -> None:
    for spec in specs:
        complete_run(spec, home, digits, "study", **options)


def train_and_wait(home: Path, spec: RunSpec, last: int, pipe: Connection) -> None:
    """Train to an epoch, every one checkpointed, then wait for the end."""
    running.CHECKPOINT_SHARE = math.inf
    with Running(spec, home, digits, "study", checkpoint_seconds=0.0) as run:
        while run.epoch < last:
            run.advance()
            pipe.send(run.epoch)
    signal.pause()


def killed_at(home: Path, spec: RunSpec, epoch: int) -> None:
    """Train a run in a process of its own and kill it while it is in or after an epoch."""
    ours, theirs = PROCESSES.Pipe()
    child = PROCESSES.Process(target=train_and_wait, args=(home, spec, epoch, theirs))
    child.start()
    while ours.recv() < epoch:
        pass
    child.kill()
    child.join()
    assert child.exitcode == -signal.SIGKILL
    assert Record(home, spec.digest).result() is None


def assert_same(found: Path, expected: Path, spec: RunSpec) -> None:
    """Weights, momentum, per-sample state, trace and what others may need are equal."""
    states = [
        torch.load(Record(home, spec.digest).checkpoint, weights_only=True)["trainer"]
        for home in (found, expected)
    ]
    assert states[0]["epoch"] == EPOCHS
    assert_same_bits(*map(bits, states))
    one, other = (Record(home, spec.digest).result() for home in (found, expected))
    assert one is not None
    assert other is not None
    assert (one.trace, one.status, one.labels) == (other.trace, other.status, other.labels)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home in which every method was trained undisturbed."""
    home = tmp_path_factory.mktemp("whole")
    for method in METHODS:
        train(home, chain_of(method))
    return home


@pytest.mark.parametrize("method", METHODS)
def test_killed_and_continued(method: str, whole: Path, tmp_path: Path) -> None:
    chain = chain_of(method)
    epoch = random.randrange(1, EPOCHS)  # noqa: S311 - any epoch will do
    for spec in chain:
        killed_at(tmp_path, spec, epoch)
        complete_run(spec, tmp_path, digits, "study")
        found, expected = (Record(home, spec.digest).result() for home in (tmp_path, whole))
        assert found is not None
        assert expected is not None
        assert found.attempts == 2, f"killed at epoch {epoch}"
        assert found.diagnostics == expected.diagnostics
        assert_same(tmp_path, whole, spec)
        for name in (path.name for path in Record(whole, spec.digest).folder.glob("*.npy")):
            one, other = (Record(home, spec.digest).folder / name for home in (tmp_path, whole))
            assert not one.exists() or one.read_bytes() == other.read_bytes()


def test_without_diagnostics(whole: Path, tmp_path: Path) -> None:
    for method in METHODS:
        chain = chain_of(method)
        train(tmp_path, chain, diagnostics_every=0)
        for spec in chain:
            assert not (Record(tmp_path, spec.digest).folder / "diagnostics.npz").exists()
            assert (Record(whole, spec.digest).folder / "diagnostics.npz").exists()
            assert_same(tmp_path, whole, spec)


def test_one_worker_after_the_other_methods(whole: Path, tmp_path: Path) -> None:
    """The same worker trains every method in turn, in another order than the plain process did."""

    specs = [spec for method in reversed(METHODS) for spec in chain_of(method)]
    worker = HomeTrainable(trial(specs[0], tmp_path))
    for spec in specs:
        assert worker.reset_config(trial(spec, tmp_path))
        while not (report := worker.step())["done"]:
            pass
        assert not {"error", "crash"} & report.keys()
        assert_same(tmp_path, whole, spec)
    worker.cleanup()
