"""Runs that are interrupted, killed or damaged and continued give the same result as others."""

from __future__ import annotations

import errno
import json
import math
import os
import random
import re
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, NoReturn

import numpy as np
import pytest
import torch
from small_runs import CPU, assert_same_bits, bits, complete_run, digits, recipe, runnable

from trainables.errors import DataError, HomeError, RecordError
from trainables.methods import METHODS, Batch
from trainables.methods.ce import CrossEntropy
from trainables.run.provenance import run_provenance
from trainables.run.record import Record, read_checkpoint
from trainables.run.result import RunResult, Status
from trainables.run.spec import REVISION
from trainables.run_data.realisation import draw_realisation
from trainables.training import training_run
from trainables.training.network import weights_digest
from trainables.training.trainer import Trainer
from trainables.training.training_run import TrainingRun

if TYPE_CHECKING:
    from trainables.run.spec import RunSpec

ROOT = Path(__file__).parents[3]
ENVIRONMENT = {
    **os.environ,
    "PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "tests")]),
}


def no_dataset() -> NoReturn:
    pytest.fail("the dataset was read")


def checkpoint(home: Path, spec: RunSpec) -> dict[str, Any]:
    path = Record(home, spec.digest).checkpoint_path
    state: dict[str, Any] = torch.load(path, weights_only=True)["trainer"]
    return state


def assert_same_outcome(home: Path, reference: Path, spec: RunSpec) -> None:
    """Assert that a run has the same checkpoint and result under two homes."""
    assert_same_bits(bits(checkpoint(home, spec)), bits(checkpoint(reference, spec)))
    actual, expected = (Record(folder, spec.digest).read_result() for folder in (home, reference))
    assert actual is not None
    assert expected is not None
    assert (actual.trace, actual.status) == (expected.trace, expected.status)
    assert actual.labels == expected.labels


@pytest.fixture
def every_epoch(monkeypatch: pytest.MonkeyPatch) -> None:
    """Allow a checkpoint after every epoch, whatever it costs."""
    monkeypatch.setattr(training_run, "MAX_CHECKPOINT_TIME_SHARE", math.inf)


def advance(spec: RunSpec, home: Path, epochs: int) -> None:
    """Train some epochs with a checkpoint after each, and leave the run unfinished."""
    with TrainingRun(spec, home, digits, "study", checkpoint_interval_seconds=0.0) as run:
        for _ in range(epochs):
            run.advance()


def test_contents_of_a_result(tmp_path: Path) -> None:
    spec = runnable()
    with TrainingRun(spec, tmp_path, digits, "my-study") as run:
        progress = [(run.epoch, run.rows_since(0))]
        while (result := run.advance()) is None:
            progress.append((run.epoch, run.rows_since(run.epoch - 1)))

    assert progress == [(0, []), *((n, [result.trace[n - 1]]) for n in (1, 2))]
    assert (result.status, result.attempts, result.reason) == (Status.FINISHED, 1, "")
    labels = draw_realisation(digits(), spec.scenario, spec.seeds)
    assert (result.labels.sha256, result.labels.count) == (labels.digest, 1437)
    assert result.labels.flip_rate == 575 / 1437
    assert len(result.seconds) == 3
    assert min(result.seconds) > 0
    assert result.peak_memory_mb > 50
    assert result.provenance["study"] == "my-study"
    assert torch.__version__.startswith(result.provenance["torch"])
    assert {"device", "host", "python", "commit", "dirty"} <= result.provenance.keys()
    environment = tmp_path / f"environments/{result.provenance['environment']}.json"
    assert json.loads(environment.read_text())["numpy"] == np.__version__
    assert Record(tmp_path, spec.digest).read_result() == result


def test_a_result_says_how_its_network_is_used(tmp_path: Path) -> None:
    spec = runnable(recipe=recipe(1))
    result = complete_run(spec, tmp_path, digits, "study")
    labels = draw_realisation(digits(), spec.scenario, spec.seeds)
    training_rows, _ = labels.hold_out(spec.hold_out, spec.seeds.split)
    pixels = np.asarray(digits().train.images)[training_rows] / 255

    assert result.class_names == tuple("0123456789")
    assert result.mean == pytest.approx([pixels.mean()])
    assert result.std == pytest.approx([pixels.std()])
    set_in_recipe = runnable(recipe=recipe(1, mean=(0.25,), std=(0.5,)))
    result = complete_run(set_in_recipe, tmp_path, digits, "study")
    assert (result.mean, result.std) == ((0.25,), (0.5,))
    assert Record(tmp_path, set_in_recipe.digest).read_result() == result


