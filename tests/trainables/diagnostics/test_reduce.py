"""Reductions for the paper's figures, compared with loops over samples."""

from __future__ import annotations

import math

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from trainables.diagnostics import reduce
from trainables.diagnostics.reduce import EpochValues, attention_over_time, auroc, group_samples


def random_values(
    count: int = 60, classes: int = 4, *, true_labels_known: bool = True, has_attention: bool = True
) -> EpochValues:
    random = np.random.default_rng(0)
    logits = 3 * random.standard_normal((count, classes))
    log_probabilities = logits - np.log(np.exp(logits).sum(1, keepdims=True))
    true_labels = random.integers(0, classes, count)
    noisy_labels = np.where(
        random.random(count) < 0.4, random.integers(0, classes, count), true_labels
    )
    return EpochValues(
        log_probabilities=log_probabilities.astype(np.float32),
        attention_logits=random.standard_normal(count).astype(np.float32)
        if has_attention
        else None,
        gradient_norm=random.random(count).astype(np.float32),
        label_gradient=-random.random(count).astype(np.float32),
        noisy_labels=noisy_labels,
        true_labels=true_labels if true_labels_known else None,
        corrected_labels=random.integers(0, classes, count),
    )


def test_scalars_match_a_loop_over_samples() -> None:
    epoch = random_values()
    assert epoch.true_labels is not None
    assert epoch.attention_logits is not None
    scalars = reduce.epoch_scalars(epoch)
    tally: dict[str, list[float]] = {}
    for i in range(len(epoch.noisy_labels)):
        predicted = int(np.argmax(epoch.log_probabilities[i]))
        group = "clean" if epoch.noisy_labels[i] == epoch.true_labels[i] else "mislabelled"
        values = {
            f"gradient/{group}": epoch.gradient_norm[i],
            f"gradient_label/{group}": epoch.label_gradient[i],
            f"loss/{group}": -epoch.log_probabilities[i, epoch.noisy_labels[i]],
            f"attention/{group}": 1 / (1 + math.exp(-epoch.attention_logits[i])),
            f"{group}/correct": predicted == epoch.true_labels[i],
        }
        if group == "mislabelled":
            values[f"{group}/memorised"] = predicted == epoch.noisy_labels[i]
            values[f"{group}/other"] = predicted not in (
                epoch.noisy_labels[i],
                epoch.true_labels[i],
            )
        values["correction/accuracy"] = epoch.corrected_labels[i] == epoch.true_labels[i]  # type: ignore[index]
        for name, value in values.items():
            tally.setdefault(name, []).append(float(value))
    for name, numbers in tally.items():
        assert scalars[name] == pytest.approx(np.mean(numbers), rel=1e-5), name
    mislabelled = epoch.true_labels != epoch.noisy_labels
    assert scalars["loss/auroc"] == pytest.approx(roc_auc_score(mislabelled, epoch.loss))
    assert scalars["attention/auroc"] == pytest.approx(
        roc_auc_score(mislabelled, -epoch.attention_logits)
    )
    assert set(scalars) == {*tally, "loss/auroc", "attention/auroc"}
    fractions = [scalars[f"mislabelled/{name}"] for name in ("correct", "memorised", "other")]
    assert sum(fractions) == pytest.approx(1)


@pytest.mark.parametrize("levels", [2, 5, 1000])
def test_auroc_with_ties(levels: int) -> None:
    random = np.random.default_rng(levels)
    score = random.integers(0, levels, 200) / 7
    positive = random.random(200) < 0.3
    assert auroc(score, positive) == pytest.approx(roc_auc_score(positive, score))
    assert math.isnan(auroc(score, np.zeros(200, dtype=bool)))


def test_scalars_without_true_labels() -> None:
    scalars = reduce.epoch_scalars(random_values(true_labels_known=False))
    assert set(scalars) == {"gradient/all", "gradient_label/all", "loss/all", "attention/all"}
    assert set(
        reduce.epoch_scalars(random_values(true_labels_known=False, has_attention=False))
    ) == {
        *("gradient/all", "gradient_label/all", "loss/all"),
    }


def test_histograms_count_every_sample_once() -> None:
    epoch = random_values(500)
    assert epoch.true_labels is not None
    tau_counts, log_counts = reduce.attention_histograms(epoch)
    mislabelled = int((epoch.true_labels != epoch.noisy_labels).sum())
    assert tau_counts.shape == (2, 50)
    assert tau_counts.sum(axis=1).tolist() == [500 - mislabelled, mislabelled]
    assert log_counts.sum(axis=1).tolist() == [500 - mislabelled, mislabelled]
    tau = 1 / (1 + np.exp(-epoch.attention_logits[epoch.true_labels == epoch.noisy_labels]))  # type: ignore[index]
    assert tau_counts[0, 25] == ((tau >= 0.5) & (tau < 0.52)).sum()


def test_log10_complement_is_precise_where_tau_is_near_one() -> None:
    attention = np.array([30.0, 18.0, -2.0], dtype=np.float32)
    log_complement = reduce.log10_complement(attention)
    np.testing.assert_allclose(log_complement[:2], -attention[:2] / np.log(10), rtol=1e-6)
    np.testing.assert_allclose(
        10 ** log_complement[2], 1 - reduce.attention_weight(attention)[2], rtol=1e-6
    )


def test_matrices_have_true_classes_in_rows() -> None:
    epoch = random_values()
    assert epoch.true_labels is not None
    assert epoch.attention_logits is not None
    matrices = reduce.label_matrices(epoch)
    for i in range(4):
        for j in range(4):
            cell = (epoch.true_labels == i) & (epoch.noisy_labels == j)
            assert matrices["noisy"][i, j] == cell.sum()
            assert (
                matrices["corrected"][i, j]
                == ((epoch.true_labels == i) & (epoch.corrected_labels == j)).sum()
            )
            if cell.any():
                mean = reduce.attention_weight(epoch.attention_logits[cell]).mean()
                assert matrices["attention"][i, j] == pytest.approx(mean, rel=1e-6)
            else:
                assert np.isnan(matrices["attention"][i, j])


def test_hard_samples_are_clean_and_learned_late() -> None:
    true_labels = np.zeros(9, dtype=int)
    noisy_labels = np.array([0, 0, 0, 0, 0, 0, 0, 0, 1])
    predicted = np.array(
        [
            [0, 0, 0, 0, 1, 1, 1, 1, 0],
            [0, 0, 0, 1, 0, 1, 1, 1, 0],
            [0, 0, 0, 0, 0, 0, 1, 1, 1],
            [0, 0, 0, 0, 0, 0, 0, 1, 1],
        ]
    )
    masks = group_samples(predicted, noisy_labels, true_labels)
    # Learned in epochs 0, 0, 0, 2 (forgotten once), 1, 2, 3 and never (4): three quarters by 2.
    assert masks["hard"].tolist() == [*[False] * 3, True, False, True, True, True, False]
    assert masks["easy"].tolist() == [*[True] * 3, False, True, False, False, False, False]
    assert masks["mislabelled"].tolist() == [*[False] * 8, True]
    over_time = attention_over_time(np.zeros((4, 9)), masks)
    assert all(values.tolist() == [0.5] * 4 for values in over_time.values())
