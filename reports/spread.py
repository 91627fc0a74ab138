"""What ± after a mean is: the standard deviation over seeds, or a number derived from it."""

from __future__ import annotations

import math
from enum import StrEnum

from trainables.errors import UserError, suggest


class Spread(StrEnum):
    """A measure of the variation over seeds, which tables print after ±."""

    SD = "sd"
    """Sample standard deviation, divided by n - 1 (ddof 1)."""
    SE = "se"
    """Standard error of the mean: the sample standard deviation divided by √n."""
    CI95 = "ci95"
    """Half of the width of the 95 % confidence interval of the mean, by Student's t."""
    SD0 = "sd0"
    """Standard deviation divided by n (ddof 0), which is too small for few seeds."""

    @classmethod
    def from_flag(cls, text: str) -> Spread:
        """Return the measure that a flag names.

        Raises:
            UserError: if there is no such measure.
        """
        try:
            return cls(text)
        except ValueError:
            raise UserError(f"--spread: unknown measure '{text}': {suggest(text, cls)}") from None

    @property
    def label(self) -> str:
        """Name of the measure, as CSV files state it."""
        return _LABELS[self]

    @property
    def description(self) -> str:
        """What ± is, for the note below a table."""
        return _DESCRIPTIONS[self]

    def of(self, std: float | None, n: int | None) -> float | None:
        """Return the measure; None where it is unknown, as for a single run.

        Args:
            std: sample standard deviation (ddof 1).
            n: number of runs.
        """
        if std is None or self is Spread.SD:
            return std
        if n is None or n < 2:
            return None
        if self is Spread.SD0:
            return std * math.sqrt((n - 1) / n)
        error = std / math.sqrt(n)
        if self is Spread.SE:
            return error
        from scipy.special import stdtrit

        return error * float(stdtrit(n - 1, 0.975))


_LABELS = {
    Spread.SD: "standard deviation",
    Spread.SE: "standard error",
    Spread.CI95: "half of the 95 % interval",
    Spread.SD0: "standard deviation (ddof 0)",
}

_DESCRIPTIONS = {
    Spread.SD: "the sample standard deviation (ddof 1) over n seeds",
    Spread.SE: "the standard error of the mean of n seeds, the sample standard deviation / √n",
    Spread.CI95: "half of the 95 % confidence interval of the mean of n seeds, by Student's t",
    Spread.SD0: "the standard deviation with ddof 0 over n seeds, which is too small for few seeds",
}
