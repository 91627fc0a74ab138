"""Ranking of training samples that are likely mislabelled, from a run's last epoch."""

from __future__ import annotations

import csv
import io
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from trainables.diagnostics.reduce import attention_weight

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from trainables.diagnostics.store import Diagnostics

CSV_COLUMNS = (
    *("rank", "index", "file", "given", "proposed", "score"),
    *("attention_weight", "loss", "proposed_probability", "true"),
)
"""Columns of the CSV file."""


@dataclass(frozen=True)
class Suspects:
    """Training samples of a run, those most likely mislabelled first; arrays have shape (n,).

    Attributes:
        index: positions in the dataset's training split.
        given: labels that the run was trained on.
        proposed: classes that the method assigns to the samples at the end of the training.
        score: scores from 0 to 1, see `rank_suspects`.
        attention: attention weights τ; None if the method has none.
        loss: cross entropies to the given labels.
        probability: probabilities of the proposed classes.
        true: true labels; None if they are not known.
    """

    index: NDArray[np.integer]
    given: NDArray[np.integer]
    proposed: NDArray[np.integer]
    score: NDArray[np.floating]
    attention: NDArray[np.floating] | None
    loss: NDArray[np.floating]
    probability: NDArray[np.floating]
    true: NDArray[np.integer] | None

    def __len__(self) -> int:
        return len(self.index)

    @property
    def mislabelled(self) -> int | None:
        """Number of samples whose label is wrong; None if the true labels are not known."""
        return None if self.true is None else int((self.true != self.given).sum())

    def precision(self, count: int) -> float | None:
        """Return the fraction of wrong labels among the first `count` samples; None if unknown."""
        if self.true is None or not count:
            return None
        return float((self.true != self.given)[:count].mean())


def rank_suspects(diagnostics: Diagnostics) -> Suspects:
    """Rank a run's training samples, except those whose pictures could not be decoded.

    The score is a weighted mean of ranks among all samples, each scaled to [0, 1]: the rank by
    loss, by confidence of the target in another class than the given one, and by low attention
    weight. The last rank is weighted by the spread of τ (5th to 95th percentile), because τ
    approaches 1 for every sample once targets agree with predictions.
    """
    seen = diagnostics["seen"].astype(bool)
    given: NDArray[np.int64] = diagnostics.integers("given")[seen]
    proposed = diagnostics.integers("target")[seen]
    probability = diagnostics.floats("target_probability")[seen]
    loss = diagnostics.floats("loss")[seen]
    ranks = [
        _scaled_ranks(loss),
        _scaled_ranks(np.where(proposed != given, probability, -probability)),
    ]
    weights = [1.0, 1.0]
    tau = None
    if "last_attention" in diagnostics:
        logit = diagnostics.floats("last_attention")[seen]
        tau = attention_weight(logit)
        low, high = np.percentile(tau, [5, 95])
        ranks.append(_scaled_ranks(-logit))
        weights.append(float(high - low))
    score = np.average(ranks, axis=0, weights=weights)
    order = np.argsort(-score, kind="stable")
    return Suspects(
        index=diagnostics.integers("position")[seen][order],
        given=given[order],
        proposed=proposed[order],
        score=score[order],
        attention=None if tau is None else tau[order],
        loss=loss[order],
        probability=probability[order],
        true=diagnostics.integers("true")[seen][order] if diagnostics.truth_known else None,
    )


def _scaled_ranks(values: NDArray[np.generic]) -> NDArray[np.float64]:
    """Return the rank of each value, scaled to [0, 1] from the smallest to the largest value.

    Equal values share their mean rank.
    """
    _, inverse, ties = np.unique(values, return_inverse=True, return_counts=True)
    mean_ranks = np.cumsum(ties) - (ties + 1) / 2
    ranks: NDArray[np.float64] = mean_ranks[inverse] / max(1, len(values) - 1)
    return ranks


def to_csv(suspects: Suspects, classes: Sequence[str], files: Sequence[str] | None) -> str:
    """Return a ranking as CSV with one line per sample; unknown values are empty.

    Args:
        suspects: ranked samples.
        classes: names of the classes.
        files: file names of the training split, in its order; None if the samples are not files.
    """
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(CSV_COLUMNS)
    for n in range(len(suspects)):
        index = int(suspects.index[n])
        writer.writerow(
            [
                n + 1,
                index,
                "" if files is None else files[index],
                classes[suspects.given[n]],
                classes[suspects.proposed[n]],
                f"{suspects.score[n]:.4f}",
                "" if suspects.attention is None else f"{suspects.attention[n]:.6g}",
                f"{suspects.loss[n]:.4f}",
                f"{suspects.probability[n]:.4f}",
                "" if suspects.true is None else classes[suspects.true[n]],
            ]
        )
    return text.getvalue()
