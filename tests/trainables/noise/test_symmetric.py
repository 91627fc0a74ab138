from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np
import pytest

from trainables.errors import FieldError
from trainables.noise import NOISE_KINDS, NoiseContext, noise_of
from trainables.noise.clean import CleanLabels
from trainables.noise.symmetric import SymmetricNoise
from trainables.run_data.realisation import Realisation, labels_digest

if TYPE_CHECKING:
    from numpy.typing import NDArray

N = 50_000
INDEX = np.arange(N)
RATES = (0.2, 0.4, 0.6, 0.8)

# Labels i mod 10, drawn with seed 0. They may never change: a recorded run's labels are these.
GOLDEN = {
    "clean": "3a310c46fa740744d9c9f4bf8738fb04411506474d597a217558f33546ec7aad",
    "symmetric-0.2": "bd862206ed7e1472b409df296d070aea02c233a5b6699d9e3863422dbd64224b",
    "symmetric-0.4": "c29de42a6f81057d54c99d8d9a19ced0e557ecc884492551a95efb5d9397ebe2",
    "symmetric-0.8": "cc07f0afe4e08d9f241993a1201db8c12ec0468c22b112c9e35de002f2384095",
    "symmetric-incl-0.4": "6b06ec5afea69053f1246b590c33e8ddf4baffdff2d037dba7450a05b3f6a0e9",
}


def draw(scenario: str, classes: int = 10, seed: int = 0) -> Realisation:
    true = INDEX % classes
    noisy = noise_of(scenario).apply(NoiseContext(true, INDEX, classes), seed)
    return Realisation(INDEX, true, noisy, classes)


def assert_drawn_from(expected: NDArray[np.float64], realisation: Realisation) -> None:
    """Assert that Pearson's χ² of the counts is within five deviations of its expectation."""
    classes = realisation.class_count
    observed = np.array(realisation.transition)
    chi_squared = (N / classes * (observed - expected) ** 2 / expected).sum()
    freedom = classes * (classes - 1)
    assert chi_squared / freedom == pytest.approx(1, abs=5 * np.sqrt(3 / freedom))


@pytest.mark.parametrize("scenario", GOLDEN)
def test_labels_have_their_golden_digests(scenario: str) -> None:
    assert labels_digest(draw(scenario).noisy_labels) == GOLDEN[scenario]


@pytest.mark.parametrize("classes", [10, 100])
@pytest.mark.parametrize("rate", RATES)
def test_exact_rate_is_flipped_to_other_classes(rate: float, classes: int) -> None:
    realisation = draw(f"symmetric-{rate}", classes)

    assert int((realisation.noisy_labels != realisation.true_labels).sum()) == round(rate * N)
    expected = np.full((classes, classes), rate / (classes - 1))
    np.fill_diagonal(expected, 1 - rate)
    assert_drawn_from(expected, realisation)


@pytest.mark.parametrize("classes", [10, 100])
@pytest.mark.parametrize("rate", RATES)
def test_true_rate_if_the_true_class_is_included(rate: float, classes: int) -> None:
    realisation = draw(f"symmetric-incl-{rate}", classes)

    effective = rate * (classes - 1) / classes
    drawn_anew = round(rate * N)
    spread = np.sqrt(drawn_anew * (1 - 1 / classes) / classes) / N
    assert realisation.flip_rate == pytest.approx(effective, abs=5 * spread)
    assert realisation.flip_rate < rate
    expected = np.full((classes, classes), rate / classes)
    np.fill_diagonal(expected, 1 - rate + rate / classes)
    assert_drawn_from(expected, realisation)


@pytest.mark.parametrize("kind", ["symmetric", "symmetric-incl"])
def test_a_higher_rate_flips_a_superset_of_a_lower_one(kind: str) -> None:
    levels = [draw(f"{kind}-{rate}") for rate in RATES]
    for low, high in pairwise(levels):
        flipped = low.noisy_labels != low.true_labels
        np.testing.assert_array_equal(high.noisy_labels[flipped], low.noisy_labels[flipped])
        assert high.flip_rate > low.flip_rate


def test_both_conventions_select_the_same_samples() -> None:
    other, anyone = draw("symmetric-0.4"), draw("symmetric-incl-0.4")
    assert not (
        (anyone.noisy_labels != anyone.true_labels) & (other.noisy_labels == other.true_labels)
    ).any()


def test_draws_are_keyed_by_the_sample() -> None:
    noise = noise_of("symmetric-0.4")
    true = INDEX % 10
    whole = noise.apply(NoiseContext(true, INDEX, 10), 0)
    index = np.sort(np.random.Generator(np.random.Philox(1)).permutation(N)[:1000])
    part = noise.apply(NoiseContext(true, index, 10), 0)

    assert int((part != true[index]).sum()) == 400
    both = (part != true[index]) & (whole[index] != true[index])
    assert both.sum() > 350
    np.testing.assert_array_equal(part[both], whole[index][both])
    shuffled = index[::-1].copy()
    np.testing.assert_array_equal(noise.apply(NoiseContext(true, shuffled, 10), 0), part[::-1])


def test_seeds_differ_and_true_labels_are_unchanged() -> None:
    true = INDEX % 10
    before = true.copy()
    first = noise_of("symmetric-0.4").apply(NoiseContext(true, INDEX, 10), 0)
    second = noise_of("symmetric-0.4").apply(NoiseContext(true, INDEX, 10), 1)

    np.testing.assert_array_equal(true, before)
    # Where two draws at 40 % agree: neither flips, .36, or both do, to the same class, .16/9.
    assert np.mean(first == second) == pytest.approx(0.36 + 0.16 / 9, abs=0.012)


def test_two_classes() -> None:
    realisation = draw("symmetric-0.4", classes=2)
    assert realisation.flip_rate == 0.4
    assert set(np.unique(realisation.noisy_labels)) == {0, 1}


def test_parse_of_scenario_names() -> None:
    assert noise_of("symmetric-0.4") == SymmetricNoise(0.4, include_true_class=False)
    assert noise_of("symmetric-incl-0.45") == SymmetricNoise(0.45, include_true_class=True)
    assert isinstance(noise_of("clean"), CleanLabels)
    assert noise_of("symmetric-0.4").title == "symmetric 40 %"
    assert noise_of("symmetric-incl-0.45").title == "symmetric 45 % incl. true class"
    assert noise_of("clean").title == "clean"


@pytest.mark.parametrize(
    ("scenario", "message"),
    [
        (
            "symmetrical-0.4",
            r"unknown scenario 'symmetrical-0.4': did you mean 'symmetric-RATE'\? known: ",
        ),
        ("", "unknown scenario ''"),
        ("clean-0.1", "unknown scenario"),
        *(
            (f"symmetric-{rate}", rf"the rate must be above 0 and below 1, got '{rate}'")
            for rate in ("0", "1", "1.2", "nan", "many", "")
        ),
        ("symmetric--0.4", "unknown scenario"),
        ("symmetric-0.40", "write the rate as '0.4'"),
        ("symmetric-.4", "write the rate as '0.4'"),
        ("symmetric-incl-4e-1", "unknown scenario"),
    ],
)
def test_unknown_scenarios_are_refused(scenario: str, message: str) -> None:
    with pytest.raises(FieldError, match=message) as caught:
        noise_of(scenario)
    assert caught.value.field == "scenario"


def test_every_kind_has_forms() -> None:
    assert all(kind.name_forms for kind in NOISE_KINDS)
