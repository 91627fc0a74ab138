"""Published hyperparameters, recipes and stages of a method, as data classes.

A stage is a run of another method that is trained first, because the method uses its result.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Any, TypeVar

from trainables.run.recipe import Recipe
from trainables.run.schedules import CONSTANT_SCHEDULE, MultiStep, Schedule

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from trainables.run.parameters import Value


class EpochSelection(StrEnum):
    """Rule that selects the epoch whose accuracy is reported."""

    LAST = "last epoch"
    NOISY = "epoch chosen by noisy validation"
    CLEAN = "epoch chosen by clean validation"
    TEST = "epoch chosen by test accuracy"
    """Epoch with the best test accuracy: a rule of some publications, which studies refuse."""


@dataclass(frozen=True, slots=True)
class Setting:
    """Published hyperparameter values of a method, for matching datasets and noise scenarios.

    Attributes:
        dataset: glob pattern of dataset names, such as "cifar10", "cifar*" or "*".
        noise: glob pattern of noise scenario names, such as "asymmetric-*" or "*".
        values: hyperparameter values by name.
        source: publication or public code from which the values are taken.
    """

    dataset: str
    noise: str
    values: Mapping[str, Value]
    source: str


@dataclass(frozen=True, slots=True)
class PublishedRecipe:
    """Training recipe that a method's authors published.

    Attributes:
        dataset: glob pattern of dataset names.
        noise: glob pattern of noise scenario names.
        recipe: complete recipe; the study's `mean` and `std` replace those that are None.
        source: publication or public code with the recipe, and which details are inferred.
        hold_out: fraction of the training samples that is held out for validation.
        selection: rule by which the authors select the epoch whose accuracy they report.
    """

    dataset: str
    noise: str
    recipe: Recipe
    source: str
    hold_out: float = 0.0
    selection: EpochSelection = EpochSelection.LAST


@dataclass(frozen=True, slots=True)
class Stage:
    """Preceding run of another method, whose result the method that declares the stage uses.

    Both runs have the same seeds and data.

    Attributes:
        role: key of the preceding run in `RunSpec.needs`, and of its result in `Context.inputs`.
        method: name of the preceding run's method.
        outcome: name of the result that is used, an entry of `Method.outcomes`.
        shared_hyperparameters: names of the hyperparameters that have the same value in both runs.
    """

    role: str
    method: str
    outcome: str
    shared_hyperparameters: tuple[str, ...] = ()


PublishedEntry = TypeVar("PublishedEntry", Setting, PublishedRecipe)


def first_match(
    entries: Iterable[PublishedEntry], dataset: str, scenario: str
) -> PublishedEntry | None:
    """Return the first entry whose patterns match a dataset and a noise scenario, or None."""
    for entry in entries:
        if fnmatchcase(dataset, entry.dataset) and fnmatchcase(scenario, entry.noise):
            return entry
    return None


ANIMAL10N_RECIPE = Recipe(
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
"""Recipe that PLC, SELC and NAL use on ANIMAL-10N: SGD without momentum, on images normalised by
the channel means and standard deviations of ImageNet."""


CIFAR10_STATISTICS: Mapping[str, Any] = {
    "mean": (0.4914, 0.4822, 0.4465),
    "std": (0.2023, 0.1994, 0.2010),
}
"""Channel means and deviations of CIFAR-10 in most public codes; each deviation is the mean of the
deviations of the images."""
CIFAR100_STATISTICS: Mapping[str, Any] = {
    "mean": (0.5071, 0.4867, 0.4408),
    "std": (0.2675, 0.2565, 0.2761),
}
"""Channel means and standard deviations of CIFAR-100 in the public codes of DAC and ELR."""


def cifar_recipe(
    epochs: int,
    learning_rate: float,
    schedule: Schedule = CONSTANT_SCHEDULE,
    weight_decay: float = 1e-4,
    batch_size: int = 128,
    **fields: object,
) -> Recipe:
    """Return a recipe for CIFAR: SGD with momentum 0.9 on cropped and flipped images.

    Args:
        epochs: number of epochs.
        learning_rate: base learning rate, which the schedule scales.
        schedule: learning-rate schedule.
        weight_decay: weight decay of all weights.
        batch_size: number of samples per training step.
        fields: further fields of `Recipe`. Without `mean` and `std`, images are normalised by those
            of the study.
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
