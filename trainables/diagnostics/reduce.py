"""Reduction of the values of single samples to the numbers in figures 1 to 4 of the NAL paper.

This module uses NumPy only. τ in [0, 1] is the attention weight of a sample in the loss.
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

TAU_BIN_EDGES = np.linspace(0, 1, 51)
"""Bin edges of the histogram of attention weights τ."""
LOG_COMPLEMENT_BIN_EDGES = np.linspace(-8, 0, 41)
"""Bin edges of the histogram of log10(1 - τ), for attention weights τ close to 1.

If the boost weight λ is at least 10, the optimal τ of every sample is above 0.9, so that only 1 - τ
shows differences."""


@dataclass(frozen=True)
class EpochValues:
    """Diagnostic values of the n training samples of a run in one epoch.

    Attributes:
        log_probabilities: log softmax of the logits of the K classes, with the network in training
            mode, shape (n, K).
        attention_logits: logit of the attention weight τ of each sample, shape (n,); None if the
            loss has no attention weights.
        gradient_norm: L1 norm of the gradient of each sample's loss with respect to the logits of
            the sample, shape (n,).
        label_gradient: entry of this gradient at the noisy label, shape (n,).
        noisy_labels: noisy labels, shape (n,).
        true_labels: true labels, shape (n,); None if they are unknown.
        corrected_labels: likeliest class of each sample's training target at the end of the epoch,
            shape (n,); None if the targets are the noisy labels.
    """

    log_probabilities: Floats
    attention_logits: Floats | None
    gradient_norm: Floats
    label_gradient: Floats
    noisy_labels: Integers
    true_labels: Integers | None
    corrected_labels: Integers | None

    @property
    def predicted_classes(self) -> Integers:
        """Predicted class of each sample, shape (n,)."""
        predicted_classes: Integers = self.log_probabilities.argmax(axis=1)
        return predicted_classes

    @property
    def loss(self) -> Floats:
        """Cross entropy between each sample's prediction and noisy label, shape (n,)."""
        return -self.log_probabilities[np.arange(len(self.noisy_labels)), self.noisy_labels]

    @property
    def group_masks(self) -> dict[str, Mask]:
        """Boolean masks of samples, shape (n,), by the name of the group.

        The groups are "clean" and "mislabelled", or only "all" if true labels are unknown.
        """
        if self.true_labels is None:
            return {"all": np.ones(len(self.noisy_labels), dtype=bool)}
        mislabelled = self.true_labels != self.noisy_labels
        return {"clean": ~mislabelled, "mislabelled": mislabelled}


def epoch_scalars(values: EpochValues) -> dict[str, float]:
    """Compute the scalar diagnostics of an epoch, by name; NaN for a group without samples.

    They belong to these figures of the NAL paper:

    - Fig. 1: fraction of clean samples that are predicted correctly; fractions of mislabelled
      samples that are predicted as the true class, the noisy label (memorised) or another class.
    - Fig. 2: AUROC of detecting wrong labels by a low attention weight τ, and by a high loss.
    - Fig. 3: mean τ, loss and gradients, separately for clean and mislabelled samples.
    - Fig. 4 d: fraction of samples whose corrected label is the true label.
    """
    scalars: dict[str, float] = {}
    for name, mask in values.group_masks.items():
        scalars[f"gradient/{name}"] = _mean(values.gradient_norm[mask])
        scalars[f"gradient_label/{name}"] = _mean(values.label_gradient[mask])
        scalars[f"loss/{name}"] = _mean(values.loss[mask])
        if values.attention_logits is not None:
            scalars[f"attention/{name}"] = _mean(attention_weight(values.attention_logits[mask]))
    if values.true_labels is None:
        return scalars
    mislabelled = values.group_masks["mislabelled"]
    is_correct = values.predicted_classes == values.true_labels
    is_memorised = values.predicted_classes == values.noisy_labels
    scalars |= {
        "clean/correct": _mean(is_correct[~mislabelled]),
        "mislabelled/correct": _mean(is_correct[mislabelled]),
        "mislabelled/memorised": _mean(is_memorised[mislabelled]),
        "mislabelled/other": _mean(~(is_correct | is_memorised)[mislabelled]),
        "loss/auroc": auroc(values.loss, mislabelled),
    }
    if values.attention_logits is not None:
        scalars["attention/auroc"] = auroc(-values.attention_logits, mislabelled)
    if values.corrected_labels is not None:
        scalars["correction/accuracy"] = _mean(values.corrected_labels == values.true_labels)
    return scalars


def attention_histograms(values: EpochValues) -> tuple[Integers, Integers]:
    """Compute histograms of the attention weights τ and of log10(1 - τ).

    The outermost bins of log10(1 - τ) also count the values outside the bin edges.

    Returns:
        Numbers of samples per bin, shapes (G, 50) and (G, 40), with one row for each of the G
        groups in `EpochValues.group_masks`.
    """
    assert values.attention_logits is not None  # noqa: S101 - checked by the caller
    tau_counts, log_counts = [], []
    tau = attention_weight(values.attention_logits)
    log_complement = log10_complement(values.attention_logits)
    for mask in values.group_masks.values():
        tau_counts.append(np.histogram(tau[mask], TAU_BIN_EDGES)[0])
        clipped = log_complement[mask].clip(
            LOG_COMPLEMENT_BIN_EDGES[0], LOG_COMPLEMENT_BIN_EDGES[-1]
        )
        log_counts.append(np.histogram(clipped, LOG_COMPLEMENT_BIN_EDGES)[0])
    return np.stack(tau_counts).astype(np.int32), np.stack(log_counts).astype(np.int32)


