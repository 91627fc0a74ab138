"""Outcomes of needed runs: computation, storage, and errors when they are missing or damaged."""

from __future__ import annotations

import hashlib
import json
import math
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch
from small_runs import CPU, complete_run, digits, recipe, runnable, with_needs

from trainables.errors import DataError, NalError, RecordError
from trainables.methods import METHODS, Batch, Method
from trainables.methods.ce import CrossEntropy
from trainables.methods.published import Stage
from trainables.noise import NoiseContext, noise_of
from trainables.run.parameters import FrozenMap
from trainables.run.record import Record
from trainables.run.result import Status
from trainables.run_data.realisation import labels_digest
from trainables.training.outcomes import NeedDivergedError, load_inputs
from trainables.training.trainer import Trainer

if TYPE_CHECKING:
    from pathlib import Path

    from trainables.run.spec import RunSpec


class Student(CrossEntropy):
    """Method that learns from the predictions of another run instead of the labels."""

    name = "student"
    title = "Student"
    stages = (Stage("teacher", "ce", "predictions"),)

    def loss(self, batch: Batch) -> torch.Tensor:
        targets = self.context.inputs["teacher"][batch.index]
        return -(targets * batch.logits.log_softmax(dim=1)).sum(dim=1).mean()


@pytest.fixture(autouse=True)
def student(monkeypatch: pytest.MonkeyPatch) -> type[Method]:
    monkeypatch.setitem(METHODS, "student", Student)
    return Student


def student_chain(**options: Any) -> list[RunSpec]:
    options = {"recipe": recipe(2), **options}
    return with_needs(runnable(method="student", **options))


def test_the_digest_of_a_need_changes_the_digest() -> None:
    spec, longer = student_chain()[-1], student_chain(recipe=recipe(3))[-1]
    assert spec.needs["teacher"] == student_chain()[0].digest
    assert replace(spec, needs=longer.needs).digest != spec.digest


def test_inputs_are_the_predictions_of_the_needed_run(tmp_path: Path) -> None:
    teacher, spec = student_chain()
    complete_run(teacher, tmp_path, digits, "study")
    inputs = load_inputs(spec, tmp_path, digits(), CPU)
    outcomes, hashes = inputs.outcomes, inputs.sha256_by_role

    trainer = Trainer(teacher, digits(), CPU)
    while not trainer.done:
        trainer.train_epoch()
    assert torch.equal(outcomes["teacher"], trainer.predict())
    assert outcomes["teacher"].shape == (1006, 10)
    torch.testing.assert_close(outcomes["teacher"].sum(1), torch.ones(1006))
    file = Record(tmp_path, teacher.digest).folder / "predictions.npy"
    assert hashes == {"teacher": hashlib.sha256(file.read_bytes()).hexdigest()}
    result = complete_run(spec, tmp_path, digits, "study")
    assert result.provenance["input.teacher"] == hashes["teacher"]


def test_an_outcome_is_computed_once(tmp_path: Path) -> None:
    teacher, spec = student_chain()
    complete_run(teacher, tmp_path, digits, "study")
    first = load_inputs(spec, tmp_path, digits(), CPU).sha256_by_role
    Record(tmp_path, teacher.digest).checkpoint_path.unlink()
    assert load_inputs(spec, tmp_path, digits(), CPU).sha256_by_role == first


def test_a_missing_need_is_refused_before_training(tmp_path: Path) -> None:
    teacher, spec = student_chain()
    with pytest.raises(DataError) as refused:
        complete_run(spec, tmp_path, digits, "study")
    assert str(refused.value) == (
        f"the run {teacher.digest[:12]} that gives the teacher has not been trained to its end in "
        f"the home folder {tmp_path}: train this run first"
    )
    nameless = replace(spec, needs=FrozenMap())
    with pytest.raises(DataError, match=r"the run \? that gives the teacher"):
        complete_run(nameless, tmp_path, digits, "study")


def test_a_need_without_checkpoint_is_refused_with_a_remedy(tmp_path: Path) -> None:
    teacher, spec = student_chain()
    complete_run(teacher, tmp_path, digits, "study")
    record = Record(tmp_path, teacher.digest)
    record.checkpoint_path.write_bytes(b"damaged")
    with pytest.raises(
        RecordError, match=r"checkpoint.pt, which another run needs, is missing.*delete .*again"
    ):
        complete_run(spec, tmp_path, digits, "study")


def test_a_run_whose_need_diverged_counts_as_diverged(tmp_path: Path) -> None:
    teacher, spec = student_chain(recipe=recipe(2, learning_rate=1e30))
    ended = complete_run(teacher, tmp_path, digits, "study")
    assert ended.status is Status.DIVERGED
    with pytest.raises(NeedDivergedError):
        load_inputs(spec, tmp_path, digits(), CPU)
    result = complete_run(spec, tmp_path, digits, "study")
    assert (result.status, result.trace, result.spec) == (Status.DIVERGED, [], spec)
    assert result.reason == (
        f"the run it needs, ce {teacher.digest[:12]}, diverged: {ended.reason}"
    )
    assert Record(tmp_path, spec.digest).read_result() == result
    assert result.labels.flip_rate is not None
    assert not math.isnan(result.labels.flip_rate)


