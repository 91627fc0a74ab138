"""Polynomial-margin-diminishing (PMD) label noise: samples near a class boundary are mislabelled.

Y. Zhang, S. Zheng, P. Wu, M. Goswami and C. Chen, Learning with Feature-Dependent Label Noise: A
Progressive Approach, ICLR 2021. A network trained on clean labels predicts the class probabilities
η of each sample. u is its likeliest class, s the second likeliest, and D = η_u - η_s the margin.
The noisy label is s with a probability that decreases with D, otherwise u.
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

FLIP_PROBABILITIES: dict[int, Callable[[Floats], Floats]] = {
    1: lambda margin: 0.5 - 0.5 * margin**2,
    2: lambda margin: 1 - margin**3,
    3: lambda margin: 1 - (margin + margin**2 + margin**3) / 3,
}
"""Flip probability as a function of the margin D, before scaling to the noise rate, by PMD type."""

TOLERANCE = 1e-3
"""Largest allowed difference between the expected and the nominal noise rate."""
_BISECTION_STEPS = 80
_CONSTANT_MAX = 1e6
"""Largest constant that the flip or keep probability can be scaled with."""
_DIVIDES_KEEP_PROBABILITY = {"pmd": False, "pmd-keep": True}
"""Value of `PmdNoise.divides_keep_probability`, by the beginning of the scenario name."""


@dataclass(frozen=True, slots=True)
class PmdNoise(Noise):
    """PMD noise of one of three types.

    Attributes:
        type: number of the flip probability function: 1, 2 or 3.
        rate: expected fraction of labels that differ from the true ones; this includes labels that
            are wrong because the network's likeliest class is wrong.
        divides_keep_probability: whether the rate is reached by dividing the probability of keeping
            a label by a constant, as in the authors' code (`pmd-keep-TYPE-RATE`). Then even samples
            with the largest margin can be flipped. If false, the flip probability is multiplied by
            a constant, as in the paper by Zhang et al. (`pmd-TYPE-RATE`).
    """

    type: int
    rate: float
    divides_keep_probability: bool = False

    name_forms: ClassVar[tuple[str, ...]] = ("pmd-TYPE-RATE", "pmd-keep-TYPE-RATE")

    @classmethod
    def parse(cls, scenario: str) -> Self | None:
        """Return the noise of a scenario such as `pmd-1-0.35`; None for other kinds of noise.

        Raises:
            FieldError: if the type or the rate in the name is not allowed.
        """
        prefix, _, rate = scenario.rpartition("-")
        prefix, _, type_ = prefix.rpartition("-")
        if prefix not in _DIVIDES_KEEP_PROBABILITY:
            return None
        if type_ not in map(str, FLIP_PROBABILITIES):
            raise FieldError(
                "scenario", f"scenario '{scenario}': the type must be 1, 2 or 3, got '{type_}'"
            )
        return cls(
            int(type_),
            parse_rate(scenario, rate),
            divides_keep_probability=_DIVIDES_KEEP_PROBABILITY[prefix],
        )

    @property
    def title(self) -> str:
        """Title of the scenario in tables."""
        variant = ", keep divided" if self.divides_keep_probability else ""
        return f"PMD {'I' * self.type} {percent(self.rate)}{variant}"

    @property
    def nominal_rate(self) -> float | None:
        """Expected fraction of labels that differ from the true ones."""
        return self.rate

    @property
    def needs_posterior(self) -> bool:
        """True, since labels are drawn from the class probabilities η of a network."""
        return True

    def apply(self, context: NoiseContext, seed: int) -> NDArray[np.int64]:
        """Draw the noisy labels of the samples in use from their class probabilities η.

        Raises:
            DataError: if there are no class probabilities, or if the rate cannot be reached.
        """
        if context.posterior is None:
            raise DataError(
                f"{self.title} noise needs the class probabilities of a network, which are missing"
            )
        ranks = np.argsort(-context.posterior, axis=1, kind="stable")
        likeliest, second = ranks[:, 0], ranks[:, 1]
        rows = np.arange(len(ranks))
        margin = context.posterior[rows, likeliest] - context.posterior[rows, second]
        flip_probability = self.flip_probability(
            margin, likeliest == context.true_labels, second == context.true_labels
        )
        draws = uniform(context.draw_count, "noise", seed, "pmd")[context.index]
        return np.where(draws < flip_probability, second, likeliest).astype(np.int64)

    def flip_probability(
        self, margin: Floats, first_is_true: NDArray[np.bool_], second_is_true: NDArray[np.bool_]
    ) -> Floats:
        """Return each sample's flip probability, scaled so that the noise rate is reached.

        Args:
            margin: difference D between the probabilities of the two likeliest classes, shape (n,).
            first_is_true: whether the likeliest class is the true one, shape (n,).
            second_is_true: whether the second likeliest class is the true one, shape (n,).

        Raises:
            DataError: if the rate cannot be reached by scaling.
        """
        unscaled_probability = FLIP_PROBABILITIES[self.type](margin)

        def scaled_probability(constant: float) -> Floats:
            if self.divides_keep_probability:
                return np.clip(1 - (1 - unscaled_probability) / constant, 0, 1)
            return np.minimum(1, constant * unscaled_probability)

        def expected_rate(constant: float) -> float:
            flip = scaled_probability(constant)
            wrong_probability = np.where(first_is_true, flip, np.where(second_is_true, 1 - flip, 1))
            return float(wrong_probability.mean())

        low, high = (1 / _CONSTANT_MAX if self.divides_keep_probability else 0.0), _CONSTANT_MAX
        for _ in range(_BISECTION_STEPS):
            middle = np.sqrt(low * high) if low > 0 else (low + high) / 2
            low, high = (middle, high) if expected_rate(middle) < self.rate else (low, middle)
        if abs(expected_rate(high) - self.rate) > TOLERANCE:
            raise DataError(
                f"{self.title} noise cannot be reached: the network's own errors are "
                f"{100 * float((~first_is_true).mean()):.1f} % and flips bring it to "
                f"{100 * expected_rate(_CONSTANT_MAX):.1f} % at the most: train it longer "
                "(posterior.recipe.epochs), or choose another rate"
            )
        return scaled_probability(high)
