from __future__ import annotations

import numpy as np
import pytest
import torch

from trainables.run.recipe import Recipe
from trainables.run.seeds import Seeds
from trainables.run_data.loaders import (
    ArrayLoader,
    EpochDraws,
    Normalise,
    channel_statistics,
    crop_and_flip,
)

CPU = torch.device("cpu")
SEEDS = Seeds.from_base_seed(0)


def pictures(count: int, channels: int = 3, height: int = 6, width: int = 9) -> np.ndarray:
    random = np.random.Generator(np.random.Philox(count))
    return random.integers(0, 256, (count, channels, height, width), dtype=np.uint8)


def recipe(*augmentation: str, batch_size: int = 64, crop_padding: int = 4) -> Recipe:
    return Recipe(
        epochs=1,
        batch_size=batch_size,
        learning_rate=1.0,
        augmentation=augmentation,
        crop_padding=crop_padding,
    )


def loader_of(images: np.ndarray, index: np.ndarray) -> ArrayLoader:
    return ArrayLoader(images, index, index % 10, CPU)


def epoch_of(
    loader: ArrayLoader, recipe: Recipe, seeds: Seeds = SEEDS, epoch: int = 1
) -> list[tuple[torch.Tensor, torch.Tensor]]:
    """Return the batches of an epoch."""
    draws = EpochDraws(loader.index, recipe, seeds, epoch)
    return list(loader.epoch_batches(draws, recipe.batch_size, drop_last=recipe.drop_last))


def images_of(loader: ArrayLoader, recipe: Recipe, epoch: int = 1) -> dict[int, torch.Tensor]:
    """Return the image of each sample in an epoch by its position in the split, in order."""
    return {
        int(loader.index[position]): image
        for images, positions in epoch_of(loader, recipe, epoch=epoch)
        for image, position in zip(images, positions.tolist(), strict=True)
    }


def test_channel_statistics_equal_numpy() -> None:
    images = pictures(200)
    images[:, 2] = 7  # the mean of 7/255 differs from it by rounding
    index = np.arange(0, 200, 3)
    mean, std = channel_statistics(images, index)

    scaled = images[index] / 255
    np.testing.assert_allclose(mean, scaled.mean(axis=(0, 2, 3)), rtol=1e-12)
    np.testing.assert_allclose(std[:2], scaled.std(axis=(0, 2, 3))[:2], rtol=1e-12)
    assert std[2] == 1.0
    normalised = Normalise(mean, std, CPU)(torch.from_numpy(images[index]))
    assert normalised.isfinite().all()
    assert normalised.mean(dim=(0, 2, 3)).abs().max() < 1e-5


def test_normalising_is_subtracting_and_dividing() -> None:
    images = pictures(4)
    mean, std = (0.4914, 0.4822, 0.4465), (0.2023, 0.1994, 0.2010)
    actual = Normalise(mean, std, CPU)(torch.from_numpy(images))

    expected = (images / 255 - np.reshape(mean, (3, 1, 1))) / np.reshape(std, (3, 1, 1))
    assert actual.dtype == torch.float32
    np.testing.assert_allclose(actual.numpy(), expected, atol=2e-6)


@pytest.mark.parametrize("padding", [0, 4, 8])
def test_crops_and_flips_equal_a_plain_loop(padding: int) -> None:
    count, height, width = 300, 6, 9
    images = pictures(count, 2, height, width)
    random = np.random.Generator(np.random.Philox(1))
    top, left = random.integers(0, 2 * padding + 1, (2, count))
    flip = random.random(count) < 0.5
    actual = crop_and_flip(
        torch.from_numpy(images),
        torch.from_numpy(top),
        torch.from_numpy(left),
        torch.from_numpy(flip),
        padding,
    )

    for i in range(count):
        padded = np.pad(images[i], ((0, 0), (padding, padding), (padding, padding)))
        cropped = padded[:, top[i] : top[i] + height, left[i] : left[i] + width]
        np.testing.assert_array_equal(
            actual[i].numpy(), cropped[:, :, ::-1] if flip[i] else cropped
        )
    assert actual.dtype == torch.uint8


