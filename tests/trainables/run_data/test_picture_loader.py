"""The loader of large pictures, compared with a plain loop."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch
from layouts import random_pixels
from PIL import Image
from torchvision.io import ImageReadMode, decode_image

from trainables.datasets.pictures import Pictures
from trainables.errors import DataError
from trainables.run.recipe import Recipe
from trainables.run.seeds import Seeds
from trainables.run_data.loaders import EpochDraws
from trainables.run_data.picture_loader import PictureLoader, decode_picture

if TYPE_CHECKING:
    from pathlib import Path

CPU = torch.device("cpu")
COUNT, CROP = 23, 24
SEEDS = Seeds.from_base_seed(0)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Return a folder of pictures of many sizes, some of them smaller than the crop."""
    for n in range(COUNT):
        picture = Image.fromarray(random_pixels(n, 20 + 3 * n, 60 - n))
        picture.save(tmp_path / f"{n:02d}.{'png' if n % 3 else 'jpg'}")
    return tmp_path


def loader_of(
    folder: Path,
    index: np.ndarray | None = None,
    resize: int | None = None,
    threads: int = 2,
    **options: str,
) -> PictureLoader:
    names = sorted(path.name.encode() for path in folder.iterdir())
    index = np.arange(len(names)) if index is None else index
    pictures = Pictures.from_names(folder, names, resize)
    return PictureLoader(pictures, index, index % 5, CPU, CROP, threads=threads, **options)  # type: ignore[arg-type]


def recipe(*augmentation: str, batch_size: int = 8, drop_last: bool = False) -> Recipe:
    return Recipe(
        1,
        batch_size,
        1.0,
        augmentation=augmentation,
        crop_size=CROP,
        drop_last=drop_last,
    )


def epoch_of(
    loader: PictureLoader, options: Recipe, epoch: int = 1
) -> list[tuple[torch.Tensor, torch.Tensor]]:
    draws = EpochDraws(loader.index, options, SEEDS, epoch)
    return list(loader.epoch_batches(draws, options.batch_size, drop_last=options.drop_last))


def images_of(loader: PictureLoader, options: Recipe, epoch: int = 1) -> dict[int, torch.Tensor]:
    """Return the image of each sample in an epoch by its position in the split, in order."""
    return {
        int(loader.index[position]): image
        for images, positions in epoch_of(loader, options, epoch)
        for image, position in zip(images, positions.tolist(), strict=True)
    }


@pytest.mark.parametrize("augmentation", [(), ("flip",), ("crop",), ("crop", "flip")])
@pytest.mark.parametrize("resize", [None, 32])
def test_images_equal_a_plain_loop(
    folder: Path, augmentation: tuple[str, ...], resize: int | None
) -> None:
    loader, options = loader_of(folder, resize=resize), recipe(*augmentation)
    draws = EpochDraws(loader.index, options, SEEDS, 1)
    actual = images_of(loader, options)

    assert list(actual) == draws.order.tolist()
    for n, path in enumerate(sorted(folder.iterdir())):
        image = decode_image(str(path), mode=ImageReadMode.RGB)
        short = min(image.shape[1:])
        target = max(resize or short, CROP)
        if short != target:
            size = [max(target, int(side * target / short)) for side in image.shape[1:]]
            image = torch.nn.functional.interpolate(
                image[None], size=size, mode="bilinear", antialias=True
            )[0]
        margins = [side - CROP for side in image.shape[1:]]
        if "crop" in augmentation:
            assert draws.crop is not None
            top, left = (int(u[n] * (r + 1)) for u, r in zip(draws.crop, margins, strict=True))
        else:
            top, left = (round(r / 2) for r in margins)
        image = image[:, top : top + CROP, left : left + CROP]
        if "flip" in augmentation:
            assert draws.flip is not None
            image = image.flip(2) if draws.flip[n] else image
        assert actual[n].dtype == torch.uint8
        assert torch.equal(actual[n], image), n


def test_threads_change_nothing(folder: Path) -> None:
    options = recipe("crop", "flip")
    single, four = (images_of(loader_of(folder, threads=t), options) for t in (1, 4))
    assert list(single) == list(four)
    assert all(torch.equal(single[n], four[n]) for n in single)


