"""Polynomial-margin-diminishing label noise: what is hard to tell apart is mislabelled.

Y. Zhang, S. Zheng, P. Wu, M. Goswami and C. Chen, Learning with Feature-Dependent Label Noise: A
Progressive Approach, ICLR 2021. A network trained on clean labels gives each sample its class
probabilities η; u is the likeliest class, s the second, D = η_u - η_s. The label is u, flipped to
s with a probability that falls with the margin D.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Self

import numpy as np

from trainables.errors import DataError, FieldError
from trainables.noise.base import Noise, NoiseContext, parse_rate, percent
from trainables.run.seeds import uniform

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    Floats = NDArray[np.float64]

FLIPS: dict[int, Callable[[Floats], Floats]] = {
    1: lambda margin: 0.5 - 0.5 * margin**2,
    2: lambda margin: 1 - margin**3,
    3: lambda margin: 1 - (margin + margin**2 + margin**3) / 3,
}
"""Probability of a flip by margin, before the level is set, by type."""

TOLERANCE = 1e-3
"""Most that the expected rate may be off the level."""
_STEPS = 80
_WIDEST = 1e6
_KINDS = {"pmd": False, "pmd-keep": True}


@dataclass(frozen=True, slots=True)
class Pmd(Noise):
    """PMD noise of a type, at a level.

    Attributes:
        type: 1, 2 or 3.
        rate: expected fraction of labels that differ from the true ones; where the network errs,
            its likeliest class counts as noise too.
        divides_keep: how the level is reached: the paper multiplies the probability of a flip by a
            constant (`pmd-T-R`); its authors' code divides that of keeping the label
            (`pmd-keep-T-R`), so that even the largest margin is flipped at times.
    """

    type: int
    rate: float
    divides_keep: bool = False

    forms: ClassVar[tuple[str, ...]] = ("pmd-TYPE-RATE", "pmd-keep-TYPE-RATE")

    @classmethod
    def parse(cls, scenario: str) -> Self | None:
        """Read `pmd-1-0.35` or `pmd-keep-1-0.35`."""
        kind, _, level = scenario.rpartition("-")
        kind, _, type_ = kind.rpartition("-")
        if kind not in _KINDS:
            return None
        if type_ not in map(str, FLIPS):
            raise FieldError(
                "scenario", f"scenario '{scenario}': the type must be 1, 2 or 3, got '{type_}'"
            )
        return cls(int(type_), parse_rate(scenario, level), divides_keep=_KINDS[kind])

    @property
    def title(self) -> str:
        """The setting as tables head a column with it."""
        how = ", keep divided" if self.divides_keep else ""
        return f"PMD {'I' * self.type} {percent(self.rate)}{how}"

    @property
    def nominal_rate(self) -> float | None:
        """Expected fraction of labels that differ from the true ones."""
        return self.rate

    @property
    def needs_posterior(self) -> bool:
        """It asks for η."""
        return True

    def apply(self, context: NoiseContext, seed: int) -> NDArray[np.int64]:
        """Draw the labels of the used samples from their η.

        Raises:
            DataError: no constant reaches the level.
        """
        if context.posterior is None:
            raise DataError(f"{self.title} noise needs class probabilities, and none are given")
        ranks = np.argsort(-context.posterior, axis=1, kind="stable")
        first, second = ranks[:, 0], ranks[:, 1]
        rows = np.arange(len(first))
        margin = context.posterior[rows, first] - context.posterior[rows, second]
        flip = self.flip_probability(margin, first == context.true, second == context.true)
        draws = uniform(context.reach, "noise", seed, "pmd")[context.index]
        return np.where(draws < flip, second, first).astype(np.int64)

    def flip_probability(
        self, margin: Floats, first_true: NDArray[np.bool_], second_true: NDArray[np.bool_]
    ) -> Floats:
        """Return the probability of each sample's flip, with the constant that gives the level.

        Args:
            margin: D, shape (n,).
            first_true: whether the likeliest class is the true one, shape (n,).
            second_true: whether the second is.

        Raises:
            DataError: no constant gives the level.
        """
        base = FLIPS[self.type](margin)

        def flips(constant: float) -> Floats:
            if self.divides_keep:
                return np.clip(1 - (1 - base) / constant, 0, 1)
            return np.minimum(1, constant * base)

        def rate(constant: float) -> float:
            flip = flips(constant)
            wrong = np.where(first_true, flip, np.where(second_true, 1 - flip, 1))
            return float(wrong.mean())

        low, high = (1 / _WIDEST, _WIDEST) if self.divides_keep else (0.0, _WIDEST)
        for _ in range(_STEPS):
            middle = np.sqrt(low * high) if low > 0 else (low + high) / 2
            low, high = (middle, high) if rate(middle) < self.rate else (low, middle)
        if abs(rate(high) - self.rate) > TOLERANCE:
            raise DataError(
                f"{self.title} noise cannot be reached: the network's own errors are "
                f"{100 * float((~first_true).mean()):.1f} % and flips bring it to "
                f"{100 * rate(_WIDEST):.1f} % at the most: train it longer "
                "(posterior.recipe.epochs), or choose another rate"
            )
        return flips(high)
