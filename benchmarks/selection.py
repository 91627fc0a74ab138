"""Benchmark of objectives for choosing hyperparameters where the learning rate restarts.

NAL is trained at three values of λ on three seeds each, under cosine restarts, on 3,000 pictures
with ResNet-20 and on the digits with an MLP. Objectives are different averages of a run's
accuracy over epochs. Each is computed for the held-out and the test accuracy. The results are the
standard deviation over seeds (ddof 1), pooled over the values of λ, and the mean. Run the benchmark
from the checkout:

    python benchmarks/selection.py --pictures FOLDER

FOLDER holds `train/<class>/` and `test/<class>/` with pictures of 32×32 pixels, such as CIFAR-10's.
"""

from __future__ import annotations

import argparse
import json
import math
import subprocess
import sys
import tempfile
import time
from itertools import groupby
from pathlib import Path
from statistics import fmean, variance
from typing import TYPE_CHECKING, Any

import numpy as np
from machine import CHECKOUT, save_numbers
from PIL import Image

if TYPE_CHECKING:
    from collections.abc import Callable

EPOCHS, PERIOD = 30, 5
"""Length of a training and period of its learning-rate schedule, in epochs."""
TRAIN_PER_CLASS, TEST_PER_CLASS = 300, 200
"""Numbers of training and test pictures of each class; the first by name are used."""
LAMBDAS = (0.5, 2.0, 10.0)
"""Values of the hyperparameter λ of NAL."""
N_CYCLE_ENDS = 3
"""Number of cycle ends that `held-out-cycle-ends` averages."""

STUDY = f"""\
title: selection under restarts
scenarios: [symmetric-0.4]
methods: [nal]
hyperparameters:
  nal: {{first_target_epoch: 10, target_interval: {PERIOD}}}
reference:
  nal: {{lambda: 2, alpha: 0.9}}
vary:
  nal: {{lambda: {list(LAMBDAS)}}}
search: {{hold_out: 0.3}}
confirm: {{seeds: [0, 1, 2], hold_out: true}}
resources: {{cpus: 1, gpus: 0}}
recipe:
  epochs: {EPOCHS}
  batch_size: 64
  momentum: 0.9
  window: {PERIOD}
  schedule: {{kind: cosine-restarts, period: {PERIOD}, minimum: 1e-3}}
"""
PICTURES = """\
  learning_rate: 0.02
  weight_decay: 1e-3
  augmentation: [crop, flip]
dataset: npz
backbone: {name: resnet-w16}
"""
DIGITS = """\
  learning_rate: 0.05
  weight_decay: 5e-4
dataset: digits
backbone: {name: mlp}
"""

Trace = list[dict[str, float]]
"""Metrics of one run after each epoch."""


def last_cycle(trace: Trace, metric: str) -> float:
    """Return the mean of a metric over the last cycle: `held-out-mean` with that window."""
    return fmean(row[metric] for row in trace[-PERIOD:])


def last_epochs(trace: Trace, metric: str) -> float:
    """Return the mean of a metric over the last two cycles."""
    return fmean(row[metric] for row in trace[-2 * PERIOD :])


def cycle_ends(trace: Trace, metric: str) -> float:
    """Return the mean of a metric over the ends of the last cycles: `held-out-cycle-ends`."""
    return fmean(row[metric] for row in trace[PERIOD - 1 :: PERIOD][-N_CYCLE_ENDS:])


def last_epoch(trace: Trace, metric: str) -> float:
    """Return the value of a metric after the last epoch."""
    return trace[-1][metric]


OBJECTIVES: dict[str, Callable[[Trace, str], float]] = {
    f"mean of the last {PERIOD} epochs": last_cycle,
    f"mean of the last {2 * PERIOD} epochs": last_epochs,
    f"mean of the last {N_CYCLE_ENDS} cycle ends": cycle_ends,
    "last epoch": last_epoch,
}
"""Function that computes each objective from a trace and the name of a metric, by title."""


def write_pictures(folder: Path, data: Path) -> None:
    """Write the first pictures of each class in a folder to `data.npz` in another folder."""
    arrays: dict[str, Any] = {}
    for split, count in (("train", TRAIN_PER_CLASS), ("test", TEST_PER_CLASS)):
        classes = sorted(path for path in (folder / split).iterdir() if path.is_dir())
        paths = [
            path for class_folder in classes for path in sorted(class_folder.iterdir())[:count]
        ]
        arrays[f"x_{split}"] = np.stack([np.asarray(Image.open(path)) for path in paths])
        arrays[f"y_{split}"] = np.repeat(np.arange(len(classes)), count)
    data.mkdir(parents=True)
    np.savez(data / "data.npz", **arrays)


def sweep(study: str, folder: Path) -> dict[float, list[Trace]]:
    """Carry out a study, and return the metrics of its runs by λ."""
    path = folder / "study.yaml"
    path.write_text(study)
    home = folder / "runs"
    command = [sys.executable, "-m", "orchestrator", "sweep", str(path), "--yes"]
    command += ["--home", str(home), "--data-dir", str(folder / "data")]
    subprocess.run(command, cwd=CHECKOUT, check=True)
    results = [json.loads(file.read_text()) for file in home.glob("runs/*/result.json")]
    unfinished = [result["digest"] for result in results if result["status"] != "finished"]
    if unfinished:
        sys.exit(f"runs without a whole trace: {unfinished}")

    def lambda_of(result: dict[str, Any]) -> float:
        return float(result["spec"]["hyperparameters"]["lambda"])

    ordered = sorted(results, key=lambda_of)
    return {value: [run["trace"] for run in runs] for value, runs in groupby(ordered, lambda_of)}


def summarise(traces: dict[float, list[Trace]]) -> dict[str, Any]:
    """Return the standard deviation over seeds and the mean of each objective, in percent."""
    numbers: dict[str, Any] = {}
    for metric in ("val/accuracy", "test/accuracy"):
        for title, objective in OBJECTIVES.items():
            values = {
                value: [100 * objective(trace, metric) for trace in runs]
                for value, runs in traces.items()
            }
            pooled = math.sqrt(fmean(variance(runs) for runs in values.values()))
            numbers[f"{metric}, {title}"] = {
                "deviation over seeds, pooled": round(pooled, 2),
                "mean by lambda": {value: round(fmean(runs), 2) for value, runs in values.items()},
            }
    return numbers


def main() -> None:
    """Carry out the studies of pictures and digits, and save summaries of their runs."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0] if __doc__ else "")
    parser.add_argument("--pictures", type=Path, required=True, help="folder of class folders")
    pictures = parser.parse_args().pictures
    numbers: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as temporary:
        for title, keys in (("digits, MLP", DIGITS), ("3,000 pictures, resnet-w16", PICTURES)):
            folder = Path(temporary) / keys.split("dataset: ")[1].split()[0]
            folder.mkdir()
            if keys is PICTURES:
                write_pictures(pictures, folder / "data")
            start = time.perf_counter()
            numbers[title] = summarise(sweep(STUDY + keys, folder))
            numbers[title]["seconds"] = round(time.perf_counter() - start)
    save_numbers("selection", numbers, ("torch", "numpy", "ray"))


if __name__ == "__main__":
    main()
