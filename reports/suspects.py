"""Ranking of a run's training samples by how likely they are mislabelled.

The scores are those of `SCORES`. `benchmarks/suspects.py` measures how well each of them tells
wrong labels; the default is the one that does so best on average.
"""

from __future__ import annotations

import csv
import io
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from trainables.diagnostics.reduce import attention_weight, auroc
from trainables.errors import UserError, suggest
from trainables.run.metrics import TEST_ACCURACY

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from trainables.diagnostics.store import Diagnostics
    from trainables.run.result import RunResult

CSV_COLUMNS = (
    *("rank", "index", "file", "given", "proposed", "score", "label_probability", "margin"),
    *("disagreement", "attention_weight", "loss", "proposed_probability", "true"),
)
"""Names of the columns of `suspects.csv`, in order."""

SCORES = {
    "balanced-margin": "mean probability of another class minus that of the label, over all "
    "epochs, with the classes scaled to be as frequent as the labels",
    "label-probability": "low mean probability of the label, over all epochs",
    "margin": "low mean margin of the label's logit, over all epochs",
    "disagreement": "fraction of all epochs in which the prediction was not the label",
    "last-epoch": "mean of ranks in the last epoch: by loss, proposed label and attention weight",
    "loss": "loss of the last epoch",
    "attention": "low attention weight of the last epoch",
}
"""Description of each score by name. The default is the first that a run has: the averages over all
epochs are missing in records of earlier versions."""


@dataclass(frozen=True)
class Suspects:
    """Training samples of a run, ranked from most to least likely mislabelled.

    All arrays have shape (n,) and are in the order of the ranking. Averages over all epochs are
    None for runs that did not collect them.

    Attributes:
        score_name: name of the score, a key of `SCORES`.
        positions: positions of the samples in the dataset's training split.
        given_labels: labels that the run was trained on.
        proposed_labels: classes that the run's predictions propose as labels: those of the largest
            average, balanced as for the score "balanced-margin"; without averages, the targets of
            the last epoch.
        scores: scores of the samples; higher scores are more suspicious.
        attention_weights: attention weights τ of the last epoch; None if the method has none.
        losses: cross entropy between prediction and given label, in the last epoch.
        proposed_probabilities: probabilities of the proposed labels.
        label_probabilities: mean probability of the given label.
        margins: mean difference between the logit of the given label and the largest other logit.
        disagreements: fraction of the epochs in which the prediction was not the given label.
        memorised_share: fraction of the samples that were predicted as their given label in the
            last epoch.
        true_labels: true labels; None if they are not known.
    """

    score_name: str
    positions: NDArray[np.integer]
    given_labels: NDArray[np.integer]
    proposed_labels: NDArray[np.integer]
    scores: NDArray[np.floating]
    attention_weights: NDArray[np.floating] | None
    losses: NDArray[np.floating]
    proposed_probabilities: NDArray[np.floating]
    label_probabilities: NDArray[np.floating] | None
    margins: NDArray[np.floating] | None
    disagreements: NDArray[np.floating] | None
    memorised_share: float
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

    @property
    def auroc(self) -> float | None:
        """Area under the ROC curve of the score; None if the true labels are not known."""
        if self.true_labels is None:
            return None
        return auroc(self.scores, self.true_labels != self.given_labels)

    @property
    def estimated_share(self) -> float | None:
        """Estimated fraction of wrong labels: that of samples whose proposed label is another.

        None is returned for a run without averages over all epochs.
        """
        if self.label_probabilities is None:
            return None
        return float((self.proposed_labels != self.given_labels).mean())

    @property
    def has_memorised(self) -> bool:
        """Whether the network has learned most wrong labels, so that the estimate is too low.

        This is assumed if in the last epoch fewer samples contradict their labels than half of the
        estimate.
        """
        share = self.estimated_share
        return share is not None and 1 - self.memorised_share < share / 2


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


