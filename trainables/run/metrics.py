"""Names of the numbers that runs are read by, in traces, records, MLflow and tables."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from trainables.datasets.base import Dataset

TRAIN_LOSS = "train/loss"
TRAIN_ACCURACY, TRAIN_ACCURACY_TRUE = "train/accuracy", "train/accuracy_true"
"""Accuracy on the training samples, by the labels that the run sees and by the true ones."""

VAL, CLEAN_VAL, TEST = "val/accuracy", "clean_val/accuracy", "test/accuracy"
"""Accuracy on held-out noisy labels, on a validation split with checked labels, and on the main
test split."""

LAST = "_last"
"""Suffix of a number that is read at the last epoch."""

VAL_MEAN_LAST = "val/accuracy_mean_last"
TEST_LAST = f"{TEST}{LAST}"
TEST_MEAN_LAST = "test/accuracy_mean_last"
TEST_BEST_VAL = "test/accuracy_best_val"
TEST_BEST_CLEAN_VAL = "test/accuracy_best_clean_val"
"""Numbers of a run: the mean over the last epochs, the last epoch, and the epoch with the best
`VAL` or `CLEAN_VAL`."""

CELL_MEAN, CELL_STD = "test/accuracy_mean", "test/accuracy_std"
"""Mean and sample standard deviation of `TEST_LAST` over the seeds of a cell."""

SECONDS_PER_EPOCH, PEAK_MEMORY = "seconds_per_epoch", "peak_memory_mb"


def test_metric(name: str, k: int) -> str:
    """Return the name of a top-k accuracy on one of several test splits."""
    return f"test/{name}/top{k}"


def test_metrics(dataset: Dataset, name: str) -> dict[str, int]:
    """Return the k of further accuracies on a test split, by their names.

    There are none where the dataset has one test split and only top-1 is measured.
    """
    if len(dataset.tests) == 1 and dataset.top == (1,):
        return {}
    return {test_metric(name, k): k for k in dataset.top}


def further_readings(dataset: Dataset) -> dict[str, str]:
    """Return the column titles of numbers that only some datasets have, by the number's name."""
    titles = {}
    if dataset.validation is not None:
        titles[TEST_BEST_CLEAN_VAL] = "epoch chosen by clean validation"
    for name in dataset.tests:
        for metric, k in test_metrics(dataset, name).items():
            titles[f"{metric}{LAST}"] = f"{name}, top-{k}, last epoch"
    return titles
