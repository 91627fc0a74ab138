"""Benchmark of reading large pictures, and of indexing a million of them.

Two things are measured:

*Images per second* of this project's loader, which uses threads, and of a `DataLoader` as most
training code uses it: its worker processes open files with Pillow and transform them one by one.
Both read the same files and cut crops of the same size, with the same number of threads or workers,
in alternation.

*Index*: seconds and peak memory of a process that reads the file lists of Clothing1M and looks up
each file.
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
from machine import save_numbers
from PIL import Image
from torch.utils.data import DataLoader
from torch.utils.data import Dataset as TorchDataset
from torchvision import transforms

from trainables.cpus import usable_cpu_count
from trainables.datasets import clothing1m
from trainables.datasets.pictures import Pictures
from trainables.run.recipe import Recipe
from trainables.run.seeds import Seeds
from trainables.run_data.loaders import EpochDraws, Normalise
from trainables.run_data.picture_loader import PictureLoader

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

WIDTH, HEIGHT, CROP, BATCH = 340, 256, 227, 32
"""Size of the pictures and of the crops in pixels, and number of pictures in a batch."""
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
"""Mean and standard deviation of each channel, for the normalisation."""
FILES_PER_FOLDER = 1000
"""Number of files in each folder of the generated picture files."""


class PillowDataset(TorchDataset[tuple[torch.Tensor, int]]):
    """Dataset of picture files read with Pillow and torchvision, as in most training code."""

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
    """Write random JPEG files of the size of WebVision's small release, and return their names.

    They have detail at several scales, as photographs do.
    """
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
    """Return the images per second of one pass over batches.

    The first batch is left out, since it includes the start of the workers.
    """
    iterator = iter(batches)
    next(iterator)
    start, count = time.perf_counter(), 0
    for images in iterator:
        count += len(images)
    return count / (time.perf_counter() - start)


def project_batches(
    folder: Path, names: list[str], threads: int, epoch: int
) -> Iterator[torch.Tensor]:
    """Yield the batches of an epoch, loaded by this project's `PictureLoader`."""
    index = np.arange(len(names))
    pictures = Pictures.from_names(folder, [name.encode() for name in names])
    loader = PictureLoader(pictures, index, index, torch.device("cpu"), CROP, threads=threads)
    recipe = Recipe(1, BATCH, 1.0, augmentation=("crop", "flip"), crop_size=CROP)
    normalise = Normalise(MEAN, STD, torch.device("cpu"))
    draws = EpochDraws(index, recipe, Seeds.from_base_seed(0), epoch)
    for images, _ in loader.epoch_batches(draws, BATCH, drop_last=False):
        yield normalise(images)


def pillow_batches(folder: Path, names: list[str], workers: int) -> Iterator[torch.Tensor]:
    """Yield the batches of an epoch, loaded with Pillow by a `DataLoader`."""
    dataset = PillowDataset([f"{folder}/{name}" for name in names])
    for images, _ in DataLoader(dataset, BATCH, shuffle=True, num_workers=workers):
        yield images


def measure_rates(count: int, rounds: int) -> dict[str, object]:
    """Measure the images per second of both loaders, in alternation.

    Args:
        count: number of pictures.
        rounds: number of measurements of each loader.
    """
    workers = usable_cpu_count()
    torch.set_num_threads(1)
    pillow_rates: list[float] = []
    project_rates: list[float] = []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        names = write_pictures(folder, count)
        size = sum((folder / name).stat().st_size for name in names) / count
        for turn in range(rounds + 1):
            pillow_rate = rate(pillow_batches(folder, names, workers))
            project_rate = rate(project_batches(folder, names, workers, turn + 1))
            if turn:  # the first turn warms the file cache
                pillow_rates.append(pillow_rate)
                project_rates.append(project_rate)
    ratios = [b / a for a, b in zip(pillow_rates, project_rates, strict=True)]
    return {
        "pictures": f"{count} JPEGs, {WIDTH}×{HEIGHT}, {size / 1000:.0f} kB each",
        "threads, or workers": workers,
        "Pillow in a DataLoader, images/s, median": round(median(pillow_rates)),
        "images/s, median": round(median(project_rates)),
        f"times as fast, {rounds} pairs": [round(ratio, 2) for ratio in ratios],
        "times as fast, median": round(median(ratios), 2),
    }


def write_index(root: Path, lines: int) -> None:
    """Write the file lists of Clothing1M with `lines` training pictures, all of them empty."""
    folder = root / clothing1m.FOLDER
    keys = []
    for start in range(0, lines, FILES_PER_FOLDER):
        subfolder = f"images/{start // FILES_PER_FOLDER % 10}/{start // FILES_PER_FOLDER // 10:03d}"
        (folder / subfolder).mkdir(parents=True)
        for number in range(start, min(start + FILES_PER_FOLDER, lines)):
            key = f"{subfolder}/{number:010d}_{number * 7919 % lines:08d}.jpg"
            os.close(os.open(folder / key, os.O_CREAT))
            keys.append(key)
    labels = "".join(f"{key} {n % 14}\n" for n, key in enumerate(keys))
    (folder / clothing1m.CLASS_NAMES_FILE).write_text("".join(f"class {n}\n" for n in range(14)))
    (folder / clothing1m.NOISY_LABELS_FILE).write_text(labels)
    (folder / clothing1m.CLEAN_LABELS_FILE).write_text(labels)
    for split, (file, _) in clothing1m.SPLIT_FILES.items():
        split_keys = keys if split == "train" else keys[:: max(1, lines // 10_000)]
        (folder / file).write_text("".join(f"{key}\n" for key in split_keys))


_READ = """
import json, sys, time
from pathlib import Path
from trainables.datasets.clothing1m import Clothing1M
lines, others = int(sys.argv[2]), int(sys.argv[3])
start = time.perf_counter()
class Small(Clothing1M):
    train_size, validation_size, test_size = lines, others, others
dataset = Small().read(Path(sys.argv[1]))
seconds = time.perf_counter() - start
# The peak of getrusage is inherited from the parent process.
(peak,) = [line.split()[1] for line in open("/proc/self/status") if line.startswith("VmHWM")]
memory = int(peak) * 1024 / 1e6
print(json.dumps({"lines": len(dataset.train), "seconds": seconds, "peak_memory_mb": memory}))
"""


def measure_index(lines: int) -> dict[str, object]:
    """Return the size, seconds and peak memory of a new process that reads the file lists."""
    root = Path(tempfile.mkdtemp())
    try:
        write_index(root, lines)
        n_others = len(range(0, lines, max(1, lines // 10_000)))
        process = subprocess.run(
            [sys.executable, "-c", _READ, str(root), str(lines), str(n_others)],
            capture_output=True,
            text=True,
            check=True,
        )
    finally:
        shutil.rmtree(root)
    numbers: dict[str, object] = json.loads(process.stdout)
    return numbers


def main() -> None:
    """Measure the index and the loaders, and save the numbers."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0] if __doc__ else "")
    parser.add_argument("--pictures", type=int, default=2000)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--lines", type=int, default=1_000_000)
    arguments = parser.parse_args()
    index = measure_index(arguments.lines)
    numbers = {f"index: {name}": value for name, value in index.items()}
    reading = measure_rates(arguments.pictures, arguments.rounds)
    numbers |= {f"reading: {name}": value for name, value in reading.items()}
    save_numbers("pictures", numbers, ("torch", "torchvision", "pillow", "numpy"))


if __name__ == "__main__":
    main()
