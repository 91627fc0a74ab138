"""Names of metrics and summary numbers in traces, records, MLflow and tables."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from trainables.datasets.base import Dataset

TRAIN_LOSS = "train/loss"
"""Mean loss over the training samples of an epoch."""
TRAIN_ACCURACY, TRAIN_ACCURACY_TRUE = "train/accuracy", "train/accuracy_true"
"""Accuracy on the training samples with respect to their noisy and their true labels."""

VAL, CLEAN_VAL, TEST = "val/accuracy", "clean_val/accuracy", "test/accuracy"
"""Accuracy on held-out samples with noisy labels, on a validation split with clean labels, and on
the main test split."""

LAST = "_last"
"""Suffix of the name of a metric's value in the last epoch."""

VAL_MEAN_LAST = "val/accuracy_mean_last"
TEST_LAST = f"{TEST}{LAST}"
TEST_MEAN_LAST = "test/accuracy_mean_last"
TEST_BEST_VAL = "test/accuracy_best_val"
TEST_BEST_CLEAN_VAL = "test/accuracy_best_clean_val"
"""Summary numbers of a run: the mean over the epochs of a protocol (see
`trainables.run.protocols`; by default that of the run's schedule), the value in the last epoch, and
the value in the epoch with the highest `VAL` or `CLEAN_VAL`."""

CELL_MEAN, CELL_STD = "test/accuracy_mean", "test/accuracy_std"
"""Mean and sample standard deviation of `TEST_LAST` over the seeds of a cell."""

SECONDS_PER_EPOCH, PEAK_MEMORY = "seconds_per_epoch", "peak_memory_mb"
"""Mean wall time of an epoch in seconds, and peak memory in 10^6 bytes."""


def test_metric(name: str, k: int) -> str:
    """Return the name of the top-k accuracy on one of several test splits."""
    return f"test/{name}/top{k}"


def test_metrics(dataset: Dataset, name: str) -> dict[str, int]:
    """Return the additional top-k accuracies on a test split, as k by metric name.

    The result is empty if the dataset has a single test split and reports only top-1 accuracy.
    """
    if len(dataset.tests) == 1 and dataset.top == (1,):
        return {}
    return {test_metric(name, k): k for k in dataset.top}


def further_readings(dataset: Dataset) -> dict[str, str]:
    """Return the column titles of summary numbers that only some datasets have, by their names."""
    titles = {}
    if dataset.validation is not None:
        titles[TEST_BEST_CLEAN_VAL] = "epoch chosen by clean validation"
    for name in dataset.tests:
        for metric, k in test_metrics(dataset, name).items():
            titles[f"{metric}{LAST}"] = f"{name}, top-{k}, last epoch"
    return titles
