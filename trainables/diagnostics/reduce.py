"""From what was seen of each sample in an epoch to the paper's figures; NumPy only."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.floating]
    Integers = NDArray[np.integer]
    Mask = NDArray[np.bool_]

LINEAR_BINS = np.linspace(0, 1, 51)
"""Of τ."""
LOG_BINS = np.linspace(-8, 0, 41)
"""Of log10(1 - τ): with λ ≥ 10 the optimum of τ stays above 0.9 for every sample, so that only
1 - τ tells samples apart."""


@dataclass(frozen=True)
class Epoch:
    """What was seen of the n training samples in one epoch, in their order.

    Attributes:
        log_p: log softmax over the K classes in training mode, shape (n, K).
        attention: logit h of the weight τ that the loss gave; None if it gives none.
        gradient: L1 norm of the gradient of each sample's loss with respect to its logits.
        gradient_label: entry of that gradient at the given label.
        given: noisy labels.
        true: true labels; None where they are not known.
        corrected: class that the method takes for the label at the epoch's end; None if as given.
    """

    log_p: Floats
    attention: Floats | None
    gradient: Floats
    gradient_label: Floats
    given: Integers
    true: Integers | None
    corrected: Integers | None

    @property
    def predicted(self) -> Integers:
        """Class of the highest probability."""
        predicted: Integers = self.log_p.argmax(axis=1)
        return predicted

    @property
    def loss(self) -> Floats:
        """Cross entropy to the given label."""
        return -self.log_p[np.arange(len(self.given)), self.given]

    @property
    def groups(self) -> dict[str, Mask]:
        """The samples to tell apart: clean and mislabelled where that is known, else all."""
        if self.true is None:
            return {"all": np.ones(len(self.given), dtype=bool)}
        wrong = self.true != self.given
        return {"clean": ~wrong, "mislabelled": wrong}


def series(epoch: Epoch) -> dict[str, float]:
    """Return the scalars of an epoch; NaN for a group without samples.

    Fractions of clean samples predicted right, and of mislabelled ones predicted as the true class,
    as the given label (memorised) or as neither (Fig. 1); mean τ and mean gradients by group
    (Fig. 3); AUROC of low τ and of high loss as detectors of wrong labels (Fig. 2); fraction of
    samples whose corrected label is the true one (Fig. 4 d).
    """
    numbers: dict[str, float] = {}
    for name, mask in epoch.groups.items():
        numbers[f"gradient/{name}"] = _mean(epoch.gradient[mask])
        numbers[f"gradient_label/{name}"] = _mean(epoch.gradient_label[mask])
        numbers[f"loss/{name}"] = _mean(epoch.loss[mask])
        if epoch.attention is not None:
            numbers[f"attention/{name}"] = _mean(weight(epoch.attention[mask]))
    if epoch.true is None:
        return numbers
    wrong = epoch.groups["mislabelled"]
    right = epoch.predicted == epoch.true
    memorised = epoch.predicted == epoch.given
    numbers |= {
        "clean/correct": _mean(right[~wrong]),
        "mislabelled/correct": _mean(right[wrong]),
        "mislabelled/memorised": _mean(memorised[wrong]),
        "mislabelled/other": _mean(~(right | memorised)[wrong]),
        "loss/auroc": auroc(epoch.loss, wrong),
    }
    if epoch.attention is not None:
        numbers["attention/auroc"] = auroc(-epoch.attention, wrong)
    if epoch.corrected is not None:
        numbers["correction/accuracy"] = _mean(epoch.corrected == epoch.true)
    return numbers


def histograms(epoch: Epoch) -> tuple[Integers, Integers]:
    """Count samples by τ and by log10(1 - τ); what lies beyond the last bin is counted in it.

    Returns:
        Counts by group, in the order of `Epoch.groups`, and bin: shapes (G, 50) and (G, 40).
    """
    assert epoch.attention is not None  # noqa: S101 - asked for only with attention
    linear, logarithmic = [], []
    tau, log_rest = weight(epoch.attention), log10_rest(epoch.attention)
    for mask in epoch.groups.values():
        linear.append(np.histogram(tau[mask], LINEAR_BINS)[0])
        inside = log_rest[mask].clip(LOG_BINS[0], LOG_BINS[-1])
        logarithmic.append(np.histogram(inside, LOG_BINS)[0])
    return np.stack(linear).astype(np.int32), np.stack(logarithmic).astype(np.int32)


def matrices(epoch: Epoch) -> dict[str, Floats | Integers]:
    """Return the K × K matrices of Fig. 4 a to c: rows are true classes, columns labels.

    "attention": mean τ by true and given class (NaN where there is no sample); "noisy" and
    "corrected": counts by true class and given or corrected label.
    """
    assert epoch.true is not None  # noqa: S101 - asked for only with truth
    classes = epoch.log_p.shape[1]
    counts = confusion(epoch.true, epoch.given, classes)
    found: dict[str, Floats | Integers] = {"noisy": counts}
    if epoch.corrected is not None:
        found["corrected"] = confusion(epoch.true, epoch.corrected, classes)
    if epoch.attention is not None:
        total = np.zeros((classes, classes))
        np.add.at(total, (epoch.true, epoch.given), weight(epoch.attention))
        mean = np.full_like(total, np.nan)
        found["attention"] = np.divide(total, counts, out=mean, where=counts > 0).astype(np.float32)
    return found


def group_samples(predicted: Integers, given: Integers, true: Integers) -> dict[str, Mask]:
    """Sort samples into easy, hard and mislabelled (paper, section 5.4).

    A clean sample is learned in the first watched epoch from which it is predicted right until the
    end. Hard are the clean samples that are learned late: at or after the epoch by which three
    quarters of them are, and not in the first; those never learned are among them.

    Args:
        predicted: class predicted in each watched epoch, shape (E, n).
        given: noisy labels, shape (n,).
        true: true labels, shape (n,).

    Returns:
        A mask of shape (n,) for each of "easy", "hard" and "mislabelled".
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
    attention: Floats, masks: dict[str, Mask]
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


def confusion(true: Integers, label: Integers, classes: int) -> Integers:
    """Count samples by true class (row) and label (column)."""
    counts = np.zeros((classes, classes), dtype=np.int32)
    np.add.at(counts, (true, label), 1)
    return counts


def weight(attention: Floats) -> Floats:
    """Return τ, the sigmoid of its logit."""
    tau: Floats = np.exp(-np.logaddexp(0, -attention.astype(np.float64)))
    return tau


def log10_rest(attention: Floats) -> Floats:
    """Return log10(1 - τ) from the logit of τ, which keeps what 1 - τ itself would round away."""
    rest: Floats = -np.logaddexp(0, attention.astype(np.float64)) / np.log(10)
    return rest


def auroc(score: Floats, positive: Mask) -> float:
    """Return the probability that a positive scores above a negative, ties counting half.

    NaN unless there are both.
    """
    count = int(positive.sum())
    others = len(positive) - count
    if not count or not others:
        return float("nan")
    _, inverse, ties = np.unique(score, return_inverse=True, return_counts=True)
    rank = (np.cumsum(ties) - (ties - 1) / 2)[inverse]
    return float((rank[positive].sum() - count * (count + 1) / 2) / (count * others))


def _mean(values: Floats | Mask) -> float:
    return float(values.mean()) if len(values) else float("nan")