def test_a_result_has_the_hash_of_the_final_weights(tmp_path: Path) -> None:
    spec = runnable(recipe=recipe(2))
    result = complete_run(spec, tmp_path, digits, "study")
    trainer = Trainer(spec, digits(), CPU)
    initial = weights_digest(trainer.network)
    while not trainer.done:
        trainer.train_epoch()
    assert result.weights == weights_digest(trainer.network) != initial
    with torch.no_grad():
        next(trainer.network.parameters()).view(-1)[0] += 1e-6
    assert result.weights != weights_digest(trainer.network)


def test_a_finished_run_returns_at_once(tmp_path: Path) -> None:
    spec = runnable()
    result = complete_run(spec, tmp_path, digits, "study")
    with TrainingRun(spec, tmp_path, no_dataset, "other") as run:
        assert run.epoch == 3
        assert run.advance() == run.result == result
        assert run.rows_since(2) == result.trace[2:]


def test_a_divergence_is_a_result(tmp_path: Path) -> None:
    spec = runnable(method="ce", recipe=recipe(3, learning_rate=1e30))
    result = complete_run(spec, tmp_path, digits, "study")

    assert result.status is Status.DIVERGED
    assert result.reason.endswith("of epoch 1; last good epoch 0")
    assert result.trace == []
    assert complete_run(spec, tmp_path, no_dataset, "study") == result


class Hungry(CrossEntropy):
    """Method that runs out of memory in its second epoch."""

    name = "hungry"
    shortage: ClassVar[BaseException | None]

    def loss(self, batch: Batch) -> torch.Tensor:
        if batch.epoch == 2 and self.shortage is not None:
            raise self.shortage
        return super().loss(batch)


