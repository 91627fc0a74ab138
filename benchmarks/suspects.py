"""Benchmark of the scores by which `suspects` ranks samples, on labels whose errors are known.

Cross entropy, ELR and NAL (at two values of λ) are trained on the digits with the recipe of the
study `digits`, on three seeds and under five kinds of label noise; with `--pictures`, also cross
entropy and NAL on 1,000 pictures with ResNet-20, on one seed and for 10 epochs only. For each
score, the results are the AUROC of detecting wrong labels and the fraction of wrong labels that are
missed if as many samples are flagged as labels are wrong. The estimated fraction of wrong labels is
compared with the true one. Run the benchmark from the checkout:

    python benchmarks/suspects.py --pictures FOLDER

FOLDER holds `train/<class>/` and `test/<class>/` with pictures of 32×32 pixels, such as CIFAR-10's.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from collections import defaultdict
from pathlib import Path
from statistics import fmean
from typing import TYPE_CHECKING, Any

import numpy as np
from machine import CHECKOUT, save_numbers
from PIL import Image

sys.path.insert(0, str(CHECKOUT))

from reports.suspects import compute_scores, rank_suspects
from trainables.datasets.digits import Digits
from trainables.diagnostics.reduce import auroc
from trainables.diagnostics.store import load_diagnostics

if TYPE_CHECKING:
    from collections.abc import Iterator

    from trainables.diagnostics.store import Diagnostics

DIGITS = """\
extends: digits
title: suspects, digits
scenarios: [symmetric-0.2, symmetric-0.4, symmetric-0.6, file-next, pmd-1-0.35]
methods: [ce, elr, nal]
tune: []
vary:
  nal: {lambda: [0.5, 2]}
confirm: {seeds: [0, 1, 2], hold_out: true}
"""
NEXT_CLASS_RATE = 0.4
"""Probability of the next class under `file-next`, asymmetric noise that is drawn once."""
PICTURES = """\
title: suspects, pictures
dataset: npz
backbone: {name: resnet-w16}
scenarios: [symmetric-0.4]
methods: [ce, nal]
hyperparameters:
  nal: {first_target_epoch: 4, target_interval: 1}
reference:
  nal: {lambda: 2, alpha: 0.9}
search: {hold_out: 0.1}
confirm: {seeds: [0], hold_out: false}
resources: {cpus: 1, gpus: 0}
diagnostics: {every: 10}
recipe:
  epochs: 10
  batch_size: 64
  learning_rate: 0.02
  momentum: 0.9
  weight_decay: 1e-3
  augmentation: [crop, flip]
  window: 1
  evaluate_every: 10
"""
TRAIN_PER_CLASS, TEST_PER_CLASS = 100, 100
"""Numbers of training and test pictures of each class; the first by name are used."""


def write_labels(data: Path) -> None:
    """Write the labels of the scenario `file-next` to a data folder."""
    labels = Digits().read(data).train.labels
    random = np.random.default_rng(0)
    is_wrong = random.random(len(labels)) < NEXT_CLASS_RATE
    noisy = np.where(is_wrong, (labels + 1) % 10, labels)
    (data / "labels").mkdir(parents=True)
    (data / "labels" / "next.csv").write_text("label\n" + "".join(f"{label}\n" for label in noisy))


def write_pictures(folder: Path, data: Path) -> None:
    """Write the first pictures of each class in a folder to `data.npz` in a data folder."""
    arrays: dict[str, Any] = {}
    for split, count in (("train", TRAIN_PER_CLASS), ("test", TEST_PER_CLASS)):
        classes = sorted(path for path in (folder / split).iterdir() if path.is_dir())
        paths = [path for one in classes for path in sorted(one.iterdir())[:count]]
        arrays[f"x_{split}"] = np.stack([np.asarray(Image.open(path)) for path in paths])
        arrays[f"y_{split}"] = np.repeat(np.arange(len(classes)), count)
    data.mkdir(parents=True)
    np.savez(data / "data.npz", **arrays)


def sweep(study: str, folder: Path) -> Iterator[tuple[str, str, Diagnostics]]:
    """Carry out a study in a folder; yield scenario, method and diagnostics of its noisy runs."""
    (folder / "study.yaml").write_text(study)
    home = folder / "runs"
    command = [sys.executable, "-m", "orchestrator", "sweep", str(folder / "study.yaml"), "--yes"]
    command += ["--engine", "inline", "--home", str(home), "--data-dir", str(folder / "data")]
    subprocess.run(command, cwd=CHECKOUT, check=True)
    for file in sorted(home.glob("runs/*/result.json")):
        spec = json.loads(file.read_text())["spec"]
        diagnostics = load_diagnostics(file.parent)
        if spec["scenario"] == "clean" or diagnostics is None:
            continue
        method = spec["method"]
        if method == "nal":
            method += f", λ = {spec['hyperparameters']['lambda']:g}"
        yield spec["scenario"], method, diagnostics


def measure(diagnostics: Diagnostics) -> dict[str, float]:
    """Return AUROC and missed fraction of each score of a run, and its estimate, in percent."""
    is_wrong = diagnostics.integers("given") != diagnostics.integers("true")
    wrong_count = int(is_wrong.sum())
    numbers = {}
    for name, scores in compute_scores(diagnostics).items():
        order = np.argsort(-scores, kind="stable")
        numbers[f"{name}: auroc"] = 100 * auroc(scores, is_wrong)
        numbers[f"{name}: missed"] = 100 * float(1 - is_wrong[order[:wrong_count]].mean())
    suspects = rank_suspects(diagnostics)
    numbers["wrong labels"] = 100 * float(is_wrong.mean())
    numbers["wrong labels: estimate"] = 100 * (suspects.estimated_share or 0.0)
    numbers["estimate is said to be too low"] = 100.0 * suspects.has_memorised
    return numbers


def summarise(runs: Iterator[tuple[str, str, Diagnostics]]) -> dict[str, dict[str, float]]:
    """Return the means over the seeds by scenario and method, and over all of these."""
    by_setting: dict[str, list[dict[str, float]]] = defaultdict(list)
    for scenario, method, diagnostics in runs:
        by_setting[f"{scenario}, {method}"].append(measure(diagnostics))
    means = {
        setting: {name: round(fmean(run[name] for run in runs), 2) for name in runs[0]}
        for setting, runs in sorted(by_setting.items())
    }
    common_names = set.intersection(*(set(numbers) for numbers in means.values()))
    means["mean of all"] = {
        name: round(fmean(numbers[name] for numbers in means.values()), 2)
        for name in next(iter(means.values()))
        if name in common_names
    }
    return means


def main() -> None:
    """Carry out the studies, and save summaries of their runs."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0] if __doc__ else "")
    parser.add_argument("--pictures", type=Path, help="folder of class folders")
    parser.add_argument(
        "--folder", type=Path, help="folder for the runs [default: a temporary one]"
    )
    arguments = parser.parse_args()
    numbers: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as temporary:
        folder = arguments.folder or Path(temporary)
        if not (folder / "digits").exists():
            write_labels(folder / "digits" / "data")
        numbers["digits, MLP"] = summarise(sweep(DIGITS, folder / "digits"))
        numbers["1,000 pictures, ResNet-20"] = "not measured"
        if arguments.pictures is not None:
            if not (folder / "pictures").exists():
                write_pictures(arguments.pictures, folder / "pictures" / "data")
            sweep_of_pictures = sweep(PICTURES, folder / "pictures")
            numbers["1,000 pictures, ResNet-20"] = summarise(sweep_of_pictures)
    save_numbers("suspects", numbers, ("torch", "numpy"))


if __name__ == "__main__":
    main()
