"""Easy, hard and mislabelled samples over time (paper, section 5.4); NumPy only."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from trainables.diagnostics.reduce import weight

if TYPE_CHECKING:
    from numpy.typing import NDArray

GROUPS = ("easy", "hard", "mislabelled")


def group_samples(
    predicted: NDArray[np.integer], given: NDArray[np.integer], true: NDArray[np.integer]
) -> dict[str, NDArray[np.bool_]]:
    """Sort samples into easy, hard and mislabelled.

    A clean sample is learned in the first watched epoch from which it is predicted right until the
    end. Hard are the clean samples that are learned late: at or after the epoch by which three
    quarters of them are, and not in the first; those never learned are among them.

    Args:
        predicted: class predicted in each watched epoch, shape (E, n).
        given: noisy labels, shape (n,).
        true: true labels, shape (n,).

    Returns:
        A mask of shape (n,) for each of `GROUPS`.
    """
    clean = given == true
    wrong_at = predicted != true
    epochs = len(predicted)
    last_wrong = epochs - 1 - np.argmax(wrong_at[::-1], axis=0)
    learned = np.where(wrong_at.any(axis=0), last_wrong + 1, 0)
    late = np.percentile(learned[clean], 75, method="lower") if clean.any() else 0
    hard = clean & (learned >= max(late, 1))
    return {"easy": clean & ~hard, "hard": hard, "mislabelled": ~clean}


def attention_over_time(
    attention: NDArray[np.floating], masks: dict[str, NDArray[np.bool_]]
) -> dict[str, NDArray[np.float64]]:
    """Return the mean τ of each group in each watched epoch, shape (E,); NaN without samples.

    Args:
        attention: logits of τ, shape (E, n).
        masks: of `group_samples`.
    """
    tau = weight(attention)
    return {
        name: tau[:, mask].mean(axis=1) if mask.any() else np.full(len(tau), np.nan)
        for name, mask in masks.items()
    }
