from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest

from trainables.datasets import source_of
from trainables.errors import FieldError
from trainables.noise import NoiseContext, noise_of
from trainables.noise.asymmetric import (
    CIFAR10_FLIPS,
    CIFAR100_SUPERCLASSES,
    block_map,
    cifar10_map,
    superclass_map,
)
from trainables.run_data.realisation import Realisation, labels_digest

if TYPE_CHECKING:
    from numpy.typing import NDArray

N = 50_000
INDEX = np.arange(N)

# fmt: off
NEXT_IN_SUPERCLASS = [
    51, 32, 11, 42, 30, 20, 7, 14, 13, 10, 16, 35, 17, 48, 18, 19, 28, 37, 24, 21,
    25, 31, 39, 33, 6, 84, 45, 29, 61, 44, 55, 38, 67, 49, 63, 46, 50, 68, 15, 40,
    86, 69, 43, 88, 78, 77, 98, 52, 58, 60, 65, 53, 56, 57, 62, 72, 59, 83, 90, 96,
    71, 9, 70, 64, 66, 74, 75, 73, 76, 81, 82, 23, 95, 91, 80, 34, 12, 79, 93, 99,
    36, 85, 92, 0, 94, 89, 87, 22, 97, 41, 8, 1, 54, 27, 5, 4, 47, 3, 2, 26,
]
# fmt: on

# Labels i mod K, drawn with seed 0. They may never change: a recorded run's labels are these.
GOLDEN = {
    (10, "asymmetric-0.4"): "4247e032c86b06b306054d626e437b1be5c15d2dd065166e3b73a077ed9b813d",
    (10, "asymmetric-each-0.4"): "7b476b298066fe460d3c038f451ee03e8a673691e4bd7045096c128288d4ee5f",
    (100, "asymmetric-0.4"): "f033627491fa01b5812e8035f4268bcc4484c167d3758799b9959d641653a52d",
    (
        100,
        "asymmetric-superclass-0.4",
    ): "816dd287129563ef822a7eb7f41a431d052142ff2001adb3abded885b13d7144",
}


def draw(scenario: str, classes: int, seed: int = 0) -> Realisation:
    true = INDEX % classes
    context = NoiseContext(true, INDEX, classes, {10: "cifar10", 100: "cifar100"}[classes])
    return Realisation(INDEX, true, noise_of(scenario).apply(context, seed), classes)


@pytest.mark.parametrize(("classes", "scenario"), GOLDEN)
def test_labels_have_their_golden_digests(classes: int, scenario: str) -> None:
    assert labels_digest(draw(scenario, classes).noisy_labels) == GOLDEN[classes, scenario]


def test_exact_rate_in_each_affected_class_of_cifar10() -> None:
    realisation = draw("asymmetric-0.4", 10)
    expected = np.eye(10)
    for source, wrong in {9: 1, 2: 0, 3: 5, 5: 3, 4: 7}.items():
        expected[source, source], expected[source, wrong] = 0.6, 0.4
    np.testing.assert_allclose(realisation.transition, expected, atol=1e-12)
    assert realisation.flip_rate == 0.2
    assert noise_of("asymmetric-0.4").nominal_rate == 0.4


@pytest.mark.parametrize("scenario", ["asymmetric-0.4", "asymmetric-superclass-0.4"])
def test_each_class_of_cifar100_has_one_target(scenario: str) -> None:
    target = superclass_map() if "superclass" in scenario else block_map()
    realisation = draw(scenario, 100)
    expected = 0.6 * np.eye(100)
    expected[np.arange(100), target] += 0.4
    np.testing.assert_allclose(realisation.transition, expected, atol=1e-12)


def test_counts_are_rounded_by_class() -> None:
    true = np.repeat(np.arange(10), 7)
    noisy = noise_of("asymmetric-0.4").apply(NoiseContext(true, np.arange(70), 10, "cifar10"), 3)
    for label in range(10):
        flipped = int((noisy[true == label] != label).sum())
        assert flipped == (round(0.4 * 7) if label in CIFAR10_FLIPS else 0)


def test_per_sample_counts_are_random() -> None:
    true, noisy = INDEX % 10, draw("asymmetric-each-0.4", 10).noisy_labels
    counts = [int((noisy[true == label] != label).sum()) for label in range(10)]
    for label, count in enumerate(counts):
        if label in CIFAR10_FLIPS:
            assert count == pytest.approx(2000, abs=5 * (5000 * 0.24) ** 0.5)
        else:
            assert count == 0
    assert any(count not in (0, 2000) for count in counts)


def test_a_lower_rate_flips_a_subset_of_a_higher_one() -> None:
    low, high = (draw(f"asymmetric-0.{n}", 100) for n in (2, 4))
    flipped = low.noisy_labels != low.true_labels
    assert (high.noisy_labels[flipped] == low.noisy_labels[flipped]).all()


def test_per_sample_draws_do_not_depend_on_the_subset() -> None:
    whole = draw("asymmetric-each-0.4", 10).noisy_labels
    index = np.arange(0, N, 3)
    context = NoiseContext(INDEX % 10, index, 10, "cifar10")
    np.testing.assert_array_equal(noise_of("asymmetric-each-0.4").apply(context, 0), whole[index])


def test_class_maps() -> None:
    assert cifar10_map().tolist() == [0, 1, 0, 5, 7, 3, 6, 7, 8, 1]
    assert superclass_map().tolist() == NEXT_IN_SUPERCLASS
    superclass: NDArray[np.int64] = np.array(CIFAR100_SUPERCLASSES)
    assert np.bincount(superclass).tolist() == [5] * 20
    assert (superclass[superclass_map()] == superclass).all()
    blocks = block_map()
    assert blocks[:6].tolist() == [1, 2, 3, 4, 0, 6]
    same = np.flatnonzero(superclass[blocks] == superclass)
    pairs = [(int(i), int(blocks[i])) for i in same]
    assert pairs == [(6, 7), (19, 15), (42, 43), (63, 64), (86, 87), (89, 85)]


def test_dataset_without_a_class_map_is_refused() -> None:
    for scenario, name in (("asymmetric-0.4", "digits"), ("asymmetric-0.4", "folder")):
        with pytest.raises(FieldError) as caught:
            noise_of(scenario).check(source_of(name))
        assert caught.value.message == (
            "asymmetric noise: target classes are defined for cifar10 and cifar100 only, not for "
            f"'{name}': use symmetric noise"
        )
    with pytest.raises(FieldError, match="superclasses are defined for cifar100 only"):
        noise_of("asymmetric-superclass-0.4").check(source_of("cifar10"))
    noise_of("asymmetric-0.4").check(source_of("cifar10n"))
    noise_of("asymmetric-superclass-0.4").check(source_of("cifar100n"))
