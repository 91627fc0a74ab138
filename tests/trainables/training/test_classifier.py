"""The model of a finished run: its predictions, and the program that is exported from it."""

from __future__ import annotations

import io
import json
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch
from networks import build, image_of
from small_runs import CPU, complete_run, digits, pixels_of, recipe, runnable

from trainables.backbones import BACKBONES
from trainables.errors import RecordError, UserError
from trainables.run.record import Record
from trainables.run.result import RunResult
from trainables.run_data.input_images import InputFormat
from trainables.run_data.loaders import Normalise
from trainables.training.classifier import (
    METADATA_FILE,
    Classifier,
    TrainedModel,
    _input_format,
    load_model,
)
from trainables.training.training_run import TrainingRun

if TYPE_CHECKING:
    from pathlib import Path

    from trainables.run.spec import RunSpec

QUICK = ("mlp", "resnet-w16")


@pytest.fixture(scope="module")
def spec() -> RunSpec:
    return runnable(recipe=recipe(3), evaluate=("test",))


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory, spec: RunSpec) -> Path:
    home = tmp_path_factory.mktemp("home")
    complete_run(spec, home, digits)
    return home


@pytest.fixture(scope="module")
def model(home: Path, spec: RunSpec) -> TrainedModel:
    return load_model(Record(home, spec.digest))


def load_exported(content: bytes) -> tuple[torch.nn.Module, dict[str, object]]:
    files = {METADATA_FILE: ""}
    program = torch.export.load(io.BytesIO(content), extra_files=files)
    return program.module(), json.loads(files[METADATA_FILE])


def test_predictions_have_the_recorded_test_accuracy(
    home: Path, spec: RunSpec, model: TrainedModel
) -> None:
    result = Record(home, spec.digest).read_result()
    assert result is not None
    probabilities = model.predict(pixels_of(digits().test), CPU)
    accuracy = (probabilities.argmax(1) == digits().test.labels).mean()
    assert accuracy == result.trace[-1]["test/accuracy"] > 0.3
    np.testing.assert_allclose(probabilities.sum(1), 1, rtol=1e-5)
    assert model.class_names == digits().classes
    assert result.input_shape == model.input_format.shape == (1, 8, 8)


def test_exported_program_gives_the_same_probabilities(model: TrainedModel) -> None:
    program, metadata = load_exported(model.export())
    images = pixels_of(digits().test)
    expected = model.predict(images, CPU)
    with torch.no_grad():
        for count in (1, 7, len(images)):
            actual = program(torch.from_numpy(images[:count]))
            np.testing.assert_allclose(actual, expected[:count], atol=1e-6)
    assert metadata["run"] == model.spec.digest
    assert metadata["classes"] == list(digits().classes)
    assert metadata["input"] == {
        "dtype": "uint8",
        "shape": ["batch", 1, 8, 8],
        "short_side": None,
    }


@pytest.mark.parametrize(
    "name",
    [pytest.param(name, marks=() if name in QUICK else pytest.mark.slow) for name in BACKBONES],
)
def test_every_backbone_is_exported(name: str, spec: RunSpec) -> None:
    shape = image_of(name)
    mean, std = (0.4,) * shape[0], (0.2,) * shape[0]
    classifier = Classifier(build(name), Normalise(mean, std, CPU), 7).eval()
    model = TrainedModel(spec, tuple("abcdefg"), InputFormat(shape), classifier, mean, std)
    images = np.random.default_rng(0).integers(0, 256, (3, *shape), dtype=np.uint8)
    expected = model.predict(images, CPU)
    program, _ = load_exported(model.export())
    with torch.no_grad():
        for count in (3, 1):
            actual = program(torch.from_numpy(images[:count]))
            np.testing.assert_allclose(actual, expected[:count], atol=1e-5)
    assert expected.shape == (3, 7)


def test_runs_without_a_model(spec: RunSpec, tmp_path: Path) -> None:
    unfinished = replace(spec, recipe=recipe(4))
    with TrainingRun(unfinished, tmp_path, digits, "study", 0.0) as run:
        run.advance()
    record = Record(tmp_path, unfinished.digest)
    with pytest.raises(UserError, match="has not ended: type its command again"):
        load_model(record)
    diverged = replace(spec, recipe=recipe(2, learning_rate=1e12))
    complete_run(diverged, tmp_path, digits)
    with pytest.raises(UserError, match="has no model: it diverged; choose another run"):
        load_model(Record(tmp_path, diverged.digest))
    complete_run(unfinished, tmp_path, digits)
    record.checkpoint_path.write_bytes(b"damaged")
    with pytest.raises(
        RecordError, match=r"checkpoint.pt is missing or damaged: delete the folder"
    ):
        load_model(record)


def test_records_of_earlier_versions(spec: RunSpec, tmp_path: Path) -> None:
    """The input size of digits is known without the record; that of arrays of a user's is not."""
    complete_run(spec, tmp_path, digits)
    record = Record(tmp_path, spec.digest)
    result = record.read_result()
    assert result is not None
    record.write_result(replace(result, input_shape=()))
    assert load_model(record).input_format.shape == (1, 8, 8)
    record.write_result(replace(result, class_names=()))
    with pytest.raises(RecordError, match="written by an earlier version, which did not store"):
        load_model(record)


def test_pictures_of_earlier_versions_were_resized_in_an_unknown_way(
    spec: RunSpec, tmp_path: Path
) -> None:
    complete_run(spec, tmp_path, digits)
    result = Record(tmp_path, spec.digest).read_result()
    assert result is not None
    pictures = replace(result, spec=replace(spec, dataset="clothing1m"), input_shape=(3, 224, 224))
    newer = replace(pictures, short_side=256)
    assert _input_format(newer) == InputFormat((3, 224, 224), 256, has_picture_files=True)
    with pytest.raises(RecordError, match="written by an earlier version"):
        _input_format(replace(pictures, input_shape=()))


def test_results_without_fields_that_were_added_later_are_read(
    spec: RunSpec, tmp_path: Path
) -> None:
    result = complete_run(spec, tmp_path, digits)
    added = ("class_names", "mean", "std", "input_shape", "short_side", "system_metrics")
    values = {name: value for name, value in result.to_dict().items() if name not in added}
    older = RunResult.from_dict(values)
    assert (older.trace, older.digest) == (result.trace, result.digest)
    assert (older.class_names, older.input_shape, older.system_metrics) == ((), (), [])
