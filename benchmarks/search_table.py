"""Training of NAL on the digits at every point of a grid of λ and α, on several seeds.

The result is the table on which `search_methods.py` compares ways to search. The runs are those of
the search phase of the study `digits`: they hold out noisy labels and never evaluate the test
split. Run it from the checkout; an interrupted table is continued:

    python benchmarks/search_table.py

`results/digits-grid.csv` has one row for each run: `lambda`, `alpha`, `seed`, the number of
held-out samples, and how many of them were classified as labelled after each epoch.
"""

from __future__ import annotations

import csv
import os
import sys
from concurrent.futures import ProcessPoolExecutor
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING, cast

from machine import CHECKOUT, RESULTS

sys.path.insert(0, str(CHECKOUT))

import numpy as np
import torch

from orchestrator.planning.plan import Plan
from search_spaces.loader import load_study
from search_spaces.schema import Phase
from trainables.cpus import usable_cpu_count
from trainables.datasets import load
from trainables.run.metrics import VAL_ACCURACY
from trainables.training.trainer import DivergedError, Trainer

if TYPE_CHECKING:
    from trainables.run.parameters import Space

TABLE = RESULTS / "digits-grid.csv"
"""File of the table."""
POINTS_PER_AXIS = 10
"""Number of values of each hyperparameter."""
SEEDS = tuple(range(1000, 1008))
"""Seeds of the runs; the first one is that of the study's search."""

Key = tuple[float, float, int]
"""λ, α and seed of a run."""


def grid() -> list[Key]:
    """Return λ, α and seed of every run; the values divide the study's intervals evenly."""
    study = load_study("digits").study
    axes = []
    for name in ("lambda", "alpha"):
        space = cast("Space", study.space_of("nal")[name])
        spaced = np.geomspace if space.log else np.linspace
        values = spaced(space.low, space.high, POINTS_PER_AXIS)
        axes.append([float(f"{value:.4g}") for value in values])
    return [(lambda_, alpha, seed) for seed in SEEDS for lambda_, alpha in product(*axes)]


def train(key: Key) -> list[int]:
    """Train one run, and return the held-out sample count and the correct counts of its epochs.

    A run that diverges has fewer epochs.
    """
    lambda_, alpha, seed = key
    torch.set_num_threads(1)
    study = load_study("digits").study
    dataset = load("digits", Path("data"), None)
    plan = Plan("digits", study, dataset)
    spec = plan.spec(
        Phase.SEARCH, "nal", study.scenarios[0], {"lambda": lambda_, "alpha": alpha}, seed
    )
    trainer = Trainer(spec, dataset, torch.device("cpu"))
    count = plan.held_out_count
    correct_counts = []
    try:
        while not trainer.done:
            correct_counts.append(round(count * trainer.train_epoch()[VAL_ACCURACY]))
    except DivergedError:
        pass
    return [count, *correct_counts]


def read_table() -> dict[Key, list[int]]:
    """Return the recorded runs: held-out sample count and correct counts by λ, α and seed."""
    if not TABLE.exists():
        return {}
    with TABLE.open(newline="") as file:
        rows = list(csv.reader(file))[1:]
    return {
        (float(row[0]), float(row[1]), int(row[2])): [int(value) for value in row[3:]]
        for row in rows
    }


def main() -> None:
    """Train the runs that are missing in the table, and write each when it has ended."""
    recorded = read_table()
    missing = [key for key in grid() if key not in recorded]
    if not recorded:
        TABLE.write_text("lambda,alpha,seed,held_out,correct_after_each_epoch\n")
    os.environ["OMP_NUM_THREADS"] = "1"
    with ProcessPoolExecutor(usable_cpu_count()) as pool, TABLE.open("a", newline="") as file:
        writer = csv.writer(file)
        for key, counts in zip(missing, pool.map(train, missing), strict=True):
            writer.writerow([*key, *counts])
            file.flush()
    print(f"{len(missing)} runs were trained, {len(recorded)} had been")


if __name__ == "__main__":
    main()
