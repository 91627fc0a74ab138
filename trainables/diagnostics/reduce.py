"""Reduction of an epoch's per-sample values to the numbers in the figures of the NAL paper.

This module uses NumPy only. τ is the attention weight of a sample.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.floating]
    Integers = NDArray[np.integer]
    Mask = NDArray[np.bool_]

TAU_BINS = np.linspace(0, 1, 51)
"""Bin edges of the histogram of attention weights τ."""
LOG_BINS = np.linspace(-8, 0, 41)
"""Bin edges of the histogram of log10(1 - τ). If the boost weight λ is at least 10, the optimal
attention weight τ of every sample is above 0.9, so that only 1 - τ shows differences."""


@dataclass(frozen=True)
class EpochValues:
    """Values of the n training samples in one epoch, in the order of the training part.

    Attributes:
        log_p: log softmax over the K classes in training mode, shape (n, K).
        attention: logit of each sample's weight τ in the loss, shape (n,); None if the loss has no
            weights.
        gradient: L1 norm of the gradient of each sample's loss with respect to its logits, shape
            (n,).
        gradient_label: entry of that gradient at the noisy label, shape (n,).
        noisy_labels: noisy labels, shape (n,).
        true_labels: true labels, shape (n,); None if they are not known.
        corrected_labels: likeliest class of each sample's training target at the end of the epoch,
            shape (n,); None if the targets are the noisy labels.
    """

    log_p: Floats
    attention: Floats | None
    gradient: Floats
    gradient_label: Floats
    noisy_labels: Integers
    true_labels: Integers | None
    corrected_labels: Integers | None

    @property
    def predicted(self) -> Integers:
        """Predicted class of each sample, shape (n,)."""
        predicted: Integers = self.log_p.argmax(axis=1)
        return predicted

    @property
    def loss(self) -> Floats:
        """Cross entropy between each sample's prediction and noisy label, shape (n,)."""
        return -self.log_p[np.arange(len(self.noisy_labels)), self.noisy_labels]

    @property
    def groups(self) -> dict[str, Mask]:
        """Masks of "clean" and "mislabelled" samples; of "all" samples without true labels."""
        if self.true_labels is None:
            return {"all": np.ones(len(self.noisy_labels), dtype=bool)}
        mislabelled = self.true_labels != self.noisy_labels
        return {"clean": ~mislabelled, "mislabelled": mislabelled}


def scalars(values: EpochValues) -> dict[str, float]:
    """Return the scalars of an epoch by name; NaN for a group without samples.

    The scalars belong to these figures of the NAL paper:

    - Fig. 1: fraction of clean samples that are predicted correctly; fractions of mislabelled
      samples that are predicted as the true class, the noisy label (memorised) or another class.
    - Fig. 2: AUROC of low attention weights τ, and of high losses, as detectors of wrong labels.
    - Fig. 3: mean τ, loss and gradients of clean and of mislabelled samples.
    - Fig. 4 d: fraction of samples whose corrected label is the true one.
    """
    result: dict[str, float] = {}
    for name, mask in values.groups.items():
        result[f"gradient/{name}"] = _mean(values.gradient[mask])
        result[f"gradient_label/{name}"] = _mean(values.gradient_label[mask])
        result[f"loss/{name}"] = _mean(values.loss[mask])
        if values.attention is not None:
            result[f"attention/{name}"] = _mean(attention_weight(values.attention[mask]))
    if values.true_labels is None:
        return result
    mislabelled = values.groups["mislabelled"]
    correct = values.predicted == values.true_labels
    memorised = values.predicted == values.noisy_labels
    result |= {
        "clean/correct": _mean(correct[~mislabelled]),
        "mislabelled/correct": _mean(correct[mislabelled]),
        "mislabelled/memorised": _mean(memorised[mislabelled]),
        "mislabelled/other": _mean(~(correct | memorised)[mislabelled]),
        "loss/auroc": auroc(values.loss, mislabelled),
    }
    if values.attention is not None:
        result["attention/auroc"] = auroc(-values.attention, mislabelled)
    if values.corrected_labels is not None:
        result["correction/accuracy"] = _mean(values.corrected_labels == values.true_labels)
    return result


def histograms(values: EpochValues) -> tuple[Integers, Integers]:
    """Return histograms of τ and of log10(1 - τ); the outermost bins include values beyond them.

    Returns:
        Counts of samples, shapes (G, 50) and (G, 40): one row for each of the G groups of
        `EpochValues.groups`.
    """
    assert values.attention is not None  # noqa: S101 - checked by the caller
    tau_counts, log_counts = [], []
    tau = attention_weight(values.attention)
    log_complement = log10_complement(values.attention)
    for mask in values.groups.values():
        tau_counts.append(np.histogram(tau[mask], TAU_BINS)[0])
        clipped = log_complement[mask].clip(LOG_BINS[0], LOG_BINS[-1])
        log_counts.append(np.histogram(clipped, LOG_BINS)[0])
    return np.stack(tau_counts).astype(np.int32), np.stack(log_counts).astype(np.int32)


