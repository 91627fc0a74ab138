"""Label noise that is written outside the package."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest

from trainables.errors import FieldError
from trainables.noise.base import NoiseContext, RatedNoise

if TYPE_CHECKING:
    from trainables.noise.base import Labels


class Next(RatedNoise):
    """The first samples take the next class."""

    @property
    def title(self) -> str:
        """The setting as tables head a column with it."""
        return f"next {self.rate:g}"

    def apply(self, context: NoiseContext, seed: int) -> Labels:  # noqa: ARG002
        """Return the noisy labels."""
        noisy = context.true_labels
        count = round(self.rate * len(noisy))
        noisy[:count] = (noisy[:count] + 1) % context.class_count
        return noisy


def test_a_rated_kind_needs_only_a_title_and_apply() -> None:
    assert Next.name_forms == ("Next-RATE",)
    noise = Next.parse("Next-0.5")
    assert noise == Next(0.5)
    assert noise is not None
    assert (noise.title, noise.nominal_rate) == ("next 0.5", 0.5)
    context = NoiseContext(np.array([0, 1, 2, 2]), np.arange(4), 3)
    assert noise.apply(context, seed=0).tolist() == [1, 2, 2, 2]


def test_its_names_are_read_strictly() -> None:
    assert Next.parse("next-0.5") is None
    assert Next.parse("Next") is None
    with pytest.raises(FieldError, match="must be above 0 and below 1, got '2'"):
        Next.parse("Next-2")


def test_a_subclass_of_a_default_kind_has_its_own_name() -> None:
    class After(Next):
        pass

    assert After.parse("Next-0.5") is None
    assert After.parse("After-0.5") == After(0.5)
