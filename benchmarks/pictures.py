"""How fast large pictures are read, and how much an index of a million of them takes.

Two things are measured. *Images per second*: this project's threads against the pattern that most
training code has, a `DataLoader` whose workers open files with Pillow and transform them one by
one; the same files, crops of the same size, as many workers as threads, in turns. *Index*: seconds
and peak memory of a process that reads Clothing1M's lists and looks up each file.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING

import numpy as np
import torch
from machine import keep
from PIL import Image
from torch.utils.data import DataLoader
from torch.utils.data import Dataset as TorchDataset
from torchvision import transforms

from trainables.datasets import clothing1m
from trainables.datasets.pictures import Pictures
from trainables.run.recipe import Recipe
from trainables.run.seeds import Seeds
from trainables.run_data.loaders import EpochDraws, Normalise
from trainables.run_data.picture_loader import PictureLoader

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

WIDTH, HEIGHT, CROP, BATCH = 340, 256, 227, 32
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
KEYS = 1000
"""Files in one folder of the made-up index."""


class Usual(TorchDataset[tuple[torch.Tensor, int]]):
    """The pattern of most training code."""

    def __init__(self, paths: list[str]) -> None:
        self.paths = paths
        self.transform = transforms.Compose(
            [
                transforms.RandomCrop(CROP),
                transforms.RandomHorizontalFlip(),
                transforms.ToTensor(),
                transforms.Normalize(MEAN, STD),
            ]
        )

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, position: int) -> tuple[torch.Tensor, int]:
        with Image.open(self.paths[position]) as picture:
            return self.transform(picture.convert("RGB")), position


def write_pictures(folder: Path, count: int) -> list[str]:
    """Write JPEGs of the size that WebVision's small release has, with detail at all scales."""
    random = np.random.Generator(np.random.Philox(0))
    names = []
    for number in range(count):
        pixels = np.zeros((HEIGHT, WIDTH, 3))
        for scale in (4, 16, 64):
            small = random.normal(0, 128 / scale**0.5, (-(-HEIGHT // scale), -(-WIDTH // scale), 3))
            pixels += np.kron(small, np.ones((scale, scale, 1)))[:HEIGHT, :WIDTH]
        names.append(f"{number:06d}.jpg")
        picture = Image.fromarray(np.clip(pixels + 128, 0, 255).astype(np.uint8))
        picture.save(folder / names[-1], quality=90)
    return names


def rate(batches: Iterable[torch.Tensor]) -> float:
    """Return images per second of one pass, from its first batch on: who reads has begun then."""
    rest = iter(batches)
    next(rest)
    begun, seen = time.perf_counter(), 0
    for images in rest:
        seen += len(images)
    return seen / (time.perf_counter() - begun)


def ours(folder: Path, names: list[str], threads: int, epoch: int) -> Iterator[torch.Tensor]:
    """Yield the batches of an epoch, as training takes them."""
    index = np.arange(len(names))
    pictures = Pictures.of(folder, [name.encode() for name in names])
    part = PictureLoader(pictures, index, index, torch.device("cpu"), CROP, threads=threads)
    recipe = Recipe(1, BATCH, 1.0, augmentation=("crop", "flip"), crop_size=CROP)
    normalise = Normalise(MEAN, STD, torch.device("cpu"))
    draws = EpochDraws(index, recipe, Seeds.same(0), epoch)
    for images, _ in part.epoch(draws, BATCH, drop_last=False):
        yield normalise(images)


def usual(folder: Path, names: list[str], workers: int) -> Iterator[torch.Tensor]:
    """Yield the batches of an epoch of the usual pattern."""
    dataset = Usual([f"{folder}/{name}" for name in names])
    for images, _ in DataLoader(dataset, BATCH, shuffle=True, num_workers=workers):
        yield images


def measure_rates(count: int, rounds: int) -> dict[str, object]:
    """Compare both in turns."""
    workers = os.cpu_count() or 1
    torch.set_num_threads(1)
    found: dict[str, list[float]] = {"usual": [], "ours": []}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        names = write_pictures(folder, count)
        size = sum((folder / name).stat().st_size for name in names) / count
        for turn in range(rounds + 1):
            one = rate(usual(folder, names, workers))
            other = rate(ours(folder, names, workers, turn + 1))
            if turn:  # the first one warms the file cache
                found["usual"].append(one)
                found["ours"].append(other)
    ratios = [b / a for a, b in zip(found["usual"], found["ours"], strict=True)]
    return {
        "pictures": f"{count} JPEGs, {WIDTH}×{HEIGHT}, {size / 1000:.0f} kB each",
        "threads, or workers": workers,
        "Pillow in a DataLoader, images/s, median": round(median(found["usual"])),
        "images/s, median": round(median(found["ours"])),
        f"times as fast, {rounds} pairs": [round(ratio, 2) for ratio in ratios],
        "times as fast, median": round(median(ratios), 2),
    }


def write_index(root: Path, lines: int) -> None:
    """Write Clothing1M's lists, and empty files that they name."""
    folder = root / clothing1m.FOLDER
    keys = []
    for first in range(0, lines, KEYS):
        place = f"images/{first // KEYS % 10}/{first // KEYS // 10:03d}"
        (folder / place).mkdir(parents=True)
        for number in range(first, min(first + KEYS, lines)):
            key = f"{place}/{number:010d}_{number * 7919 % lines:08d}.jpg"
            os.close(os.open(folder / key, os.O_CREAT))
            keys.append(key)
    labelled = "".join(f"{key} {n % 14}\n" for n, key in enumerate(keys))
    (folder / clothing1m.NAMES).write_text("".join(f"class {n}\n" for n in range(14)))
    (folder / clothing1m.NOISY_LABELS).write_text(labelled)
    (folder / clothing1m.CLEAN_LABELS).write_text(labelled)
    for split, (file, _) in clothing1m.SPLITS.items():
        chosen = keys if split == "train" else keys[:: max(1, lines // 10_000)]
        (folder / file).write_text("".join(f"{key}\n" for key in chosen))


_READ = """
import json, sys, time
from pathlib import Path
from trainables.datasets.clothing1m import Clothing1M
lines, others = int(sys.argv[2]), int(sys.argv[3])
begun = time.perf_counter()
class Small(Clothing1M):
    train_size, validation_size, test_size = lines, others, others
dataset = Small().read(Path(sys.argv[1]))
seconds = time.perf_counter() - begun
# Not getrusage: its peak is handed down from the process that started this one.
(peak,) = [line.split()[1] for line in open("/proc/self/status") if line.startswith("VmHWM")]
memory = int(peak) * 1024 / 1e6
print(json.dumps({"lines": len(dataset.train), "seconds": seconds, "peak_memory_mb": memory}))
"""


def measure_index(lines: int) -> dict[str, object]:
    """Read an index in a process of its own."""
    root = Path(tempfile.mkdtemp())
    try:
        write_index(root, lines)
        others = len(range(0, lines, max(1, lines // 10_000)))
        done = subprocess.run(
            [sys.executable, "-c", _READ, str(root), str(lines), str(others)],
            capture_output=True,
            text=True,
            check=True,
        )
    finally:
        shutil.rmtree(root)
    found: dict[str, object] = json.loads(done.stdout)
    return found


def main() -> None:
    """Measure, and keep what was found."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0] if __doc__ else "")
    parser.add_argument("--pictures", type=int, default=2000)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--lines", type=int, default=1_000_000)
    asked = parser.parse_args()
    index = measure_index(asked.lines)
    numbers = {f"index: {name}": value for name, value in index.items()}
    reading = measure_rates(asked.pictures, asked.rounds)
    numbers |= {f"reading: {name}": value for name, value in reading.items()}
    keep("pictures", numbers, ("torch", "torchvision", "pillow", "numpy"))


if __name__ == "__main__":
    main()
