"""Random draws, whose literal numbers must never change: every recorded run depends on them."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from trainables.errors import FieldError
from trainables.run.seeds import (
    RANDOM_AXES,
    Seeds,
    derive_seed,
    permutation,
    random_integers,
    uniform,
)


def test_draws_never_change() -> None:
    assert derive_seed("noise", 0) == 140673921179883930645448401978129051761
    assert derive_seed("order", 7, 3, "top") == 2343158767281400579965463532838109676
    assert random_integers(4, "order", 3, 2).tolist() == [
        619115786805107998,
        4293616655371575200,
        13147827944557810452,
        7802139819330849634,
    ]
    assert uniform(4, "noise", 0, "which").tolist() == [
        0.3781384783956687,
        0.4844724930774862,
        0.13554692441042615,
        0.3353344275900014,
    ]
    assert permutation(8, "split", 0).tolist() == [1, 5, 4, 6, 7, 3, 2, 0]
    assert permutation(8, "split", 1).tolist() == [0, 3, 7, 2, 5, 6, 4, 1]


def test_axes_seeds_and_keys_give_independent_draws() -> None:
    keyed: list[tuple[Any, ...]] = [
        *((axis, seed) for axis in RANDOM_AXES for seed in (0, 1)),
        *(("augment", 0, epoch, key) for epoch in (1, 2) for key in ("top", "left")),
        ("augment", 1, 23),
        ("augment", 12, 3),
    ]
    draws = np.stack([uniform(4000, *key) for key in keyed])
    correlations = np.corrcoef(draws) - np.eye(len(keyed))

    # The correlation of independent draws has a deviation of 1/sqrt(4000) = 0.016; allow five.
    assert np.abs(correlations).max() < 0.08


def test_draws_are_uniform_and_a_shorter_draw_is_a_prefix() -> None:
    draws = uniform(100_000, "order", 5)

    counts = np.bincount((draws * 10).astype(int), minlength=10)
    assert np.abs(counts - 10_000).max() < 500  # five standard deviations of 95
    assert draws.min() >= 0
    assert draws.max() < 1
    np.testing.assert_array_equal(uniform(10, "order", 5), draws[:10])


def test_a_permutation_contains_every_position_once() -> None:
    order = permutation(1000, "order", 0, 1)

    assert order.dtype == np.int64
    np.testing.assert_array_equal(np.sort(order), np.arange(1000))
    assert not np.array_equal(order, np.arange(1000))


def test_one_base_seed_for_all_axes_but_the_fixed_ones() -> None:
    assert Seeds.from_base_seed(0) == Seeds(0, 0, 0, 0, 0, 0, 0)
    fixed = Seeds.from_base_seed(7, noise=0, init=3)
    assert (fixed.noise, fixed.init) == (0, 3)
    assert {getattr(fixed, axis) for axis in RANDOM_AXES if axis not in ("noise", "init")} == {7}
    with pytest.raises(TypeError, match="nois"):
        Seeds.from_base_seed(7, nois=0)


@pytest.mark.parametrize("bad", [-1, True, 1.0, "1", None])
def test_invalid_seeds_are_refused(bad: object) -> None:
    with pytest.raises(FieldError, match="must be a non-negative integer, got") as caught:
        Seeds.from_base_seed(0, split=bad)  # type: ignore[arg-type]
    assert caught.value.field == "split"
