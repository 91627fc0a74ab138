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
"""Array of class indices, such as the labels of samples."""


@dataclass(frozen=True, eq=False)
class NoiseContext:
    """Data from which noisy labels are drawn.

    Attributes:
        labels: true labels of the dataset's whole training split, in its order, shape (N,).
        index: positions of the samples in use in the whole training split, shape (n,).
        classes: number of classes K.
        dataset: name of the dataset.
        annotations: labels given by people or in a user's file, by name, each of shape (N,); used
            by noise with an `annotation`.
        posterior: class probabilities of the samples in use, shape (n, K), from a network trained
            on clean labels; used by noise with `needs_posterior`.
    """

    labels: Labels
    index: NDArray[np.int64]
    classes: int
    dataset: str = ""
    annotations: Mapping[str, Labels] = field(default_factory=dict)
    posterior: NDArray[np.float64] | None = None

    @property
    def true_labels(self) -> Labels:
        """Copy of the true labels of the samples in use, shape (n,)."""
        return self.labels[self.index]

    @property
    def draw_count(self) -> int:
        """Number of random numbers to draw so that every sample in use has one.

        It is the largest position in `index`, plus 1.
        """
        return int(self.index.max(initial=-1)) + 1


class Noise(ABC):
    """Base class of the kinds of label noise; an instance is the noise of one scenario.

    Subclasses use NumPy only, since the driver draws labels too.
    """

    name_forms: ClassVar[tuple[str, ...]]
    """Forms of the scenario names of this noise, such as "symmetric-RATE", for messages."""

    @classmethod
    @abstractmethod
    def parse(cls, scenario: str) -> Self | None:
        """Return the noise of a scenario name; None if the name is of another kind of noise.

        Raises:
            FieldError: if the name is of this kind, but a value in it is not allowed.
        """

    @property
    @abstractmethod
    def title(self) -> str:
        """Title of the scenario in tables, such as "symmetric 40 %"."""

    @property
    def nominal_rate(self) -> float | None:
        """Noise rate in the scenario's name, a fraction; None if the name has no rate."""
        return None

    @property
    def one_draw(self) -> bool:
        """Whether all seeds have the same noisy labels; tables note that ± excludes the noise."""
        return False

    @property
    def needs_posterior(self) -> bool:
        """Whether the noise needs class probabilities of a network trained on clean labels."""
        return False

    @property
    def annotation(self) -> str:
        """Key of the labels in `NoiseContext.annotations` that are used; "" if labels are drawn."""
        return ""

    @property
    def label_file(self) -> str:
        """Name of the user's file with the noisy labels; "" if the noise does not read a file."""
        return ""

    def check(self, source: Source) -> None:  # noqa: B027 - most kinds accept every dataset
        """Check that the noise can be applied to a dataset.

        Raises:
            FieldError: if the dataset does not fit; the message names the datasets that do.
        """

    @abstractmethod
    def apply(self, context: NoiseContext, seed: int) -> Labels:
        """Return the noisy labels of the samples in use.

        The random number of a sample must depend on its position in the whole training split, not
        in `context.index`, so that the sample has the same number in every subset.

        Args:
            context: true labels, positions of the samples in use, and other inputs.
            seed: base seed of the label noise.

        Returns:
            Noisy labels of the samples in use, shape (n,).

        Raises:
            DataError: if the noise cannot be drawn from these data.
        """


@dataclass(frozen=True, slots=True)
class RatedNoise(Noise):
    """Base class of label noise whose scenario name ends with a rate.

    Attributes:
        rate: fraction of the labels that are selected to be replaced.
    """

    rate: float

    variants: ClassVar[dict[str, tuple[bool, ...]]]
    """Values of the attributes that follow `rate`, by the scenario name without the rate.

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
        """Return the noise of a scenario such as `symmetric-0.4`; None for other kinds of noise."""
        variant, _, rate = scenario.rpartition("-")
        if variant not in cls.variants:
            return None
        return cls(parse_rate(scenario, rate), *cls.variants[variant])

    @property
    def title(self) -> str:
        """Title of the scenario in tables; by default class name and rate, "PairFlip 30 %"."""
        return f"{type(self).__name__} {percent(self.rate)}"

    @property
    def nominal_rate(self) -> float:
        """Noise rate in the scenario's name, a fraction."""
        return self.rate


class FixedLabels(Noise):
    """Base class of noise whose labels are read from data instead of drawn."""

    @property
    def one_draw(self) -> bool:
        """True, since all seeds have the labels that are read."""
        return True

    def apply(self, context: NoiseContext, seed: int) -> Labels:  # noqa: ARG002 - nothing is drawn
        """Return the labels that were read for the samples in use, shape (n,)."""
        return context.annotations[self.annotation][context.index]


def parse_rate(scenario: str, text: str) -> float:
    """Return the noise rate that ends a scenario's name.

    Args:
        scenario: name of the scenario, for messages.
        text: the part of the name that is the rate.

    Raises:
        FieldError: if the text is not a number in (0, 1), or not in its shortest form; otherwise
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
    """Return a fraction as a percentage for titles, such as "40 %"."""
    return f"{100 * rate:g} %"


def check_labels(origin: str, labels: Labels, classes: int) -> None:
    """Check that all labels are class indices from 0 to classes - 1.

    Args:
        origin: name of the file or set from which the labels come, for the message.
        labels: class indices to check.
        classes: number of classes K.

    Raises:
        DataError: if a label is out of range; the message has the first such label.
    """
    outside = np.flatnonzero((labels < 0) | (labels >= classes))
    if len(outside):
        position = int(outside[0])
        raise DataError(
            f"{origin}: label {labels[position]} at position {position} is outside 0..{classes - 1}"
        )