def label_matrices(values: EpochValues) -> dict[str, Floats | Integers]:
    """Compute the matrices of Fig. 4 a to c of the NAL paper, shape (K, K), by name.

    Rows are true labels. "noisy" contains the number of samples with each noisy label (column),
    "corrected" the number of samples with each corrected label (column), and "attention" the mean
    attention weight τ of the samples with each noisy label (column), NaN without samples.
    """
    assert values.true_labels is not None  # noqa: S101 - checked by the caller
    class_count = values.log_probabilities.shape[1]
    counts = confusion_matrix(values.true_labels, values.noisy_labels, class_count)
    matrices: dict[str, Floats | Integers] = {"noisy": counts}
    if values.corrected_labels is not None:
        matrices["corrected"] = confusion_matrix(
            values.true_labels, values.corrected_labels, class_count
        )
    if values.attention_logits is not None:
        sums = np.zeros((class_count, class_count))
        row_and_column = (values.true_labels, values.noisy_labels)
        np.add.at(sums, row_and_column, attention_weight(values.attention_logits))
        means = np.full_like(sums, np.nan)
        np.divide(sums, counts, out=means, where=counts > 0)
        matrices["attention"] = means.astype(np.float32)
    return matrices


def group_samples(
    predicted: Integers, noisy_labels: Integers, true_labels: Integers
) -> dict[str, Mask]:
    """Divide samples into easy, hard and mislabelled ones (NAL paper, section 5.4).

    A clean sample is learned in the first collected epoch from which on the network always predicts
    the true class. Let E be the epoch by which 75 % of the clean samples are learned. A clean
    sample is hard if it is never learned, or learned in epoch E or later but not in the first
    collected epoch. All other clean samples are easy.

    Args:
        predicted: predicted class of each sample in each collected epoch, shape (epochs, n).
        noisy_labels: noisy labels, shape (n,).
        true_labels: true labels, shape (n,).

    Returns:
        Boolean masks of shape (n,) under the keys "easy", "hard" and "mislabelled".
    """
    is_clean = noisy_labels == true_labels
    is_wrong = predicted != true_labels
    epoch_count = len(predicted)
    last_wrong_epoch = epoch_count - 1 - np.argmax(is_wrong[::-1], axis=0)
    learned_epoch = np.where(is_wrong.any(axis=0), last_wrong_epoch + 1, 0)
    late_epoch = np.percentile(learned_epoch[is_clean], 75, method="lower") if is_clean.any() else 0
    is_hard = is_clean & (learned_epoch >= max(late_epoch, 1))
    return {"easy": is_clean & ~is_hard, "hard": is_hard, "mislabelled": ~is_clean}


def attention_over_time(
    attention_logits: Floats, group_masks: dict[str, Mask]
) -> dict[str, NDArray[np.float64]]:
    """Compute the mean attention weight τ of each group of samples in each collected epoch.

    Args:
        attention_logits: logits of the attention weights τ, shape (epochs, n).
        group_masks: boolean masks of the groups of samples by name, from `group_samples`.

    Returns:
        Mean τ by the name of the group, shape (epochs,); NaN for a group without samples.
    """
    tau = attention_weight(attention_logits)
    return {
        name: tau[:, mask].mean(axis=1) if mask.any() else np.full(len(tau), np.nan)
        for name, mask in group_masks.items()
    }


def confusion_matrix(true_labels: Integers, labels: Integers, class_count: int) -> Integers:
    """Count samples by true label (row) and label (column), shape (K, K)."""
    counts = np.zeros((class_count, class_count), dtype=np.int32)
    np.add.at(counts, (true_labels, labels), 1)
    return counts


def attention_weight(attention_logits: Floats) -> Floats:
    """Return attention weights τ, the sigmoid of their logits, in float64."""
    tau: Floats = np.exp(-np.logaddexp(0, -attention_logits.astype(np.float64)))
    return tau


def log10_complement(attention_logits: Floats) -> Floats:
    """Return log10(1 - τ) of attention weights τ, given their logits; precise even for τ near 1."""
    log_complement: Floats = -np.logaddexp(0, attention_logits.astype(np.float64)) / np.log(10)
    return log_complement


def auroc(scores: Floats, is_positive: Mask) -> float:
    """Return the area under the ROC curve; NaN if all samples are positive or all are negative.

    The area is the probability that a random positive sample has a higher score than a random
    negative one; equal scores count half.
    """
    positive_count = int(is_positive.sum())
    negative_count = len(is_positive) - positive_count
    if not positive_count or not negative_count:
        return float("nan")
    _, inverse, tie_counts = np.unique(scores, return_inverse=True, return_counts=True)
    ranks = (np.cumsum(tie_counts) - (tie_counts - 1) / 2)[inverse]
    rank_sum = ranks[is_positive].sum()
    min_rank_sum = positive_count * (positive_count + 1) / 2
    return float((rank_sum - min_rank_sum) / (positive_count * negative_count))


def _mean(values: Floats | Mask) -> float:
    """Return the mean of an array, as a float; NaN for an empty array."""
    return float(values.mean()) if len(values) else float("nan")
