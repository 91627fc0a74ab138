"""The public code's draw: golden hashes, and a transcription of its sampler."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING

import numpy as np
import pytest

from trainables.errors import DataError, FieldError
from trainables.noise import NoiseContext, noise_of
from trainables.run_data.realisation import labels_digest

if TYPE_CHECKING:
    from numpy.typing import NDArray

N = 50_000
NAMES = {10: "cifar10", 100: "cifar100"}

# Labels i mod K. First 16 hexadecimal digits of the SHA-256, and the true rate.
GOLDEN = [
    (10, "symmetric-official-0.2", 0.17940, "0ff08c4c7bb39937"),
    (10, "symmetric-official-0.4", 0.35920, "c5ccb527e3899541"),
    (10, "symmetric-official-0.6", 0.53854, "a1d6b6ffe519b1e3"),
    (10, "symmetric-official-0.8", 0.71920, "8f13c5e594eb08cd"),
    (10, "asymmetric-official-0.4", 0.19834, "e5f72ab65b0630a4"),
    (100, "symmetric-official-0.2", 0.19808, "f19adbdbe16c89ae"),
    (100, "symmetric-official-0.4", 0.39612, "cae99f2130b155f6"),
    (100, "symmetric-official-0.6", 0.59398, "73d90ab0914c1a29"),
    (100, "symmetric-official-0.8", 0.79248, "f8b36f0e02ba3a61"),
    (100, "asymmetric-official-0.4", 0.40000, "5d0a1b22e8d90a36"),
]


def draw(scenario: str, classes: int, seed: int = 0) -> NDArray[np.int64]:
    context = NoiseContext(np.arange(N) % classes, np.arange(N), classes, NAMES[classes])
    return noise_of(scenario).apply(context, seed)


@pytest.mark.parametrize(("classes", "scenario", "rate", "digest"), GOLDEN)
def test_golden_draws(classes: int, scenario: str, rate: float, digest: str) -> None:
    noisy = draw(scenario, classes)
    assert labels_digest(noisy)[:16] == digest
    assert float(np.mean(noisy != np.arange(N) % classes)) == pytest.approx(rate, abs=1e-9)


def test_draw_matches_a_transcription_of_the_public_code() -> None:
    """Visit all positions in order and draw for those among the first int(rN) shuffled ones."""
    labels = np.random.Generator(np.random.Philox(1)).integers(0, 10, 997)
    stream = random.Random(345)  # noqa: S311 - the public code's stream
    positions = list(range(997))
    stream.shuffle(positions)
    chosen = set(positions[: int(0.35 * 997)])
    expected = [stream.randint(0, 9) if i in chosen else int(labels[i]) for i in range(997)]

    context = NoiseContext(labels, np.arange(997), 10, "cifar10")
    assert noise_of("symmetric-official-0.35").apply(context, 0).tolist() == expected


def test_one_draw_for_all_seeds_and_subsets() -> None:
    whole = draw("symmetric-official-0.4", 10)
    np.testing.assert_array_equal(draw("symmetric-official-0.4", 10, seed=9), whole)
    index = np.arange(3, N, 7)
    part = noise_of("symmetric-official-0.4").apply(
        NoiseContext(np.arange(N) % 10, index, 10, "cifar10"), 0
    )
    np.testing.assert_array_equal(part, whole[index])
    assert noise_of("symmetric-official-0.4").is_seed_independent
    assert not noise_of("symmetric-0.4").is_seed_independent


def test_asymmetric_noise_needs_a_class_map() -> None:
    from trainables.datasets import source_of

    noise_of("symmetric-official-0.4").check(source_of("digits"))
    noise_of("asymmetric-official-0.4").check(source_of("cifar100"))
    with pytest.raises(FieldError, match="are defined for cifar10 and cifar100 only"):
        noise_of("asymmetric-official-0.4").check(source_of("digits"))


def test_class_folder_order_of_an_archive_dataset_is_refused() -> None:
    labels = np.repeat(np.arange(10), 20)
    noise = noise_of("symmetric-official-0.4")
    with pytest.raises(DataError, match="the images in the order of cifar10's archive, not"):
        noise.apply(NoiseContext(labels, np.arange(200), 10, "cifar10"), 0)
    assert len(noise.apply(NoiseContext(labels, np.arange(200), 10, "folder"), 0)) == 200
