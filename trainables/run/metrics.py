"""Names of the metrics and summary numbers of runs, as used in records, MLflow and tables."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from trainables.datasets.base import Dataset

TRAIN_LOSS = "train/loss"
"""Mean loss over the training samples of an epoch."""
TRAIN_ACCURACY, TRAIN_ACCURACY_TRUE = "train/accuracy", "train/accuracy_true"
"""Accuracy on the training samples of an epoch, by their noisy labels and by their true labels."""

VAL_ACCURACY = "val/accuracy"
CLEAN_VAL_ACCURACY = "clean_val/accuracy"
TEST_ACCURACY = "test/accuracy"
"""Accuracy on held-out samples with noisy labels, on validation samples with clean labels, and on
the main test split."""

LAST_SUFFIX = "_last"
"""Suffix of summary numbers that are the value of a metric in the last epoch."""

VAL_MEAN_LAST = "val/accuracy_mean_last"
TEST_LAST = f"{TEST_ACCURACY}{LAST_SUFFIX}"
TEST_MEAN_LAST = "test/accuracy_mean_last"
TEST_BEST_VAL = "test/accuracy_best_val"
TEST_BEST_CLEAN_VAL = "test/accuracy_best_clean_val"
"""Names of the summary numbers of a run that are computed from its accuracies.

"mean_last" is the mean over the epochs that a protocol averages, see `trainables.run.protocols`;
"last" is the value in the last epoch; "best_val" and "best_clean_val" are the value in the epoch
with the highest `VAL_ACCURACY` or `CLEAN_VAL_ACCURACY`."""

CELL_MEAN, CELL_STD = "test/accuracy_mean", "test/accuracy_std"
"""Mean and sample standard deviation of the final test accuracy over the seeds of a table cell."""

SECONDS_PER_EPOCH, PEAK_MEMORY_MB = "seconds_per_epoch", "peak_memory_mb"
"""Mean wall time of an epoch in seconds, and peak memory in MB (10^6 bytes)."""


def top_k_metric(test_split: str, k: int) -> str:
    """Return the metric name of the top-k accuracy on a test split."""
    return f"test/{test_split}/top{k}"


def extra_test_metrics(dataset: Dataset, test_split: str) -> dict[str, int]:
    """Return the additional top-k accuracies of a test split, as k by metric name.

    The result is empty if the dataset has a single test split and reports only top-1 accuracy.
    """
    if len(dataset.test_splits) == 1 and dataset.top_k == (1,):
        return {}
    return {top_k_metric(test_split, k): k for k in dataset.top_k}


def dataset_columns(dataset: Dataset) -> dict[str, str]:
    """Return the titles of the table columns that only some datasets have, by summary number."""
    titles = {}
    if dataset.validation is not None:
        titles[TEST_BEST_CLEAN_VAL] = "epoch chosen by clean validation"
    for test_split in dataset.test_splits:
        for metric, k in extra_test_metrics(dataset, test_split).items():
            titles[f"{metric}{LAST_SUFFIX}"] = f"{test_split}, top-{k}, last epoch"
    return titles
