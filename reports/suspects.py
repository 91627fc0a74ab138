"""Ranking of a run's training samples by how likely they are mislabelled."""

from __future__ import annotations

import csv
import io
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from trainables.diagnostics.reduce import attention_weight
from trainables.run.metrics import TEST_ACCURACY

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from trainables.diagnostics.store import Diagnostics
    from trainables.run.result import RunResult

CSV_COLUMNS = (
    *("rank", "index", "file", "given", "proposed", "score"),
    *("attention_weight", "loss", "proposed_probability", "true"),
)
"""Names of the columns of `suspects.csv`, in order."""


@dataclass(frozen=True)
class Suspects:
    """Training samples of a run, ranked from most to least likely mislabelled.

    All arrays have shape (n,), one element per sample, and are in the order of the ranking.

    Attributes:
        positions: positions of the samples in the dataset's training split.
        given_labels: labels that the run was trained on, as class indices.
        proposed_labels: classes that the method assigns to the samples at the end of training.
        scores: scores from 0 to 1; a high score means that the given label is likely wrong.
        attention_weights: attention weights τ; None if the method has none.
        losses: cross entropy of each sample to its given label.
        proposed_probabilities: probabilities of the proposed labels.
        true_labels: true labels; None if they are not known.
    """

    positions: NDArray[np.integer]
    given_labels: NDArray[np.integer]
    proposed_labels: NDArray[np.integer]
    scores: NDArray[np.floating]
    attention_weights: NDArray[np.floating] | None
    losses: NDArray[np.floating]
    proposed_probabilities: NDArray[np.floating]
    true_labels: NDArray[np.integer] | None

    def __len__(self) -> int:
        return len(self.positions)

    @property
    def mislabelled_count(self) -> int | None:
        """Number of samples whose given label is wrong; None if the true labels are not known."""
        if self.true_labels is None:
            return None
        return int((self.true_labels != self.given_labels).sum())

    def precision(self, count: int) -> float | None:
        """Return the fraction of the first `count` samples whose given label is wrong.

        None is returned if the true labels are not known, or `count` is 0.
        """
        if self.true_labels is None or not count:
            return None
        return float((self.true_labels != self.given_labels)[:count].mean())


def weakness_warning(result: RunResult) -> str | None:
    """Return a warning if the network of a run is too weak to tell which labels are wrong.

    It is too weak if its predictions on the test split are more often wrong than right, and also
    more often wrong than the labels that it was trained on, as far as these are known. The result
    is None for other networks, and if the run measured no test accuracy.
    """
    accuracy = result.last_value(TEST_ACCURACY)
    flip_rate = result.labels.flip_rate or 0.0
    if accuracy is None or accuracy >= min(0.5, 1 - flip_rate):
        return None
    return (
        "the network is too weak to tell which labels are wrong: its test accuracy is "
        f"{accuracy:.1%}, so that most of the proposed labels may be wrong; train longer, or "
        "choose a run with a higher test accuracy"
    )


def rank_suspects(diagnostics: Diagnostics) -> Suspects:
    """Rank a run's training samples by how likely they are mislabelled.

    The score of a sample is a weighted mean of ranks, each scaled to [0, 1]: the rank by loss, the
    rank by probability of the proposed label (negative where it equals the given label), and the
    rank by low attention weight τ. The last rank is weighted by the spread of τ (5th to 95th
    percentile), because τ approaches 1 for every sample once targets agree with predictions.
    Samples whose pictures could not be decoded are left out.

    Args:
        diagnostics: diagnostics of the run's last epoch.
    """
    seen_mask = diagnostics["seen"].astype(bool)
    given_labels: NDArray[np.int64] = diagnostics.integers("given")[seen_mask]
    proposed_labels = diagnostics.integers("target")[seen_mask]
    probabilities = diagnostics.floats("target_probability")[seen_mask]
    losses = diagnostics.floats("loss")[seen_mask]
    scaled_ranks = [
        _scaled_ranks(losses),
        _scaled_ranks(np.where(proposed_labels != given_labels, probabilities, -probabilities)),
    ]
    weights_of_ranks = [1.0, 1.0]
    tau = None
    if "last_attention" in diagnostics:
        attention_logits = diagnostics.floats("last_attention")[seen_mask]
        tau = attention_weight(attention_logits)
        low_tau, high_tau = np.percentile(tau, [5, 95])
        scaled_ranks.append(_scaled_ranks(-attention_logits))
        weights_of_ranks.append(float(high_tau - low_tau))
    scores = np.average(scaled_ranks, axis=0, weights=weights_of_ranks)
    order = np.argsort(-scores, kind="stable")
    return Suspects(
        positions=diagnostics.integers("position")[seen_mask][order],
        given_labels=given_labels[order],
        proposed_labels=proposed_labels[order],
        scores=scores[order],
        attention_weights=None if tau is None else tau[order],
        losses=losses[order],
        proposed_probabilities=probabilities[order],
        true_labels=(
            diagnostics.integers("true")[seen_mask][order]
            if diagnostics.true_labels_known
            else None
        ),
    )


def _scaled_ranks(values: NDArray[np.generic]) -> NDArray[np.float64]:
    """Return the rank of each value, scaled to [0, 1]: 0 for the smallest, 1 for the largest.

    Equal values share their mean rank.
    """
    _, inverse, tie_counts = np.unique(values, return_inverse=True, return_counts=True)
    mean_ranks = np.cumsum(tie_counts) - (tie_counts + 1) / 2
    ranks: NDArray[np.float64] = mean_ranks[inverse] / max(1, len(values) - 1)
    return ranks


def to_csv(suspects: Suspects, class_names: Sequence[str], file_names: Sequence[str] | None) -> str:
    """Return a ranking as CSV text, one line per sample; unknown values are empty.

    Args:
        suspects: ranked samples.
        class_names: names of the dataset's classes, by class index.
        file_names: file name of each sample of the training split, by position; None if the
            samples are not files.
    """
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(CSV_COLUMNS)
    weights, true_labels = suspects.attention_weights, suspects.true_labels
    for row in range(len(suspects)):
        position = int(suspects.positions[row])
        writer.writerow(
            [
                row + 1,
                position,
                "" if file_names is None else file_names[position],
                class_names[suspects.given_labels[row]],
                class_names[suspects.proposed_labels[row]],
                f"{suspects.scores[row]:.4f}",
                "" if weights is None else f"{weights[row]:.6g}",
                f"{suspects.losses[row]:.4f}",
                f"{suspects.proposed_probabilities[row]:.4f}",
                "" if true_labels is None else class_names[true_labels[row]],
            ]
        )
    return buffer.getvalue()