def rank_suspects(diagnostics: Diagnostics, score_name: str | None = None) -> Suspects:
    """Rank a run's training samples by how likely they are mislabelled.

    Samples whose pictures could not be decoded are left out.

    Args:
        diagnostics: diagnostics of a run, including its last epoch.
        score_name: a key of `SCORES`; None for the default.

    Raises:
        UserError: if there is no such score, or the run lacks what it is computed from.
    """
    scores_by_name = compute_scores(diagnostics)
    name = score_name or next(name for name in SCORES if name in scores_by_name)
    if name not in SCORES:
        raise UserError(f"unknown score '{name}': {suggest(name, SCORES)}")
    if name not in scores_by_name:
        raise UserError(
            f"the run has not recorded what the score '{name}' needs ({SCORES[name]}): choose one "
            f"of {', '.join(scores_by_name)}, or train the run again"
        )
    seen_mask = diagnostics["seen"].astype(bool)
    has_history = diagnostics.has_history
    if has_history:
        balanced = balanced_probabilities(diagnostics)
        proposed_labels, probabilities = balanced.argmax(axis=1), balanced.max(axis=1)
    else:
        proposed_labels = diagnostics.integers("target")
        probabilities = diagnostics.floats("target_probability")
    order = np.flatnonzero(seen_mask)[np.argsort(-scores_by_name[name][seen_mask], kind="stable")]
    given_labels: NDArray[np.int64] = diagnostics.integers("given")
    is_memorised = diagnostics.integers("predicted")[-1] == given_labels
    has_attention = "last_attention" in diagnostics
    return Suspects(
        score_name=name,
        positions=diagnostics.integers("position")[order],
        given_labels=given_labels[order],
        proposed_labels=proposed_labels[order],
        scores=scores_by_name[name][order],
        attention_weights=(
            attention_weight(diagnostics.floats("last_attention")[order]) if has_attention else None
        ),
        losses=diagnostics.floats("loss")[order],
        proposed_probabilities=probabilities[order],
        label_probabilities=-scores_by_name["label-probability"][order] if has_history else None,
        margins=-scores_by_name["margin"][order] if has_history else None,
        disagreements=scores_by_name["disagreement"][order] if has_history else None,
        memorised_share=float(is_memorised[seen_mask].mean()),
        true_labels=(
            diagnostics.integers("true")[order] if diagnostics.true_labels_known else None
        ),
    )


def compute_scores(diagnostics: Diagnostics) -> dict[str, NDArray[np.float64]]:
    """Compute the scores of `SCORES` that a run has, by name; higher is more suspicious.

    The score "last-epoch" is a weighted mean of ranks, each scaled to [0, 1]: the rank by loss, the
    rank by probability of the target (negative where it equals the given label), and the rank by
    low attention weight τ. The last rank is weighted by the spread of τ (5th to 95th percentile),
    because τ approaches 1 for every sample once targets agree with predictions.

    Args:
        diagnostics: diagnostics of a run, including its last epoch.

    Returns:
        Scores of all samples, shape (n,), in the order of the diagnostics; those of samples that
        were never seen have no meaning.
    """
    given_labels = diagnostics.integers("given")
    seen_mask = diagnostics["seen"].astype(bool)
    losses = diagnostics.floats("loss")
    probabilities = diagnostics.floats("target_probability")
    is_contradiction = diagnostics.integers("target") != given_labels
    scaled_ranks = [
        _scaled_ranks(losses, seen_mask),
        _scaled_ranks(np.where(is_contradiction, probabilities, -probabilities), seen_mask),
    ]
    weights_of_ranks = [1.0, 1.0]
    scores: dict[str, NDArray[np.float64]] = {"loss": losses}
    if "last_attention" in diagnostics:
        attention_logits = diagnostics.floats("last_attention")
        low, high = np.percentile(attention_weight(attention_logits[seen_mask]), [5, 95])
        scaled_ranks.append(_scaled_ranks(-attention_logits, seen_mask))
        weights_of_ranks.append(float(high - low))
        scores["attention"] = -attention_logits
    scores["last-epoch"] = np.average(scaled_ranks, axis=0, weights=weights_of_ranks)
    if diagnostics.has_history:
        balanced = balanced_probabilities(diagnostics)
        rows = np.arange(len(given_labels))
        others = balanced.copy()
        others[rows, given_labels] = -np.inf
        epochs = np.maximum(diagnostics.floats("history/epochs"), 1)
        scores |= {
            "balanced-margin": others.max(axis=1) - balanced[rows, given_labels],
            "label-probability": -diagnostics.floats("history/label_probability"),
            "margin": -diagnostics.floats("history/margin"),
            "disagreement": diagnostics.floats("history/disagreements") / epochs,
        }
    return scores