def test_draws_of_a_sample_do_not_depend_on_held_out_samples(folder: Path) -> None:
    options = recipe("crop", "flip")
    whole = images_of(loader_of(folder), options)
    subset = np.array([1, 4, 5, 11, 19])
    loader = images_of(loader_of(folder, subset), recipe("crop", "flip", batch_size=2))
    assert list(loader) == [n for n in whole if n in loader]
    assert all(torch.equal(loader[n], whole[n]) for n in loader)
    second = images_of(loader_of(folder), options, epoch=2)
    assert any(not torch.equal(second[n], whole[n]) for n in whole)


def test_batches_in_order_are_centre_crops(folder: Path) -> None:
    loader = loader_of(folder, np.arange(0, COUNT, 2))
    batches = list(loader.batches(5))
    assert [len(images) for images, _ in batches] == [5, 5, 2]
    assert torch.cat([p for _, p in batches]).tolist() == list(range(12))
    plain = images_of(loader, recipe())
    for images, positions in batches:
        for image, position in zip(images, positions.tolist(), strict=True):
            assert torch.equal(image, plain[2 * position])


def test_the_smaller_last_batch_can_be_dropped(folder: Path) -> None:
    assert [len(p) for _, p in epoch_of(loader_of(folder), recipe())] == [8, 8, 7]
    assert [len(p) for _, p in epoch_of(loader_of(folder), recipe(drop_last=True))] == [8, 8]


def test_grey_cmyk_and_palette_pictures_become_colours(tmp_path: Path) -> None:
    colour = Image.fromarray(random_pixels(3, 32, 40))
    for mode, name in (("L", "grey.jpg"), ("CMYK", "cmyk.jpg"), ("P", "palette.png")):
        converted = colour.convert(mode)
        converted.save(tmp_path / name)
        actual = decode_picture(str(tmp_path / name))
        assert tuple(actual.shape) == (3, 32, 40)
        with Image.open(tmp_path / name) as again:
            expected = np.asarray(again.convert("RGB"), dtype=int).transpose(2, 0, 1)
        assert np.abs(actual.numpy().astype(int) - expected).mean() < 8


def test_the_first_frame_of_an_animation_is_used(tmp_path: Path) -> None:
    frames = [Image.fromarray(random_pixels(number, 32, 40)) for number in (1, 2, 3)]
    for name, more in (("one.gif", []), ("three.gif", frames[1:])):
        frames[0].save(tmp_path / name, save_all=True, append_images=more)
    actual = decode_picture(str(tmp_path / "three.gif"))
    assert tuple(actual.shape) == (3, 32, 40)
    assert torch.equal(actual, decode_picture(str(tmp_path / "one.gif")))


@pytest.mark.parametrize("content", ["empty", "text", "cut", "deep"])
def test_unreadable_pictures_are_refused_or_skipped(content: str, folder: Path) -> None:
    path = folder / "04.png"
    if content == "deep":
        Image.fromarray(np.full((30, 30), 40_000, dtype=np.uint16)).save(path)
    else:
        whole = path.read_bytes()
        path.write_bytes({"empty": b"", "text": b"no picture", "cut": whole[:60]}[content])

    with pytest.raises(DataError, match=str(path)) as caught:
        epoch_of(loader_of(folder), recipe())
    assert "\n" not in str(caught.value)

    loader = loader_of(folder, unreadable_policy="skip")
    actual = images_of(loader, recipe("crop"))
    assert 4 not in actual
    assert len(actual) == COUNT - 1
    assert loader.unreadable_positions == [4]
    assert [len(p) for _, p in loader.batches(10)] == [9, 10, 3]


def test_a_missing_picture_is_named(folder: Path) -> None:
    loader = loader_of(folder)
    (folder / "07.png").unlink()
    with pytest.raises(DataError, match=r"07\.png"):
        list(loader.batches(4))


def test_an_abandoned_iteration_ends_its_threads(folder: Path) -> None:
    import threading

    batches = loader_of(folder).batches(2)
    next(batches)
    batches.close()  # type: ignore[attr-defined]
    assert not [t for t in threading.enumerate() if t.name.startswith("decoder") and t.is_alive()]
