"""Base classes of the kinds of label noise."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, ClassVar, Self

import numpy as np
from numpy.typing import NDArray

from trainables.errors import DataError, FieldError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from trainables.datasets.base import Source

Labels = NDArray[np.int64]
"""Class indices, such as the labels of samples."""


@dataclass(frozen=True, eq=False)
class NoiseContext:
    """Inputs from which noisy labels are drawn.

    Attributes:
        labels: labels of the dataset's whole training split, in its order, from 0 to K - 1, shape
            (N,).
        index: positions of the used samples in the training split, shape (n,).
        classes: number of classes K.
        dataset: name of the dataset.
        annotations: recorded labels of the whole training split by name, each of shape (N,), for
            noise that reads them (`Noise.annotation`).
        posterior: class probabilities of the used samples, shape (n, K), for noise that needs them
            (`Noise.needs_posterior`).
    """

    labels: Labels
    index: NDArray[np.int64]
    classes: int
    dataset: str = ""
    annotations: Mapping[str, Labels] = field(default_factory=dict)
    posterior: NDArray[np.float64] | None = None

    @property
    def true_labels(self) -> Labels:
        """Copy of the labels of the used samples, shape (n,)."""
        return self.labels[self.index]

    @property
    def draw_count(self) -> int:
        """Number of draws that covers the positions of all used samples."""
        return int(self.index.max(initial=-1)) + 1


class Noise(ABC):
    """Base class of the kinds of label noise; an instance is the noise of one scenario.

    Subclasses use NumPy only, since the driver draws labels too.
    """

    name_forms: ClassVar[tuple[str, ...]]
    """Patterns of the kind's scenario names, such as "symmetric-RATE", for messages and help."""

    @classmethod
    @abstractmethod
    def parse(cls, scenario: str) -> Self | None:
        """Return the noise of a scenario; None if the scenario is of another kind.

        Raises:
            FieldError: if the scenario is of this kind but has a value that is not allowed.
        """

    @property
    @abstractmethod
    def title(self) -> str:
        """Title of the scenario in tables, such as "symmetric 40 %"."""

    @property
    def nominal_rate(self) -> float | None:
        """Rate in the scenario's name, a fraction; None if the name has none."""
        return None

    @property
    def one_draw(self) -> bool:
        """Whether all seeds share the same noisy labels, whose variance ± then excludes."""
        return False

    @property
    def needs_posterior(self) -> bool:
        """Whether the noise needs class probabilities from a run trained on clean labels."""
        return False

    @property
    def annotation(self) -> str:
        """Name of the labels that are read from `NoiseContext.annotations`; "" if none are."""
        return ""

    @property
    def label_file(self) -> str:
        """Name of the user's file with those labels; "" if they come with the dataset."""
        return ""

    def check(self, source: Source) -> None:  # noqa: B027 - most kinds accept every dataset
        """Raise `FieldError` if the noise cannot be applied to a dataset.

        Raises:
            FieldError: if it cannot; the message names the datasets that are possible.
        """

    @abstractmethod
    def apply(self, context: NoiseContext, seed: int) -> Labels:
        """Draw noisy labels.

        Draws are keyed by the sample's position in the whole training split, so that a sample has
        the same draw in every subset.

        Args:
            context: true labels, used samples and whatever else the noise is drawn from.
            seed: base seed of the `noise` axis.

        Returns:
            Noisy labels of the used samples, shape (n,).

        Raises:
            DataError: if the noise cannot be drawn from these data.
        """


@dataclass(frozen=True, slots=True)
class RatedNoise(Noise):
    """Base class of label noise whose scenario name ends with a rate.

    Attributes:
        rate: fraction of the labels that are selected for a change.
    """

    rate: float

    variants: ClassVar[dict[str, tuple[bool, ...]]]
    """Values of the attributes after `rate`, by the part of the scenario name before the rate.

    A subclass that does not declare `variants` has one variant, named after the class: the
    scenarios of `class Pairs(RatedNoise)` are `Pairs-0.2`, `Pairs-0.4` and so on. By default,
    `name_forms` has the entry "VARIANT-RATE" for each variant.
    """

    def __init_subclass__(cls) -> None:
        """Set the defaults of `variants` and `name_forms` if the subclass does not declare them."""
        if "variants" not in vars(cls):
            cls.variants = {cls.__name__: ()}
        if "name_forms" not in vars(cls):
            cls.name_forms = tuple(f"{variant}-RATE" for variant in cls.variants)

    @classmethod
    def parse(cls, scenario: str) -> Self | None:
        """Return the noise of a scenario such as `symmetric-0.4`; None if it is of another kind."""
        variant, _, rate = scenario.rpartition("-")
        if variant not in cls.variants:
            return None
        return cls(parse_rate(scenario, rate), *cls.variants[variant])

    @property
    def nominal_rate(self) -> float:
        """Rate in the scenario's name, a fraction."""
        return self.rate


class FixedLabels(Noise):
    """Base class of noise that is read from recorded labels, the same for all seeds."""

    @property
    def one_draw(self) -> bool:
        """True: all seeds share the recorded labels."""
        return True

    def apply(self, context: NoiseContext, seed: int) -> Labels:  # noqa: ARG002 - nothing is drawn
        """Return the recorded labels of the used samples, shape (n,)."""
        return context.annotations[self.annotation][context.index]


def parse_rate(scenario: str, text: str) -> float:
    """Return the rate at the end of a scenario's name.

    Args:
        scenario: name of the scenario, for messages.
        text: the part of the name that is the rate.

    Raises:
        FieldError: if the text is not a number in (0, 1), or not its shortest form, without which
            one scenario could have two names.
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
    """Return a rate as a percentage for titles, such as "40 %"."""
    return f"{100 * rate:g} %"


def check_labels(origin: str, labels: Labels, classes: int) -> None:
    """Raise `DataError` if a label is outside 0..classes-1.

    Args:
        origin: file or name of the labels, for the message.
        labels: class indices to check.
        classes: number of classes K.

    Raises:
        DataError: if a label is outside; the message has the first such label.
    """
    outside = np.flatnonzero((labels < 0) | (labels >= classes))
    if len(outside):
        first = int(outside[0])
        raise DataError(
            f"{origin}: label {labels[first]} at position {first} is outside 0..{classes - 1}"
        )
