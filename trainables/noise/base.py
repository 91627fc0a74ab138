"""Base classes of label noise, and the other names that the file of a noise kind imports."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, ClassVar, Self

import numpy as np
from numpy.typing import NDArray

from trainables.errors import DataError, FieldError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from trainables.datasets.base import Source

Labels = NDArray[np.int64]
"""Array of class indices, such as the labels of samples."""


@dataclass(frozen=True, eq=False)
class NoiseContext:
    """Inputs of label noise: true labels, and other data from which noisy labels are drawn.

    Attributes:
        labels: true labels of the whole training split of N samples, shape (N,).
        index: positions, in the whole training split, of the n samples in use, shape (n,). A run
            may train on a subset.
        class_count: number of classes K.
        dataset: name of the dataset.
        annotations: sets of labels that people assigned or that a user's file contains, by name,
            each of shape (N,); used by noise whose `annotation` is one of the names.
        posterior: class probabilities of the samples in use, shape (n, K), predicted by a network
            trained on clean labels; used by noise whose `needs_posterior` is true.
    """

    labels: Labels
    index: NDArray[np.int64]
    class_count: int
    dataset: str = ""
    annotations: Mapping[str, Labels] = field(default_factory=dict)
    posterior: NDArray[np.float64] | None = None

    @property
    def true_labels(self) -> Labels:
        """Copy of the true labels of the samples in use, shape (n,)."""
        return self.labels[self.index]

    @property
    def draw_count(self) -> int:
        """Number of random numbers to draw: one per position, up to the last sample in use."""
        return int(self.index.max(initial=-1)) + 1


ONLY_OTHER_CLASSES = "excludes the true class"
ALL_CLASSES = "includes the true class"
"""Values of `Noise.rule`: the classes from which the label of a selected sample is drawn."""


class Noise(ABC):
    """Base class of the kinds of label noise; an instance is the noise of one scenario.

    Subclasses must not import torch, so that the command line can draw labels without torch.
    """

    name_forms: ClassVar[tuple[str, ...]]
    """Patterns of the scenario names of this noise, such as "symmetric-RATE", for messages."""

    @classmethod
    @abstractmethod
    def parse(cls, scenario: str) -> Self | None:
        """Return the noise that a scenario name defines; None if the name is of another kind.

        Raises:
            FieldError: if the name is of this kind, but a value in the name is not allowed.
        """

    @property
    @abstractmethod
    def title(self) -> str:
        """Title of the scenario in tables, such as "symmetric 40 %"."""

    @property
    def nominal_rate(self) -> float | None:
        """Noise rate in the scenario's name, from 0 to 1; None if the name has no rate."""
        return None

    @property
    def rule(self) -> str:
        """Whether a wrong label may be the true class after all, for notes under tables; or ""."""
        return ""

    @property
    def is_seed_independent(self) -> bool:
        """Whether all seeds have the same noisy labels; tables then note that ± omits the noise."""
        return False

    @property
    def needs_posterior(self) -> bool:
        """Whether labels are drawn from predictions of a network trained on clean labels."""
        return False

    @property
    def annotation(self) -> str:
        """Name of the used label set in `NoiseContext.annotations`; "" if labels are drawn."""
        return ""

    @property
    def label_file(self) -> str:
        """Name of the user's file with the noisy labels; "" if no file is read."""
        return ""

    def check(self, source: Source) -> None:  # noqa: B027 - most kinds accept every dataset
        """Check that the noise can be applied to a dataset.

        Raises:
            FieldError: if it cannot; the message names the datasets that are possible.
        """

    @abstractmethod
    def apply(self, context: NoiseContext, seed: int) -> Labels:
        """Return the noisy labels of the samples in use.

        The random number of a sample must depend on the position of the sample in the whole
        training split, not in `context.index`: then the number is the same in every subset.

        Args:
            context: true labels, positions of the samples in use, and other inputs.
            seed: base seed of the label noise.

        Returns:
            Noisy labels of the samples in use, shape (n,).

        Raises:
            DataError: if the inputs do not allow this noise.
        """


@dataclass(frozen=True, slots=True)
class RatedNoise(Noise):
    """Base class of label noise whose scenario name ends with a rate.

    Attributes:
        rate: noise rate, the fraction of labels that are selected for replacement.
    """

    rate: float

    variants: ClassVar[dict[str, tuple[bool, ...]]]
    """Values of the other attributes, by variant: the scenario name without its rate.

    A subclass that does not declare `variants` has one variant, the class name: the scenarios of
    `class Pairs(RatedNoise)` are `Pairs-0.2`, `Pairs-0.4` and so on. By default, `name_forms` has
    the entry "VARIANT-RATE" for each variant.
    """

    def __init_subclass__(cls) -> None:
        """Set `variants` and `name_forms` to defaults if a subclass does not declare them."""
        if "variants" not in vars(cls):
            cls.variants = {cls.__name__: ()}
        if "name_forms" not in vars(cls):
            cls.name_forms = tuple(f"{variant}-RATE" for variant in cls.variants)

    @classmethod
    def parse(cls, scenario: str) -> Self | None:
        """Return the noise of a scenario such as `symmetric-0.4`; None for other kinds of noise."""
        variant, _, rate = scenario.rpartition("-")
        if variant not in cls.variants:
            return None
        return cls(parse_rate(scenario, rate), *cls.variants[variant])

    @property
    def title(self) -> str:
        """Title of the scenario in tables; by default class name and rate: "PairFlip 30 %"."""
        return f"{type(self).__name__} {percent(self.rate)}"

    @property
    def nominal_rate(self) -> float:
        """Noise rate in the scenario's name, from 0 to 1."""
        return self.rate


class FixedLabels(Noise):
    """Base class of label noise whose labels are read instead of drawn."""

    @property
    def is_seed_independent(self) -> bool:
        """True, since the same labels are read for all seeds."""
        return True

    def apply(self, context: NoiseContext, seed: int) -> Labels:  # noqa: ARG002 - nothing is drawn
        """Return the noisy labels of the samples in use, as they were read, shape (n,)."""
        return context.annotations[self.annotation][context.index]


def parse_rate(scenario: str, text: str) -> float:
    """Return the noise rate at the end of a scenario's name as a number.

    Args:
        scenario: name of the scenario, for messages.
        text: last part of the name, which states the rate.

    Raises:
        FieldError: if the text is not a number between 0 and 1, or not in the shortest form, such
            as "0.40" for 0.4, which would give one scenario two names.
    """
    try:
        rate = float(text)
    except ValueError:
        rate = -1.0
    if not 0 < rate < 1:
        raise FieldError(
            "scenario", f"scenario '{scenario}': the rate must be above 0 and below 1, got '{text}'"
        )
    if text != f"{rate:g}":
        raise FieldError("scenario", f"scenario '{scenario}': write the rate as '{rate:g}'")
    return rate


def percent(rate: float) -> str:
    """Return a rate from 0 to 1 as a percentage for titles, such as "40 %"."""
    return f"{100 * rate:g} %"


def check_labels(labels: Labels, class_count: int, place: Callable[[int], str]) -> None:
    """Check that all labels are class indices from 0 to K - 1.

    Args:
        labels: labels to check.
        class_count: number of classes K.
        place: function that says, for the message, where the label at a position comes from.

    Raises:
        DataError: if a label is out of range; the message states the first such label.
    """
    outside = np.flatnonzero((labels < 0) | (labels >= class_count))
    if len(outside):
        position = int(outside[0])
        raise DataError(
            f"{place(position)}: label {labels[position]} is outside 0..{class_count - 1}"
        )
