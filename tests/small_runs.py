"""Small real runs for tests of the training, on digits or random pictures."""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from factories import make_spec

from trainables.datasets.base import Dataset, Split
from trainables.datasets.digits import Digits
from trainables.methods import method_of
from trainables.run.parameters import FrozenMap, complete_parameters
from trainables.run.recipe import Recipe
from trainables.training.training_run import TrainingRun

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from trainables.run.result import RunResult
    from trainables.run.spec import RunSpec

CPU = torch.device("cpu")


@cache
def digits() -> Dataset:
    """Return the digits dataset, which is read once."""
    return Digits().read(Path())


def pixels_of(split: Split) -> NDArray[np.uint8]:
    """Return the images of a split that holds them in one array."""
    assert isinstance(split.images, np.ndarray)
    return split.images


def pictures(count: int, classes: int = 4) -> Dataset:
    """Return a dataset of random 32×32 colour pictures."""
    random = np.random.Generator(np.random.Philox(0))
    images = random.integers(0, 256, (count, 3, 32, 32), dtype=np.uint8)
    split = Split(images, np.arange(count) % classes)
    return Dataset("pictures", tuple("abcdefgh"[:classes]), split, split)


def recipe(epochs: int = 3, **changes: Any) -> Recipe:
    """Return a short recipe for the digits."""
    fields: dict[str, Any] = {"learning_rate": 0.05, "weight_decay": 5e-4, "window": 2, **changes}
    return Recipe(epochs=epochs, batch_size=fields.pop("batch_size", 64), **fields)


def runnable(dataset: Dataset | None = None, **options: Any) -> RunSpec:
    """Return a spec with the options of `factories.make_spec` and the digest of a dataset."""
    dataset = dataset or digits()
    spec = make_spec(**{"recipe": recipe(), **options})
    return replace(spec, dataset=dataset.name, data=dataset.digest)


def complete_run(
    spec: RunSpec,
    home: Path,
    read_dataset: Callable[[], Dataset],
    study: str = "study",
    **options: Any,
) -> RunResult:
    """Train a run to its end in this process, or return its recorded result."""
    with TrainingRun(spec, home, read_dataset, study, **options) as run:
        while (result := run.advance()) is None:
            pass
        return result


def with_needs(spec: RunSpec) -> list[RunSpec]:
    """Return the specs of the runs that a spec needs, followed by the spec with its needs."""
    chain: list[RunSpec] = []
    needs = {}
    for stage in method_of(spec.method).stages:
        kind = method_of(stage.method)
        passed = {name: spec.hyperparameters[name] for name in stage.shared_hyperparameters}
        values = complete_parameters(f"method {stage.method}", kind.parameters, passed)
        chain += with_needs(replace(spec, method=stage.method, hyperparameters=values))
        needs[stage.role] = chain[-1].digest
    return [*chain, replace(spec, needs=FrozenMap(needs))]


def short_values(method: str, epochs: int) -> dict[str, Any]:
    """Return a method's hyperparameters that count epochs, scaled down from 200 epochs."""
    return {
        parameter.name: max(int(parameter.low), round(float(parameter.default) * epochs / 200))  # type: ignore[arg-type]
        for parameter in method_of(method).parameters
        if parameter.in_epochs
    }


def assert_same_bits(actual: Any, expected: Any) -> None:
    """Assert that nested states are equal, tensors bit for bit."""
    if isinstance(expected, torch.Tensor):
        assert actual.dtype == expected.dtype
        assert torch.equal(actual, expected)
    elif isinstance(expected, dict):
        assert actual.keys() == expected.keys()
        for key in expected:
            assert_same_bits(actual[key], expected[key])
    elif isinstance(expected, list | tuple):
        assert len(actual) == len(expected)
        for actual_entry, expected_entry in zip(actual, expected, strict=True):
            assert_same_bits(actual_entry, expected_entry)
    else:
        assert actual == expected


def bits(state: dict[str, Any]) -> dict[str, Any]:
    """Return the reproducible entries of a checkpoint: all but the wall times."""
    return {key: value for key, value in state.items() if key != "seconds"}