@pytest.mark.parametrize(
    "shortage",
    [
        torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB\nand more"),
        RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried"),
        MemoryError("out"),
    ],
)
def test_a_run_out_of_memory_is_tried_again(
    tmp_path: Path, shortage: BaseException, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(METHODS, "hungry", Hungry)
    monkeypatch.setattr(Hungry, "shortage", shortage, raising=False)
    spec = runnable(method="hungry")
    result = complete_run(spec, tmp_path, digits, "study")

    message = str(shortage).splitlines()[0]
    assert result.status is Status.OUT_OF_MEMORY
    assert result.reason == f"in epoch 2 ({message}); last good epoch 1"
    assert [row["epoch"] for row in result.trace] == [1]
    assert result.summary().keys() == {"seconds_per_epoch", "peak_memory_mb"}
    assert Record(tmp_path, spec.digest).read_result() == result
    assert result.labels.flip_rate == 575 / 1437

    monkeypatch.setattr(Hungry, "shortage", None)
    again = complete_run(spec, tmp_path, digits, "study")
    assert (again.status, again.attempts) == (Status.FINISHED, 2)
    assert result.split == again.split


def test_a_loss_out_of_bounds_is_a_divergence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Growing(CrossEntropy):
        def loss(self, batch: Batch) -> torch.Tensor:
            return super().loss(batch) * (1e7 if batch.epoch == 3 else 1)

    monkeypatch.setitem(METHODS, "growing", Growing)
    result = complete_run(runnable(method="growing"), tmp_path, digits, "study")
    assert result.status is Status.DIVERGED
    assert re.fullmatch(r"loss \d\.\d+e\+07 at step 1 of epoch 3; last good epoch 2", result.reason)
    assert not result.converged


def test_other_errors_are_raised(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(METHODS, "hungry", Hungry)
    monkeypatch.setattr(Hungry, "shortage", RuntimeError("a bug"), raising=False)
    with pytest.raises(RuntimeError, match="a bug"):
        complete_run(runnable(method="hungry"), tmp_path, digits, "study")


@pytest.mark.usefixtures("every_epoch")
def test_the_cadence_of_checkpoints_changes_no_bit(tmp_path: Path) -> None:
    spec = runnable(recipe=recipe(4))
    advance(spec, tmp_path / "often", 4)
    with TrainingRun(
        spec, tmp_path / "never", digits, "study", checkpoint_interval_seconds=1e9
    ) as run:
        while run.advance() is None:
            assert not run.record.checkpoint_path.exists()

    assert_same_outcome(tmp_path / "often", tmp_path / "never", spec)


@pytest.mark.usefixtures("every_epoch")
def test_no_checkpointed_epoch_is_trained_twice(tmp_path: Path) -> None:
    spec = runnable(recipe=recipe(4))
    advance(spec, tmp_path / "broken", 3)
    before = checkpoint(tmp_path / "broken", spec)["seconds"]
    with TrainingRun(spec, tmp_path / "broken", digits, "study") as run:
        assert run.epoch == 3
        result = run.advance()
    complete_run(spec, tmp_path / "whole", digits, "study")

    assert_same_outcome(tmp_path / "broken", tmp_path / "whole", spec)
    assert result is not None
    assert result.seconds[:3] == before
    assert result.attempts == 2


def test_a_stopped_run_continues_bit_for_bit(tmp_path: Path) -> None:
    spec = runnable(recipe=recipe(4))
    for epoch in (1, 3):
        with TrainingRun(
            spec, tmp_path / "stopped", digits, "study", checkpoint_interval_seconds=1e9
        ) as run:
            while run.epoch < epoch:
                run.advance()
            run.stop()
            assert run.advance() is run.result
        stopped = Record(tmp_path / "stopped", spec.digest).read_result()
        assert stopped is not None
        assert (stopped.status, stopped.is_final) == (Status.STOPPED, False)
        assert stopped.reason == f"after epoch {epoch} of 4"
        assert [row["epoch"] for row in stopped.trace] == list(range(1, epoch + 1))
    with TrainingRun(spec, tmp_path / "stopped", digits, "study") as run:
        assert stopped is not None
        assert run.rows_since(0) == stopped.trace
    again = complete_run(spec, tmp_path / "stopped", digits, "study")
    whole = complete_run(spec, tmp_path / "whole", digits, "study")

    assert_same_outcome(tmp_path / "stopped", tmp_path / "whole", spec)
    assert again.diagnostics == whole.diagnostics


def truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def empty(path: Path) -> None:
    path.write_bytes(b"")


def flip_one_bit(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1  # among the weights, where torch does not notice it
    path.write_bytes(content)


@pytest.mark.usefixtures("every_epoch")
@pytest.mark.parametrize("damage", [truncate, empty, flip_one_bit, Path.unlink])
def test_the_previous_checkpoint_replaces_a_damaged_one(tmp_path: Path, damage: Any) -> None:
    spec = runnable(recipe=recipe(4))
    advance(spec, tmp_path / "damaged", 3)
    record = Record(tmp_path / "damaged", spec.digest)
    damage(record.checkpoint_path)
    with TrainingRun(spec, tmp_path / "damaged", digits, "study") as run:
        assert run.epoch == 2
    damage(record.previous_checkpoint_path)
    with TrainingRun(spec, tmp_path / "damaged", digits, "study") as run:
        assert run.epoch == 0
        while run.advance() is None:
            pass
    complete_run(spec, tmp_path / "whole", digits, "study")

    assert_same_outcome(tmp_path / "damaged", tmp_path / "whole", spec)


@pytest.mark.usefixtures("every_epoch")
def test_a_record_says_that_a_checkpoint_was_damaged(tmp_path: Path) -> None:
    spec = runnable(recipe=recipe(5))
    record = Record(tmp_path, spec.digest)
    advance(spec, tmp_path, 3)
    flip_one_bit(record.checkpoint_path)
    # Writing the next checkpoint must not replace the undamaged one by the damaged one.
    with TrainingRun(spec, tmp_path, digits, "study", checkpoint_interval_seconds=0.0) as run:
        assert not record.checkpoint_path.exists()
        run.advance()
        state = read_checkpoint(record.checkpoint_path)
        assert state is not None
        assert state["recovery"] == "a damaged checkpoint was found: continued after epoch 2"
    advance(spec, tmp_path, 1)
    for path in (record.checkpoint_path, record.previous_checkpoint_path):
        truncate(path)
    assert record.damaged_checkpoint_path.exists()
    result = complete_run(spec, tmp_path, digits, "study")
    assert result.recovery == "a damaged checkpoint was found: trained anew"
    assert record.read_result() == result
    assert complete_run(spec, tmp_path / "whole", digits, "study").recovery == ""


@pytest.mark.usefixtures("every_epoch")
def test_a_disk_that_becomes_full_leaves_the_checkpoint_before(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spec = runnable(recipe=recipe(4))
    record = Record(tmp_path, spec.digest)
    advance(spec, tmp_path, 2)

    def fail(_descriptor: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", fail)
        with pytest.raises(HomeError, match=r"^cannot write .*: No space left on device$"):
            record.record_start(spec)
    with (
        TrainingRun(spec, tmp_path, digits, "study", checkpoint_interval_seconds=0.0) as run,
        monkeypatch.context() as patch,
    ):
        patch.setattr(os, "fsync", fail)
        with pytest.raises(HomeError, match=r"^cannot write .*\.pt: No space left on device$"):
            run.advance()
    assert sorted(path.name for path in record.folder.iterdir()) == sorted(
        ("attempts", "checkpoint.previous.pt", "checkpoint.pt", "lock", "log.txt", "spec.json")
    )
    assert checkpoint(tmp_path, spec)["epoch"] == 2
    complete_run(spec, tmp_path, digits, "study")
    complete_run(spec, tmp_path / "whole", digits, "study")
    assert_same_outcome(tmp_path, tmp_path / "whole", spec)


@pytest.mark.usefixtures("every_epoch")
def test_a_run_interrupted_between_last_epoch_and_result(tmp_path: Path) -> None:
    spec = runnable()
    expected = complete_run(spec, tmp_path, digits, "study")
    (Record(tmp_path, spec.digest).folder / "result.json").unlink()
    actual = complete_run(spec, tmp_path, digits, "study")

    assert actual == replace(
        expected, attempts=2, peak_memory_mb=actual.peak_memory_mb, provenance=actual.provenance
    )


def test_changed_versions_and_devices_are_recorded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spec = runnable(recipe=recipe(5))
    original = run_provenance

    def advance(torch_version: str, device: str) -> RunResult | None:
        changes = {"torch": torch_version, "device": device}
        monkeypatch.setattr(
            training_run, "run_provenance", lambda name: {**original(name), **changes}
        )
        with TrainingRun(spec, tmp_path, digits, "study") as run:
            result = run.advance()
            if result is None:
                run._write_checkpoint(run._trainer)  # type: ignore[arg-type]
            return result

    for torch_version, device in (
        *(("2.6.0", "cpu: AVX2"), ("2.7.0", "cpu: AVX2"), ("2.7.0", "cpu: AVX2")),
        ("2.6.0", "cuda: A100"),
    ):
        assert advance(torch_version, device) is None
    result = advance("2.6.0", "cuda: A100")
    assert result is not None
    assert result.provenance["torch"] == "2.6.0, then 2.7.0, then 2.6.0"
    assert result.provenance["device"] == "cpu: AVX2, then cuda: A100"


def test_a_run_of_another_revision_is_not_continued(tmp_path: Path) -> None:
    spec = replace(runnable(), revision=REVISION + 1)
    with (
        pytest.raises(
            RecordError,
            match=f"with revision {REVISION + 1} .* but revision {REVISION} is installed",
        ),
        TrainingRun(spec, tmp_path, digits, "study"),
    ):
        pass
    assert not (tmp_path / "runs").exists()


def test_an_error_releases_the_run(tmp_path: Path) -> None:
    spec = replace(runnable(), data="0" * 64)
    with pytest.raises(DataError), TrainingRun(spec, tmp_path, digits, "study"):
        pass
    with Record(tmp_path, spec.digest).claimed(patience_seconds=0.0):
        pass


TRAIN = """
import json, math, signal, sys
from pathlib import Path
from small_runs import digits
from trainables.training import training_run
from trainables.training.trainer import Trainer
from trainables.run.spec import RunSpec
training_run.MAX_CHECKPOINT_TIME_SHARE = math.inf
spec = RunSpec.from_dict(json.loads(sys.argv[2]))
home = Path(sys.argv[1])
with training_run.TrainingRun(spec, home, digits, "study", checkpoint_interval_seconds=0.0) as run:
    print(run.epoch, flush=True)
    while run.advance() is None:
        print(run.epoch, flush=True)
        if run.epoch == spec.recipe.epochs - 1:
            signal.pause()  # wait to be killed
"""


@pytest.mark.slow
def test_killed_at_random_and_continued_gives_the_same_bits(tmp_path: Path) -> None:
    epochs = 40
    spec = runnable(recipe=recipe(epochs), values={"first_target_epoch": 5})
    expected = complete_run(spec, tmp_path / "whole", digits, "study")
    kills = sorted(random.sample(range(2, epochs - 1), 2))
    first_epochs = []
    for kill in kills:
        child = subprocess.Popen(
            [sys.executable, "-c", TRAIN, str(tmp_path / "killed"), spec.to_json()],
            stdout=subprocess.PIPE,
            cwd=ROOT,
            env=ENVIRONMENT,
        )
        with child:
            assert child.stdout is not None
            first_epochs.append(int(child.stdout.readline()))
            while int(child.stdout.readline()) < kill:
                pass
            child.kill()
        assert child.returncode == -signal.SIGKILL
        assert Record(tmp_path / "killed", spec.digest).read_result() is None, f"killed at {kills}"
    actual = complete_run(spec, tmp_path / "killed", digits, "study")

    assert first_epochs[0] == 0
    assert first_epochs[1] >= kills[0], f"killed at {kills}"  # printed after the checkpoint
    assert actual.attempts == 3
    assert actual.trace == expected.trace, f"killed at {kills}"
    assert_same_outcome(tmp_path / "killed", tmp_path / "whole", spec)


WAIT = """
import json, sys
from pathlib import Path
from small_runs import complete_run
from trainables.run.spec import RunSpec

def read():
    sys.exit("trained a second time")

spec = RunSpec.from_dict(json.loads(sys.argv[2]))
print("asking", flush=True)
print(json.dumps(complete_run(spec, Path(sys.argv[1]), read, "study").to_dict()))
"""


@pytest.mark.slow
def test_of_two_processes_one_trains_and_the_other_waits(tmp_path: Path) -> None:
    spec = runnable(recipe=recipe(30))
    with TrainingRun(spec, tmp_path, digits, "study") as run:
        run.advance()
        child = subprocess.Popen(
            [sys.executable, "-c", WAIT, str(tmp_path), spec.to_json()],
            stdout=subprocess.PIPE,
            cwd=ROOT,
            env=ENVIRONMENT,
        )
        assert child.stdout is not None
        assert child.stdout.readline() == b"asking\n"
        while run.advance() is None:
            pass
    output, _ = child.communicate()

    assert child.returncode == 0
    assert RunResult.from_dict(json.loads(output)) == run.result
    assert run.result is not None
    assert run.result.attempts == 1


def log_lines(home: Path, digest: str) -> list[str]:
    """Return the lines of a run's log without their times."""
    lines = Record(home, digest).log_path.read_text().splitlines()
    return [line.split(" ", 2)[-1].strip() for line in lines]


def test_each_attempt_is_logged(tmp_path: Path) -> None:
    spec = runnable(recipe=recipe(3))
    with TrainingRun(spec, tmp_path, digits, "study", checkpoint_interval_seconds=0) as run:
        run.advance()
    complete_run(spec, tmp_path, digits)
    first, second = "attempt 1: nal on symmetric-0.4, seed 0, 3 epochs", "attempt 2: nal on"
    lines = log_lines(tmp_path, spec.digest)
    assert lines[0].startswith(first)
    assert lines[1].startswith("study study, device cpu")
    assert lines[1].endswith(f"threads {spec.threads}")
    assert lines[2] == "closed after epoch 1"
    assert lines[3].startswith(second)
    assert lines[5:] == ["continued from the checkpoint after epoch 1", "finished"]
    complete_run(spec, tmp_path, digits)  # a recorded run is not opened
    assert len(log_lines(tmp_path, spec.digest)) == 7


def test_a_crash_is_logged_with_its_traceback(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def crash(*_: object) -> None:
        raise ZeroDivisionError("a bug")

    spec = runnable(recipe=recipe(1))
    monkeypatch.setattr(Trainer, "train_epoch", crash)
    with pytest.raises(ZeroDivisionError), TrainingRun(spec, tmp_path, digits, "study") as run:
        run.advance()
    lines = log_lines(tmp_path, spec.digest)
    assert lines[2] == "error: Traceback (most recent call last):"
    assert lines[-2:] == ["ZeroDivisionError: a bug", "closed after epoch 0"]
