"""Benchmark of the time that the collection of diagnostics adds to a training.

Trainings with and without diagnostics alternate. Diagnostics are collected at the default interval.
The networks are so small that the training itself takes little time: an MLP on the digits, and an
MLP on pictures of CIFAR's size with 100 classes. Run the benchmark from the checkout:

    python benchmarks/diagnostics.py
"""

from __future__ import annotations

import argparse
import gc
import statistics
import sys
import time
from dataclasses import replace

import numpy as np
import torch
from machine import CHECKOUT, save_numbers

sys.path[:0] = [str(CHECKOUT), str(CHECKOUT / "tests")]

from small_runs import CPU, digits, recipe, runnable  # noqa: E402 - the checkout's own

from trainables.datasets.base import Dataset, Split  # noqa: E402
from trainables.diagnostics.collector import Collector, collection_interval  # noqa: E402
from trainables.run.parameters import FrozenMap  # noqa: E402
from trainables.training.trainer import Trainer  # noqa: E402

EPOCHS = 60
"""Number of epochs of each training."""


def hundred_classes(count: int = 2000) -> Dataset:
    """Return a dataset of random 32×32 colour pictures of 100 classes."""
    random = np.random.Generator(np.random.Philox(0))
    images = random.integers(0, 256, (count, 3, 32, 32), dtype=np.uint8)
    split = Split(images, np.arange(count) % 100)
    return Dataset("pictures", tuple(map(str, range(100))), split, split)


def seconds(dataset: Dataset, *, collects: bool) -> float:
    """Return the wall time of a NAL training of `EPOCHS` epochs, including its evaluations."""
    spec = runnable(dataset, recipe=recipe(EPOCHS), evaluate=("test",), hold_out=0.0)
    if dataset.name == "pictures":
        parameters = FrozenMap({**spec.backbone_parameters, "hidden": (256, 128)})
        spec = replace(spec, backbone_parameters=parameters)
    trainer = Trainer(spec, dataset, CPU)
    collector = (
        Collector.from_trainer(trainer, collection_interval(EPOCHS, None)) if collects else None
    )
    gc.collect()
    start = time.perf_counter()
    while not trainer.done:
        trainer.train_epoch(collector)
    if collector is not None:
        collector.arrays()
    return time.perf_counter() - start


def main() -> None:
    """Measure trainings with and without diagnostics in alternation, and save the numbers.

    Other processes on the machine thus slow both down equally.
    """
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0] if __doc__ else "")
    parser.add_argument("--pairs", type=int, default=7)
    pairs = parser.parse_args().pairs
    torch.set_num_threads(1)
    numbers: dict[str, float] = {}
    for title, dataset in (("digits", digits()), ("2,000 pictures, K = 100", hundred_classes())):
        seconds(dataset, collects=True)
        ratios, seconds_without = [], []
        for pair in range(pairs):
            collects_first = pair % 2 == 0
            times = {collects_first: seconds(dataset, collects=collects_first)}
            times[not collects_first] = seconds(dataset, collects=not collects_first)
            ratios.append(times[True] / times[False] - 1)
            seconds_without.append(times[False])
        numbers[f"{title}: seconds without, median of {pairs}"] = round(
            statistics.median(seconds_without), 3
        )
        numbers[f"{title}: added, median of {pairs} pairs, percent"] = round(
            100 * statistics.median(ratios), 2
        )
    save_numbers("diagnostics", numbers, ("torch", "numpy"))


if __name__ == "__main__":
    main()
