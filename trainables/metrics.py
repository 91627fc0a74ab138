"""Names of the accuracies that a run's trace holds."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from trainables.datasets.base import Dataset

NOISY, CLEAN, MAIN_TEST = "val/accuracy", "clean_val/accuracy", "test/accuracy"
"""On held-out noisy labels, on a validation split with checked labels, on the main test split."""

LAST, BEST_CLEAN = "_last", "test/accuracy_best_clean_val"
"""Ending of a number read at the last epoch; the main one at the epoch with the best `CLEAN`."""


def test_metric(name: str, k: int) -> str:
    """Return the name of a top-k accuracy on one of several test splits."""
    return f"test/{name}/top{k}"


def test_metrics(dataset: Dataset, name: str) -> dict[str, int]:
    """Return the k of further accuracies on a test split, by their names.

    There are none where the dataset has one test split and nothing but top-1 is asked for.
    """
    if len(dataset.tests) == 1 and dataset.top == (1,):
        return {}
    return {test_metric(name, k): k for k in dataset.top}


def further_readings(dataset: Dataset) -> dict[str, str]:
    """Return what tables show of a dataset beside what all have: titles by a run's number."""
    found = {}
    if dataset.validation is not None:
        found[BEST_CLEAN] = "epoch chosen by clean validation"
    for name in dataset.tests:
        for metric, k in test_metrics(dataset, name).items():
            found[f"{metric}{LAST}"] = f"{name}, top-{k}, last epoch"
    return found
