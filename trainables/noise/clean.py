"""No label noise."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Self

from trainables.noise.base import Noise

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


class Clean(Noise):
    """The labels as they come with the dataset."""

    forms: ClassVar[tuple[str, ...]] = ("clean",)

    @classmethod
    def parse(cls, scenario: str) -> Self | None:
        """Read `clean`."""
        return cls() if scenario == "clean" else None

    @property
    def title(self) -> str:
        """The setting as tables head a column with it."""
        return "clean"

    def apply(
        self,
        labels: NDArray[np.int64],
        index: NDArray[np.int64],  # noqa: ARG002 - one interface for all
        classes: int,  # noqa: ARG002
        seed: int,  # noqa: ARG002
    ) -> NDArray[np.int64]:
        """Return a copy of the labels."""
        return labels.copy()
