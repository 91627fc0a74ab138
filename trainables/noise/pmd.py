"""Polynomial-margin-diminishing (PMD) label noise: samples near a class boundary are mislabelled.

Y. Zhang, S. Zheng, P. Wu, M. Goswami and C. Chen, Learning with Feature-Dependent Label Noise: A
Progressive Approach, ICLR 2021. A network trained on clean labels predicts the class probabilities
η of each sample. Let u be the likeliest class of a sample, s the second likeliest class, and
D = η_u - η_s the margin. The noisy label is s with a probability that decreases with D, else u.
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
"""Flip probability as a function of the margin D, not yet scaled to the noise rate, by PMD type."""

RATE_TOLERANCE = 1e-3
"""Largest allowed difference between the expected and the nominal noise rate."""
_BISECTION_STEP_COUNT = 80
_MAX_SCALE = 1e6
"""Largest constant by which the flip probability is multiplied or the keep probability divided."""
_DIVIDES_KEEP_PROBABILITY = {"pmd": False, "pmd-keep": True}
"""Value of `PmdNoise.divides_keep_probability`, by the beginning of the scenario name."""


@dataclass(frozen=True, slots=True)
class PmdNoise(Noise):
    """Polynomial-margin-diminishing (PMD) noise: samples near a class boundary are mislabelled.

    A network trained on clean labels predicts the class probabilities of each sample. Its noisy
    label is the likeliest or the second likeliest class; the smaller the margin between the two
    probabilities, the more likely the second.

    Attributes:
        type: number of the function that computes the flip probability from the margin: 1, 2 or 3.
        rate: expected fraction of labels that differ from the true labels, including samples whose
            likeliest class, as predicted, is not the true one.
        divides_keep_probability: whether the probability of keeping a label is divided by a
            constant to reach the rate, as in the code of Zhang et al. (`pmd-keep-TYPE-RATE`). Then
            even samples with the largest margin can be flipped. If false, the flip probability is
            multiplied by a constant, as in their paper (`pmd-TYPE-RATE`).
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
        """Expected fraction of labels that differ from the true labels."""
        return self.rate

    @property
    def needs_posterior(self) -> bool:
        """True, since labels are drawn from the class probabilities of a network."""
        return True

    def apply(self, context: NoiseContext, seed: int) -> NDArray[np.int64]:
        """Return the noisy labels of the samples in use, drawn from their class probabilities.

        Raises:
            DataError: if class probabilities are missing, or if the rate cannot be reached.
        """
        if context.posterior is None:
            raise DataError(
                f"{self.title}: the class probabilities of a network, from which this noise is "
                "drawn, are "
                "missing"
            )
        ranked_classes = np.argsort(-context.posterior, axis=1, kind="stable")
        likeliest, second = ranked_classes[:, 0], ranked_classes[:, 1]
        rows = np.arange(len(ranked_classes))
        margin = context.posterior[rows, likeliest] - context.posterior[rows, second]
        flip_probability = self.flip_probability(
            margin, likeliest == context.true_labels, second == context.true_labels
        )
        draws = uniform(context.draw_count, "noise", seed, "pmd")[context.index]
        return np.where(draws < flip_probability, second, likeliest).astype(np.int64)

    def flip_probability(
        self,
        margin: Floats,
        likeliest_is_true: NDArray[np.bool_],
        second_is_true: NDArray[np.bool_],
    ) -> Floats:
        """Return the flip probability of each sample, scaled so that the noise rate is reached.

        Args:
            margin: difference D between the probabilities of the two likeliest classes, shape (n,).
            likeliest_is_true: whether the likeliest class is the true one, shape (n,).
            second_is_true: whether the second likeliest class is the true one, shape (n,).

        Raises:
            DataError: if the rate cannot be reached by scaling.
        """
        unscaled_probability = FLIP_PROBABILITIES[self.type](margin)

        def scaled_probability(scale: float) -> Floats:
            if self.divides_keep_probability:
                return np.clip(1 - (1 - unscaled_probability) / scale, 0, 1)
            return np.minimum(1, scale * unscaled_probability)

        def expected_rate(scale: float) -> float:
            flip = scaled_probability(scale)
            error_probability = np.where(
                likeliest_is_true, flip, np.where(second_is_true, 1 - flip, 1)
            )
            return float(error_probability.mean())

        low, high = (1 / _MAX_SCALE if self.divides_keep_probability else 0.0), _MAX_SCALE
        for _ in range(_BISECTION_STEP_COUNT):
            middle = np.sqrt(low * high) if low > 0 else (low + high) / 2
            low, high = (middle, high) if expected_rate(middle) < self.rate else (low, middle)
        if abs(expected_rate(high) - self.rate) > RATE_TOLERANCE:
            raise DataError(
                f"{self.title}: this noise rate cannot be reached: "
                f"{100 * float((~likeliest_is_true).mean()):.1f} % of the network's likeliest "
                "classes are wrong, and with label flips the rate is "
                f"{100 * expected_rate(_MAX_SCALE):.1f} % at most: train the network longer "
                "(posterior.recipe.epochs), or choose another rate"
            )
        return scaled_probability(high)