def matrices(values: EpochValues) -> dict[str, Floats | Integers]:
    """Return the matrices of Fig. 4 a to c of the NAL paper by name, each of shape (K, K).

    Rows are true classes. "attention" has the mean τ of the samples with each noisy label (column),
    NaN if there are none. "noisy" and "corrected" have the numbers of samples with each noisy or
    corrected label (column).
    """
    assert values.true_labels is not None  # noqa: S101 - checked by the caller
    classes = values.log_p.shape[1]
    counts = confusion(values.true_labels, values.noisy_labels, classes)
    result: dict[str, Floats | Integers] = {"noisy": counts}
    if values.corrected_labels is not None:
        result["corrected"] = confusion(values.true_labels, values.corrected_labels, classes)
    if values.attention is not None:
        total = np.zeros((classes, classes))
        cells = (values.true_labels, values.noisy_labels)
        np.add.at(total, cells, attention_weight(values.attention))
        mean = np.full_like(total, np.nan)
        np.divide(total, counts, out=mean, where=counts > 0)
        result["attention"] = mean.astype(np.float32)
    return result


def group_samples(
    predicted: Integers, noisy_labels: Integers, true_labels: Integers
) -> dict[str, Mask]:
    """Divide samples into easy, hard and mislabelled ones (NAL paper, section 5.4).

    A clean sample is learned in the collected epoch from which on all of its predictions are
    correct. Let E be the epoch in which 75 % of the clean samples are learned. A clean sample is
    hard if it is learned in epoch E or later, except in the first epoch, or if it is never learned.

    Args:
        predicted: predicted class in each collected epoch, shape (epochs, n).
        noisy_labels: noisy labels, shape (n,).
        true_labels: true labels, shape (n,).

    Returns:
        Masks of shape (n,) under the names "easy", "hard" and "mislabelled".
    """
    clean = noisy_labels == true_labels
    is_wrong = predicted != true_labels
    epochs = len(predicted)
    last_wrong = epochs - 1 - np.argmax(is_wrong[::-1], axis=0)
    learned_in = np.where(is_wrong.any(axis=0), last_wrong + 1, 0)
    late_epoch = np.percentile(learned_in[clean], 75, method="lower") if clean.any() else 0
    hard = clean & (learned_in >= max(late_epoch, 1))
    return {"easy": clean & ~hard, "hard": hard, "mislabelled": ~clean}


def attention_over_time(
    attention: Floats, masks: dict[str, Mask]
) -> dict[str, NDArray[np.float64]]:
    """Return the mean attention weight of groups of samples in each collected epoch, by group.

    Args:
        attention: logits of the attention weights τ, shape (epochs, n).
        masks: masks of the groups of samples by name, from `group_samples`.

    Returns:
        Mean τ of each group, shape (epochs,); NaN if the group has no samples.
    """
    tau = attention_weight(attention)
    return {
        name: tau[:, mask].mean(axis=1) if mask.any() else np.full(len(tau), np.nan)
        for name, mask in masks.items()
    }


def confusion(true_labels: Integers, labels: Integers, classes: int) -> Integers:
    """Return the number of samples by true class (row) and label (column), shape (K, K)."""
    counts = np.zeros((classes, classes), dtype=np.int32)
    np.add.at(counts, (true_labels, labels), 1)
    return counts


def attention_weight(attention: Floats) -> Floats:
    """Return attention weights τ from their logits, by the sigmoid, in float64."""
    tau: Floats = np.exp(-np.logaddexp(0, -attention.astype(np.float64)))
    return tau


def log10_complement(attention: Floats) -> Floats:
    """Return log10(1 - τ) from the logits of attention weights τ, precisely even for τ near 1."""
    log_complement: Floats = -np.logaddexp(0, attention.astype(np.float64)) / np.log(10)
    return log_complement


def auroc(score: Floats, positive: Mask) -> float:
    """Return the area under the ROC curve; NaN if there are no positive or no negative samples.

    The area is the probability that a random positive sample has a higher score than a random
    negative one; equal scores count half.
    """
    positives = int(positive.sum())
    negatives = len(positive) - positives
    if not positives or not negatives:
        return float("nan")
    _, inverse, ties = np.unique(score, return_inverse=True, return_counts=True)
    rank = (np.cumsum(ties) - (ties - 1) / 2)[inverse]
    rank_sum = rank[positive].sum()
    return float((rank_sum - positives * (positives + 1) / 2) / (positives * negatives))


def _mean(values: Floats | Mask) -> float:
    """Return the mean of values; NaN if there are none."""
    return float(values.mean()) if len(values) else float("nan")