def balanced_probabilities(diagnostics: Diagnostics) -> NDArray[np.float64]:
    """Return the mean probabilities of a run, scaled until classes are as frequent as the labels.

    Networks trained on noisy labels predict some classes too often. The mean probabilities of each
    class are multiplied by one factor, so that their mean over the samples is the fraction of the
    labels; then those of each sample are divided by their sum.

    Args:
        diagnostics: diagnostics of a run, with averages over all epochs.

    Returns:
        Probabilities, shape (n, K).
    """
    seen_mask = diagnostics["seen"].astype(bool)
    probabilities = diagnostics.floats("history/probabilities")
    class_count = probabilities.shape[1]
    labels = diagnostics.integers("given")[seen_mask]
    label_shares = np.bincount(labels, minlength=class_count) / len(labels)
    mean_probabilities = probabilities[seen_mask].mean(axis=0)
    scaled = probabilities * (label_shares / np.maximum(mean_probabilities, 1e-12))
    return np.asarray(scaled / np.maximum(scaled.sum(axis=1, keepdims=True), 1e-12))


def _scaled_ranks(values: NDArray[np.generic], seen_mask: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Return the rank of each seen value, scaled to [0, 1]: 0 for the smallest, 1 for the largest.

    Equal values share their mean rank. Other values have the rank 0.
    """
    _, inverse, tie_counts = np.unique(values[seen_mask], return_inverse=True, return_counts=True)
    mean_ranks = np.cumsum(tie_counts) - (tie_counts + 1) / 2
    ranks = np.zeros(len(values))
    ranks[seen_mask] = mean_ranks[inverse] / max(1, len(inverse) - 1)
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
    true_labels = suspects.true_labels
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
                _text(suspects.label_probabilities, row, ".4f"),
                _text(suspects.margins, row, ".4f"),
                _text(suspects.disagreements, row, ".4f"),
                _text(suspects.attention_weights, row, ".6g"),
                f"{suspects.losses[row]:.4f}",
                f"{suspects.proposed_probabilities[row]:.4f}",
                "" if true_labels is None else class_names[true_labels[row]],
            ]
        )
    return buffer.getvalue()


def _text(values: NDArray[np.floating] | None, row: int, format_spec: str) -> str:
    """Return one of some values as text; "" if there are none."""
    return "" if values is None else format(values[row], format_spec)


def probabilities_csv(
    diagnostics: Diagnostics, class_names: Sequence[str], file_names: Sequence[str] | None
) -> str:
    """Return the mean probabilities of a run's samples as CSV text, one line per sample.

    The columns are `index`, `file`, `given` (the index of the given label), and one for each class.

    Args:
        diagnostics: diagnostics of a run, with averages over all epochs.
        class_names: names of the dataset's classes, by class index.
        file_names: file names as for `to_csv`.
    """
    arrays = probabilities_arrays(diagnostics)
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(["index", "file", "given", *class_names])
    for position, label, row in zip(*arrays.values(), strict=True):
        name = "" if file_names is None else file_names[position]
        writer.writerow([position, name, label, *(f"{value:.6f}" for value in row)])
    return buffer.getvalue()


def probabilities_arrays(diagnostics: Diagnostics) -> dict[str, NDArray[np.generic]]:
    """Return what tools such as cleanlab read: positions, labels and mean probabilities.

    Args:
        diagnostics: diagnostics of a run, with averages over all epochs.

    Returns:
        "index", shape (n,), "labels", shape (n,), and "pred_probs", shape (n, K), of the samples
        that were seen. The probabilities are those of the training steps, of a network that is
        trained on the same labels.
    """
    seen_mask = diagnostics["seen"].astype(bool)
    probabilities = diagnostics.floats("history/probabilities")[seen_mask]
    return {
        "index": diagnostics.integers("position")[seen_mask],
        "labels": diagnostics.integers("given")[seen_mask],
        "pred_probs": probabilities / probabilities.sum(axis=1, keepdims=True),
    }
