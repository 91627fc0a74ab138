"""What every kind of label noise offers."""

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
"""Numbers of classes, such as one for each sample."""


@dataclass(frozen=True, eq=False)
class NoiseContext:
    """What label noise is laid over.

    Attributes:
        labels: of the dataset's whole training split, in its order, in 0..classes-1, shape (N,).
        index: positions in it of the samples that are used, shape (n,).
        classes: number of classes K.
        dataset: name of the dataset.
        annotations: labels of the whole split that kinds of noise read, by name; each of shape
            (N,).
        posterior: class probabilities of the used samples, shape (n, K), for noise that asks for
            them.
    """

    labels: Labels
    index: NDArray[np.int64]
    classes: int
    dataset: str = ""
    annotations: Mapping[str, Labels] = field(default_factory=dict)
    posterior: NDArray[np.float64] | None = None

    @property
    def true(self) -> Labels:
        """Labels of the used samples, a copy, shape (n,)."""
        return self.labels[self.index]

    @property
    def reach(self) -> int:
        """How many draws are needed for each used sample to have that of its position."""
        return int(self.index.max(initial=-1)) + 1


class Noise(ABC):
    """One setting of label noise; NumPy only, so that the driver can draw it too."""

    forms: ClassVar[tuple[str, ...]]
    """How its scenario names look, for messages and help."""

    @classmethod
    @abstractmethod
    def parse(cls, scenario: str) -> Self | None:
        """Read a scenario's name; None if it names another kind.

        Raises:
            FieldError: it names this kind, with a value that is not allowed.
        """

    @property
    @abstractmethod
    def title(self) -> str:
        """The setting as tables head a column with it: "symmetric 40 %"."""

    @property
    def nominal_rate(self) -> float | None:
        """The rate that its name says, a fraction; None if it says none."""
        return None

    @property
    def one_draw(self) -> bool:
        """Whether all seeds see one draw, so that ± does not include it."""
        return False

    @property
    def needs_posterior(self) -> bool:
        """Whether it asks for class probabilities, which a run on clean labels has to give."""
        return False

    @property
    def annotation(self) -> str:
        """Name of the labels in `NoiseContext.annotations` that it reads; "" if it reads none."""
        return ""

    @property
    def label_file(self) -> str:
        """Name of the user's file that holds those labels; "" if the dataset has them."""
        return ""

    def check(self, source: Source) -> None:  # noqa: B027 - most kinds can be laid over anything
        """See that it can be laid over a dataset.

        Raises:
            FieldError: it cannot; says over which it can.
        """

    @abstractmethod
    def apply(self, context: NoiseContext, seed: int) -> Labels:
        """Draw noisy labels.

        Draws are keyed by the sample's position in the whole training split, so that a subset's
        samples are drawn as they are in the whole.

        Args:
            context: what it is laid over.
            seed: base seed of the `noise` axis.

        Returns:
            Noisy labels of the used samples, shape (n,).

        Raises:
            DataError: the data do not allow it.
        """


@dataclass(frozen=True, slots=True)
class Rated(Noise):
    """Label noise whose name ends with its rate.

    Attributes:
        rate: fraction of the labels that it concerns.
    """

    rate: float

    variants: ClassVar[dict[str, tuple[bool, ...]]]
    """Values of the other attributes, by what stands before the rate in the scenario's name.

    A subclass that does not declare them has one variant, under the name of the class: the
    scenarios of `class Pairs(Rated)` are `Pairs-0.2`, `Pairs-0.4` and so on. `forms` follows from
    the variants in the same way.
    """

    def __init_subclass__(cls) -> None:
        """Fill in `variants` and `forms` where the subclass does not declare them."""
        if "variants" not in vars(cls):
            cls.variants = {cls.__name__: ()}
        if "forms" not in vars(cls):
            cls.forms = tuple(f"{variant}-RATE" for variant in cls.variants)

    @classmethod
    def parse(cls, scenario: str) -> Self | None:
        """Read a name such as `symmetric-0.4`."""
        variant, _, rate = scenario.rpartition("-")
        if variant not in cls.variants:
            return None
        return cls(parse_rate(scenario, rate), *cls.variants[variant])

    @property
    def nominal_rate(self) -> float:
        """The rate that its name says."""
        return self.rate


class FixedLabels(Noise):
    """One set of labels for all seeds, which comes with the data."""

    @property
    def one_draw(self) -> bool:
        """All seeds see the same labels."""
        return True

    def apply(self, context: NoiseContext, seed: int) -> Labels:  # noqa: ARG002 - nothing is drawn
        """Return those of the used samples."""
        return context.annotations[self.annotation][context.index]


def parse_rate(scenario: str, text: str) -> float:
    """Read the rate at the end of a scenario's name.

    Raises:
        FieldError: not a number in (0, 1), or not written in the shortest way, which would give
            one setting two names.
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
    """Write a rate as titles do: "40 %"."""
    return f"{100 * rate:g} %"


def check_labels(what: str, labels: Labels, classes: int) -> None:
    """See that labels are of known classes.

    Raises:
        DataError: one is not; names the first.
    """
    wrong = np.flatnonzero((labels < 0) | (labels >= classes))
    if len(wrong):
        first = int(wrong[0])
        raise DataError(
            f"{what}: label {labels[first]} at position {first} is outside 0..{classes - 1}"
        )
