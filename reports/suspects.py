"""Training samples that are likely mislabelled, by what a run's last epoch showed of them."""

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

COLUMNS = (
    *("rank", "index", "file", "given", "proposed", "score"),
    *("attention_weight", "loss", "proposed_probability", "true"),
)


@dataclass(frozen=True)
class Suspects:
    """The training samples of a run, the most suspect first; arrays of shape (n,).

    Attributes:
        index: position in the dataset's training split.
        given: label that the run was trained on.
        proposed: class that the method takes for the label in the end.
        score: from 0 to 1, see `rank_suspects`.
        attention: weight τ that the loss gave the sample; None if the method gives none.
        loss: cross entropy to the given label.
        probability: of the proposed class.
        true: true label; None where it is not known.
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
        """Number of samples whose label is wrong; None where that is not known."""
        return None if self.true is None else int((self.true != self.given).sum())

    def precision(self, count: int) -> float | None:
        """Return the fraction of the first `count` whose label is wrong; None if not known."""
        if self.true is None or not count:
            return None
        return float((self.true != self.given)[:count].mean())


def rank_suspects(diagnostics: Diagnostics) -> Suspects:
    """Rank a run's training samples, but those whose pictures could never be decoded.

    The score is a mean of ranks among all samples, each from 0 to 1: of a high loss, of a target
    that is sure of another class than the given one, and of a low attention weight. The last counts
    by its spread (5th to 95th percentile of τ): once targets agree with predictions τ goes to 1 for
    every sample, and no longer tells them apart.
    """
    seen = diagnostics["seen"].astype(bool)
    given: NDArray[np.int64] = diagnostics.integers("given")[seen]
    proposed = diagnostics.integers("target")[seen]
    probability = diagnostics.floats("target_probability")[seen]
    loss = diagnostics.floats("loss")[seen]
    signs = [_rank(loss), _rank(np.where(proposed != given, probability, -probability))]
    weights = [1.0, 1.0]
    tau = None
    if "last_attention" in diagnostics:
        logit = diagnostics.floats("last_attention")[seen]
        tau = attention_weight(logit)
        low, high = np.percentile(tau, [5, 95])
        signs.append(_rank(-logit))
        weights.append(float(high - low))
    score = np.average(signs, axis=0, weights=weights)
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


def _rank(values: NDArray[np.generic]) -> NDArray[np.float64]:
    """Return ranks from 0 (smallest) to 1, equal values sharing theirs."""
    _, inverse, ties = np.unique(values, return_inverse=True, return_counts=True)
    middle = np.cumsum(ties) - (ties + 1) / 2
    ranks: NDArray[np.float64] = middle[inverse] / max(1, len(values) - 1)
    return ranks


def to_csv(suspects: Suspects, classes: Sequence[str], files: Sequence[str] | None) -> str:
    """Write suspects as CSV, one line each; what is not known is left empty.

    Args:
        suspects: in order.
        classes: names of the classes.
        files: of the training split, in its order; None if the samples are no files.
    """
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(COLUMNS)
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
