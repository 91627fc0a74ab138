"""Types of what is published about a method: hyperparameters, recipes and stages.

A stage is a training whose result the method's own training uses.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, TypeVar

from trainables.run.recipe import Recipe
from trainables.run.schedules import CONSTANT, MultiStep, Schedule

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from trainables.run.parameters import Value


class Selection(StrEnum):
    """Rule that selects the epoch whose accuracy is reported."""

    LAST = "last epoch"
    NOISY = "epoch chosen by noisy validation"
    CLEAN = "epoch chosen by clean validation"
    TEST = "epoch chosen by test accuracy"
    """Epoch with the best test accuracy: some publications use it, but studies refuse it."""


@dataclass(frozen=True, slots=True)
class Setting:
    """Published values of some of a method's hyperparameters.

    Attributes:
        dataset: glob pattern of dataset names: "cifar10", "cifar*", "*".
        noise: glob pattern of scenario names: "symmetric*-0.2", "asymmetric-*", "*".
        values: hyperparameter values by name.
        source: publication or public code from which the values are taken.
    """

    dataset: str
    noise: str
    values: Mapping[str, Value]
    source: str


@dataclass(frozen=True, slots=True)
class PublishedRecipe:
    """Recipe that a method's authors published.

    Attributes:
        dataset: glob pattern of dataset names.
        noise: glob pattern of scenario names.
        recipe: complete recipe; if its `mean` and `std` are None, those of the study are used.
        source: publication or public code with the recipe, and which details are inferred.
        hold_out: fraction of the training labels that is held out.
        selection: rule that selects the epoch of the published numbers.
    """

    dataset: str
    noise: str
    recipe: Recipe
    source: str
    hold_out: float = 0.0
    selection: Selection = Selection.LAST


@dataclass(frozen=True, slots=True)
class Stage:
    """First training of a method that consists of several, with the same seeds and data.

    Attributes:
        role: name under which the result is passed on in `RunSpec.needs` and `Context.inputs`.
        method: name of the method of this first training.
        outcome: name of its result that is used: an entry of `Method.outcomes`.
        passes: names of the hyperparameters that both trainings share.
    """

    role: str
    method: str
    outcome: str
    passes: tuple[str, ...] = ()


Entry = TypeVar("Entry", Setting, PublishedRecipe)


def first_match(entries: Iterable[Entry], dataset: str, scenario: str) -> Entry | None:
    """Return the first entry for a dataset and a noise scenario; None if none matches."""
    for entry in entries:
        if fnmatchcase(dataset, entry.dataset) and fnmatchcase(scenario, entry.noise):
            return entry
    return None


ANIMAL10N = Recipe(
    epochs=100,
    batch_size=128,
    drop_last=True,
    learning_rate=0.1,
    momentum=0.0,
    weight_decay=1e-3,
    schedule=MultiStep((50, 75), 0.2),
    augmentation=("flip",),
    mean=(0.485, 0.456, 0.406),
    std=(0.229, 0.224, 0.225),
)
"""Recipe that PLC, SELC and NAL use on ANIMAL-10N: SGD without momentum, on images normalised with
the statistics of ImageNet."""


def cifar_recipe(
    epochs: int,
    learning_rate: float,
    schedule: Schedule = CONSTANT,
    weight_decay: float = 1e-4,
    batch_size: int = 128,
    **fields: object,
) -> Recipe:
    """Return a recipe for CIFAR: SGD with momentum 0.9 on cropped and flipped images.

    Args:
        epochs: number of epochs.
        learning_rate: learning rate that the schedule scales.
        schedule: factor of the learning rate in each epoch.
        weight_decay: weight decay of all weights.
        batch_size: number of samples per step.
        fields: further fields of `Recipe`. If `mean` and `std` are missing, those of the study are
            used.
    """
    return Recipe(
        epochs=epochs,
        learning_rate=learning_rate,
        schedule=schedule,
        weight_decay=weight_decay,
        batch_size=batch_size,
        augmentation=("crop", "flip"),
        **fields,  # type: ignore[arg-type]
    )