@pytest.mark.parametrize("augmentation", [(), ("crop",), ("flip",), ("crop", "flip")])
def test_an_epoch_shows_each_sample_once(augmentation: tuple[str, ...]) -> None:
    images = pictures(150)
    index = np.arange(150)[::2]
    loader = loader_of(images, index)
    batches = epoch_of(loader, recipe(*augmentation, batch_size=32))

    assert [len(positions) for _, positions in batches] == [32, 32, 11]
    positions = torch.cat([positions for _, positions in batches])
    assert sorted(positions.tolist()) == list(range(75))
    assert positions.tolist() != list(range(75))
    torch.testing.assert_close(loader.labels[positions], torch.from_numpy(index)[positions] % 10)
    if not augmentation:
        images_by_sample = torch.cat([images_by_sample for images_by_sample, _ in batches])
        assert torch.equal(images_by_sample, torch.from_numpy(images[index])[positions])


def test_draws_of_a_sample_do_not_depend_on_held_out_samples() -> None:
    images = pictures(400)
    whole = images_of(loader_of(images, np.arange(400)), recipe("crop", "flip"))
    subset = np.sort(np.random.Generator(np.random.Philox(3)).permutation(400)[:250])
    loader = images_of(loader_of(images, subset), recipe("crop", "flip", batch_size=7))

    assert set(loader) == set(subset.tolist())
    for sample, image in loader.items():
        assert torch.equal(image, whole[sample])
    assert list(loader) == [sample for sample in whole if sample in loader]


def test_epochs_and_axes_draw_independently() -> None:
    loader = loader_of(pictures(400), np.arange(400))
    first, second = (images_of(loader, recipe("crop", "flip"), epoch) for epoch in (1, 2))

    assert list(first) != list(second)
    changed = sum(not torch.equal(first[i], second[i]) for i in range(400))
    assert changed > 380  # 1 of 162 draws is the same by chance
    other = epoch_of(loader, recipe("crop", "flip"), Seeds.from_base_seed(0, augment=1))
    order = torch.cat([positions for _, positions in other]).tolist()
    assert order == list(first)


def test_crops_reach_every_corner_and_half_are_flipped() -> None:
    count = 8100
    images = np.zeros((count, 1, 9, 9), np.uint8)
    images[:, 0, 4, 3] = 1  # off-centre, so that a flip is visible
    images_by_sample = images_of(loader_of(images, np.arange(count)), recipe("flip"))
    flipped = int(torch.stack(list(images_by_sample.values()))[:, 0, 4, 5].sum())
    assert flipped == pytest.approx(count / 2, abs=5 * (count / 4) ** 0.5)

    images[:, 0, 4, 3], images[:, 0, 4, 4] = 0, 1
    images_by_sample = images_of(loader_of(images, np.arange(count)), recipe("crop"))
    landed = torch.stack(list(images_by_sample.values())).double().sum(dim=0)[0]
    assert landed.shape == (9, 9)  # shifts of -4..4 move the centre to every pixel
    assert (landed - 100).abs().max() < 5 * 100**0.5


def test_the_padding_of_crops_is_that_of_the_recipe() -> None:
    images = np.zeros((4000, 1, 3, 3), np.uint8)
    images[:, 0, 1, 1] = 1
    loader = loader_of(images, np.arange(4000))
    for padding, shifts in ((0, 1), (1, 9), (8, 17**2)):
        shown = torch.stack(list(images_of(loader, recipe("crop", crop_padding=padding)).values()))
        # Shifts by at most one pixel keep the bright pixel in the image.
        kept_fraction = min(9, shifts) / shifts
        assert float(shown.sum()) / 4000 == pytest.approx(kept_fraction, abs=0.02)


def test_batches_in_order() -> None:
    images = pictures(10)
    index = np.array([1, 4, 5, 9])
    (a, first), (b, second) = loader_of(images, index).batches(3)

    np.testing.assert_array_equal(torch.cat([a, b]).numpy(), images[index])
    assert [*first.tolist(), *second.tolist()] == [0, 1, 2, 3]


def test_the_smaller_last_batch_can_be_dropped() -> None:
    loader = loader_of(pictures(150), np.arange(150))
    drop = Recipe(epochs=1, batch_size=64, learning_rate=1.0, drop_last=True)
    whole, cropped = epoch_of(loader, recipe()), epoch_of(loader, drop)

    assert [len(positions) for _, positions in cropped] == [64, 64]
    assert all(torch.equal(a, b) for (_, a), (_, b) in zip(whole[:2], cropped, strict=True))
