"""Bit equality of every method after interruptions, in other processes and when observed."""

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
from trainables.training import training_run
from trainables.training.training_run import TrainingRun

if TYPE_CHECKING:
    from multiprocessing.connection import Connection
    from pathlib import Path

    from trainables.run.spec import RunSpec

pytestmark = pytest.mark.slow

EPOCHS = 8
SAMPLES = 400
PROCESSES = multiprocessing.get_context("forkserver")
"""Context whose children are forked from a process that only imported torch."""
PROCESSES.set_forkserver_preload(["trainables.training.training_run", "small_runs"])


def chain_of(method: str) -> list[RunSpec]:
    """Return the specs of a short training of a method, of which the last is its own run."""
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
    """Train up to an epoch with a checkpoint after each, then wait to be killed."""
    training_run.MAX_CHECKPOINT_TIME_SHARE = math.inf
    with TrainingRun(spec, home, digits, "study", checkpoint_interval_seconds=0.0) as run:
        while run.epoch < last:
            run.advance()
            pipe.send(run.epoch)
    signal.pause()


def killed_at(home: Path, spec: RunSpec, epoch: int) -> None:
    """Train a run in a new process and kill the process during or after an epoch."""
    receiver, sender = PROCESSES.Pipe()
    child = PROCESSES.Process(target=train_and_wait, args=(home, spec, epoch, sender))
    child.start()
    while receiver.recv() < epoch:
        pass
    child.kill()
    child.join()
    assert child.exitcode == -signal.SIGKILL
    assert Record(home, spec.digest).read_result() is None


def assert_same(home: Path, reference: Path, spec: RunSpec) -> None:
    """Assert that a run has the same checkpoint and result under two homes."""
    states = [
        torch.load(Record(folder, spec.digest).checkpoint_path, weights_only=True)["trainer"]
        for folder in (home, reference)
    ]
    assert states[0]["epoch"] == EPOCHS
    assert_same_bits(*map(bits, states))
    actual, expected = (Record(folder, spec.digest).read_result() for folder in (home, reference))
    assert actual is not None
    assert expected is not None
    assert (actual.trace, actual.status) == (expected.trace, expected.status)
    assert actual.labels == expected.labels


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a home in which every method was trained without interruption."""
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
        actual, expected = (Record(home, spec.digest).read_result() for home in (tmp_path, whole))
        assert actual is not None
        assert expected is not None
        assert actual.attempts == 2, f"killed at epoch {epoch}"
        assert actual.diagnostics == expected.diagnostics
        assert_same(tmp_path, whole, spec)
        for name in (path.name for path in Record(whole, spec.digest).folder.glob("*.npy")):
            path, expected_path = (
                Record(home, spec.digest).folder / name for home in (tmp_path, whole)
            )
            assert not path.exists() or path.read_bytes() == expected_path.read_bytes()


def test_without_diagnostics(whole: Path, tmp_path: Path) -> None:
    for method in METHODS:
        chain = chain_of(method)
        train(tmp_path, chain, diagnostics_every=0)
        for spec in chain:
            assert not (Record(tmp_path, spec.digest).folder / "diagnostics.npz").exists()
            assert (Record(whole, spec.digest).folder / "diagnostics.npz").exists()
            assert_same(tmp_path, whole, spec)


def test_one_worker_trains_all_methods(whole: Path, tmp_path: Path) -> None:
    """One worker trains all methods, in another order than the reference process."""
    specs = [spec for method in reversed(METHODS) for spec in chain_of(method)]
    worker = HomeTrainable(trial(specs[0], tmp_path))
    for spec in specs:
        assert worker.reset_config(trial(spec, tmp_path))
        while not (report := worker.step())["done"]:
            pass
        assert not {"error", "crash"} & report.keys()
        assert_same(tmp_path, whole, spec)
    worker.cleanup()
