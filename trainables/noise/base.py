"""What every kind of label noise offers."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, ClassVar, Self

from trainables.errors import FieldError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


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

    @abstractmethod
    def apply(
        self, labels: NDArray[np.int64], index: NDArray[np.int64], classes: int, seed: int
    ) -> NDArray[np.int64]:
        """Draw noisy labels.

        Args:
            labels: true labels, shape (n,), in 0..classes-1.
            index: position of each sample in the whole training split, shape (n,): draws are
                keyed by it, so that a subset's samples are drawn as they are in the whole.
            classes: number of classes K.
            seed: base seed of the `noise` axis.

        Returns:
            Noisy labels, shape (n,).
        """


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