def test_an_outcome_that_changed_since_the_start_is_refused(tmp_path: Path) -> None:
    from trainables.training.training_run import TrainingRun

    teacher, spec = student_chain(recipe=recipe(4))
    complete_run(teacher, tmp_path, digits, "study")
    with TrainingRun(spec, tmp_path, digits, "study", checkpoint_interval_seconds=0.0) as run:
        run.advance()
        run._write_checkpoint(run._trainer)  # type: ignore[arg-type]
    path = Record(tmp_path, teacher.digest).folder / "predictions.npy"
    np.save(path, np.load(path)[::-1])
    (tmp_path / f"outcomes/{teacher.digest}.predictions.sha256").unlink()
    with pytest.raises(DataError, match=r"the teacher that run .* started with has changed since"):
        complete_run(spec, tmp_path, digits, "study")


def test_a_damaged_outcome_is_refused(tmp_path: Path) -> None:
    teacher, spec = student_chain()
    complete_run(teacher, tmp_path, digits, "study")
    complete_run(spec, tmp_path, digits, "study")
    path = Record(tmp_path, teacher.digest).folder / "predictions.npy"
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    other = replace(spec, seeds=replace(spec.seeds, init=9))
    with pytest.raises(DataError, match=f"{path} has SHA-256 .* when it was first used"):
        complete_run(other, tmp_path, digits, "study")
    path.unlink()
    assert complete_run(other, tmp_path, digits, "study").status is Status.FINISHED


# --- labels drawn from a run

PMD = "pmd-2-0.35"


def pmd_chain(**options: Any) -> list[RunSpec]:
    """Return the specs of a run on clean labels and of a run with labels drawn from it."""
    source = runnable(method="ce", scenario="clean", recipe=recipe(30), evaluate=())
    spec = runnable(scenario=PMD, recipe=recipe(2), **options)
    return [source, replace(spec, needs=FrozenMap({"posterior": source.digest}))]


@pytest.mark.slow
def test_labels_are_drawn_from_the_posterior_and_stored_in_its_folder(
    tmp_path: Path,
) -> None:
    source, spec = pmd_chain()
    complete_run(source, tmp_path, digits, "study")
    result = complete_run(spec, tmp_path, digits, "study")

    folder = Record(tmp_path, source.digest).folder
    predictions = folder / "predictions.npy"
    context = NoiseContext(
        digits().train.labels,
        np.arange(1437),
        10,
        posterior=np.load(predictions).astype(np.float64),
    )
    noisy = noise_of(PMD).apply(context, spec.seeds.noise)
    assert result.labels.sha256 == labels_digest(noisy)
    assert result.labels.flip_rate == pytest.approx(0.35, abs=0.05)
    (frozen,) = folder.glob("noise-*.npy")
    np.testing.assert_array_equal(np.load(frozen), noisy)
    sha256 = hashlib.sha256(predictions.read_bytes()).hexdigest()
    assert result.provenance["input.posterior"] == sha256
    pins = [json.loads(path.read_text()) for path in (tmp_path / "realisations").glob("*.json")]
    (stored,) = (pin for pin in pins if pin["key"]["scenario"] == PMD)
    assert stored["sha256"] == result.labels.sha256
    pinned = (tmp_path / f"outcomes/{source.digest}.predictions.sha256").read_text()
    assert pinned == sha256


@pytest.mark.slow
def test_a_damaged_or_changed_posterior_is_refused(tmp_path: Path) -> None:
    source, spec = pmd_chain()
    complete_run(source, tmp_path, digits, "study")
    complete_run(spec, tmp_path, digits, "study")
    path = Record(tmp_path, source.digest).folder / "predictions.npy"
    content = path.read_bytes()
    path.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    other = replace(spec, seeds=replace(spec.seeds, init=9))
    with pytest.raises(DataError, match=f"{path} has SHA-256 .* when it was first used"):
        complete_run(other, tmp_path, digits, "study")

    # As if trained again on another device: undamaged, but not the posterior of the first draw.
    np.save(path, np.load(path)[::-1])
    for later in (other, pmd_chain(seed=7)[1]):
        with pytest.raises(DataError, match="runs that use different outcomes are not comparable"):
            complete_run(later, tmp_path, digits, "study")


def test_labels_cannot_be_drawn_from_an_unfinished_run(tmp_path: Path) -> None:
    source, spec = pmd_chain()
    with pytest.raises(NalError) as refused:
        complete_run(spec, tmp_path, digits, "study")
    assert str(refused.value) == (
        f"run {source.digest[:12]}, which trains the network from which PMD noise is drawn, could "
        "not be trained: not trained yet: change posterior.recipe"
    )


@pytest.mark.slow
def test_noise_is_also_drawn_for_unreadable_samples(tmp_path: Path) -> None:
    whole = digits()
    unreadable = replace(whole.train, unreadable={7: "sample 7 cannot be read"})
    dataset = replace(whole, train=unreadable)
    source, spec = (replace(entry, unreadable="skip") for entry in pmd_chain())
    spec = replace(spec, needs=FrozenMap({"posterior": source.digest}))
    complete_run(source, tmp_path, lambda: dataset, "study")
    result = complete_run(spec, tmp_path, lambda: dataset, "study")
    assert np.load(Record(tmp_path, source.digest).folder / "predictions.npy").shape == (1436, 10)
    assert result.labels.count == 1437
