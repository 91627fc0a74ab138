from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest

from trainables.errors import DataError, FieldError
from trainables.noise import NoiseContext, noise_of
from trainables.noise.pmd import FLIP_PROBABILITIES, PmdNoise
from trainables.run_data.realisation import labels_digest

if TYPE_CHECKING:
    from numpy.typing import NDArray

N, K = 20_000, 10
LABELS = np.arange(N) % K
SCENARIOS = [
    f"pmd{form}-{t}-{rate}" for form in ("", "-keep") for t in (1, 2, 3) for rate in (0.35, 0.7)
]


def posterior(*, errors: bool = True) -> NDArray[np.float64]:
    """Return probabilities in exact steps of 1/64; with `errors` one in eight samples is wrong."""
    draws = np.asarray(np.random.Philox(key=7).random_raw(2 * N), dtype=np.uint64)
    bits = draws.reshape(2, N) >> np.uint64(32)
    margin = (bits[0] % np.uint64(63)).astype(np.float64) + 1
    other = (LABELS + 1 + (bits[1] % np.uint64(9)).astype(np.int64)) % K
    eta = np.zeros((N, K))
    first, second = LABELS.copy(), other.copy()
    if errors:
        wrong = np.arange(N) % 8 == 3
        first[wrong], second[wrong] = other[wrong], LABELS[wrong]
    eta[np.arange(N), first] = (64 + margin) / 128
    eta[np.arange(N), second] = (64 - margin) / 128
    return eta


def draw(scenario: str, seed: int = 0, eta: NDArray[np.float64] | None = None) -> NDArray[np.int64]:
    eta = posterior() if eta is None else eta
    return noise_of(scenario).apply(NoiseContext(LABELS, np.arange(N), K, posterior=eta), seed)


def test_flip_probability_decreases_with_the_margin() -> None:
    margin = np.linspace(0, 1, 101)
    for kind, at_zero in ((1, 0.5), (2, 1.0), (3, 1.0)):
        flips = FLIP_PROBABILITIES[kind](margin)
        assert flips[0] == at_zero
        assert flips[-1] == pytest.approx(0, abs=1e-15)
        assert (np.diff(flips) < 0).all()
    assert FLIP_PROBABILITIES[1](np.array([0.5]))[0] == 0.375
    assert FLIP_PROBABILITIES[2](np.array([0.5]))[0] == 0.875
    assert FLIP_PROBABILITIES[3](np.array([0.5]))[0] == pytest.approx(1 - 0.875 / 3)


@pytest.mark.parametrize("scenario", SCENARIOS)
def test_rate_is_reached_in_expectation_and_in_the_draw(scenario: str) -> None:
    noise = noise_of(scenario)
    assert isinstance(noise, PmdNoise)
    eta = posterior()
    ranks = np.argsort(-eta, axis=1, kind="stable")
    first, second = ranks[:, 0], ranks[:, 1]
    margin = np.sort(eta, axis=1)[:, -1] - np.sort(eta, axis=1)[:, -2]
    flip = noise.flip_probability(margin, first == LABELS, second == LABELS)
    assert ((flip >= 0) & (flip <= 1)).all()
    wrong = np.where(first == LABELS, flip, np.where(second == LABELS, 1 - flip, 1))
    assert wrong.mean() == pytest.approx(noise.rate, abs=1e-6)

    noisy = draw(scenario)
    assert float(np.mean(noisy != LABELS)) == pytest.approx(noise.rate, abs=5 / (4 * N) ** 0.5)
    assert ((noisy == first) | (noisy == second)).all()


def test_certain_samples_are_flipped_only_with_divided_keep() -> None:
    eta = posterior(errors=False)
    certain = np.arange(N) % 2 == 0
    eta[certain] = np.eye(K)[LABELS[certain]]
    paper, code = (draw(name, eta=eta) for name in ("pmd-2-0.35", "pmd-keep-2-0.7"))
    assert (paper[certain] == LABELS[certain]).all()
    assert 0 < np.mean(code[certain] != LABELS[certain]) < 0.7


def test_labels_have_their_golden_digests() -> None:
    for scenario, digest in (
        ("pmd-1-0.35", "82421808c9f56f0dd379daceaa6b156a546841820e319bd3fe07c019def9f582"),
        ("pmd-keep-3-0.7", "fccdda235ccfe9aa3415c5b309609dbd1bd2c90f38b0dd82d7ed4f66922f3097"),
    ):
        assert labels_digest(draw(scenario)) == digest


def test_draws_are_keyed_by_sample_and_seed() -> None:
    noise, eta = noise_of("pmd-2-0.35"), posterior()
    assert not np.array_equal(draw("pmd-2-0.35", seed=1), draw("pmd-2-0.35"))
    index = np.flatnonzero(np.arange(N) % 16 < 8)  # the same share of errors and margins
    part = noise.apply(NoiseContext(LABELS, index, K, posterior=eta[index]), 0)
    assert np.mean(part != draw("pmd-2-0.35")[index]) < 0.02  # another constant, the same draws


def test_rate_below_the_networks_error_is_refused() -> None:
    flat = np.full((N, K), 1 / K)
    with pytest.raises(DataError) as caught:
        draw("pmd-1-0.35", eta=flat)
    assert str(caught.value) == (
        "PMD I 35 %: this noise rate cannot be reached: 90.0 % of the network's likeliest classes "
        "are "
        "wrong, and with label flips the rate is 90.0 % at most: train the network longer "
        "(posterior.recipe.epochs), or choose another rate"
    )


def test_missing_class_probabilities_are_refused() -> None:
    with pytest.raises(DataError, match=r"the class probabilities of a network, .* are missing"):
        noise_of("pmd-1-0.35").apply(NoiseContext(LABELS, np.arange(N), K), 0)


def test_second_noise_is_applied_to_the_labels_of_the_first() -> None:
    base, hybrid = draw("pmd-1-0.35"), draw("pmd-1-0.35+symmetric-0.3")
    assert int((hybrid != base).sum()) == round(0.3 * N)
    wrong = float(np.mean(base != LABELS))
    # Of the right labels 30 % go wrong; of the wrong ones flipped, one in nine becomes right.
    expected = wrong + 0.3 * (1 - wrong) - 0.3 * wrong / 9
    assert float(np.mean(hybrid != LABELS)) == pytest.approx(expected, abs=0.02)


@pytest.mark.parametrize(
    ("scenario", "message"),
    [
        ("pmd-4-0.35", "scenario 'pmd-4-0.35': the type must be 1, 2 or 3, got '4'"),
        ("pmd-1-1.5", "scenario 'pmd-1-1.5': the rate must be above 0 and below 1, got '1.5'"),
        ("pmd-0.35", "unknown scenario 'pmd-0.35': did you mean 'pmd-TYPE-RATE'? known: "),
        (
            "clean+symmetric-0.3",
            "these two kinds of noise cannot be combined; before the + PMD noise",
        ),
        ("symmetric-official-0.2+symmetric-0.3", "these two kinds of noise cannot be combined"),
        ("symmetric-0.3+symmetric-0.3", "these two kinds of noise cannot be combined"),
        ("pmd-1-0.35+human-worse", "these two kinds of noise cannot be combined"),
    ],
)
def test_invalid_scenarios_are_refused(scenario: str, message: str) -> None:
    with pytest.raises(FieldError) as caught:
        noise_of(scenario)
    assert message in caught.value.message
