"""The numbers of the figures against loops over samples."""

from __future__ import annotations

import math

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from trainables.diagnostics import reduce
from trainables.diagnostics.reduce import Epoch, attention_over_time, auroc, group_samples


def seen(count: int = 60, classes: int = 4, *, truth: bool = True, attends: bool = True) -> Epoch:
    random = np.random.default_rng(0)
    logits = 3 * random.standard_normal((count, classes))
    log_p = logits - np.log(np.exp(logits).sum(1, keepdims=True))
    true = random.integers(0, classes, count)
    given = np.where(random.random(count) < 0.4, random.integers(0, classes, count), true)
    return Epoch(
        log_p=log_p.astype(np.float32),
        attention=random.standard_normal(count).astype(np.float32) if attends else None,
        gradient=random.random(count).astype(np.float32),
        gradient_label=-random.random(count).astype(np.float32),
        given=given,
        true=true if truth else None,
        corrected=random.integers(0, classes, count),
    )


def test_fractions_and_means_are_those_of_a_loop() -> None:
    epoch = seen()
    assert epoch.true is not None
    assert epoch.attention is not None
    found = reduce.series(epoch)
    tally: dict[str, list[float]] = {}
    for i in range(len(epoch.given)):
        predicted = int(np.argmax(epoch.log_p[i]))
        group = "clean" if epoch.given[i] == epoch.true[i] else "mislabelled"
        values = {
            f"gradient/{group}": epoch.gradient[i],
            f"gradient_label/{group}": epoch.gradient_label[i],
            f"loss/{group}": -epoch.log_p[i, epoch.given[i]],
            f"attention/{group}": 1 / (1 + math.exp(-epoch.attention[i])),
            f"{group}/correct": predicted == epoch.true[i],
        }
        if group == "mislabelled":
            values[f"{group}/memorised"] = predicted == epoch.given[i]
            values[f"{group}/other"] = predicted not in (epoch.given[i], epoch.true[i])
        values["correction/accuracy"] = epoch.corrected[i] == epoch.true[i]  # type: ignore[index]
        for name, value in values.items():
            tally.setdefault(name, []).append(float(value))
    for name, numbers in tally.items():
        assert found[name] == pytest.approx(np.mean(numbers), rel=1e-5), name
    wrong = epoch.true != epoch.given
    assert found["loss/auroc"] == pytest.approx(roc_auc_score(wrong, epoch.loss))
    assert found["attention/auroc"] == pytest.approx(roc_auc_score(wrong, -epoch.attention))
    assert set(found) == {*tally, "loss/auroc", "attention/auroc"}
    three = [found[f"mislabelled/{name}"] for name in ("correct", "memorised", "other")]
    assert sum(three) == pytest.approx(1)


@pytest.mark.parametrize("levels", [2, 5, 1000])
def test_auroc_with_ties(levels: int) -> None:
    random = np.random.default_rng(levels)
    score = random.integers(0, levels, 200) / 7
    positive = random.random(200) < 0.3
    assert auroc(score, positive) == pytest.approx(roc_auc_score(positive, score))
    assert math.isnan(auroc(score, np.zeros(200, dtype=bool)))


def test_without_truth_nothing_needs_it() -> None:
    found = reduce.series(seen(truth=False))
    assert set(found) == {"gradient/all", "gradient_label/all", "loss/all", "attention/all"}
    assert set(reduce.series(seen(truth=False, attends=False))) == {
        *("gradient/all", "gradient_label/all", "loss/all"),
    }


def test_histograms_count_every_sample_once() -> None:
    epoch = seen(500)
    assert epoch.true is not None
    linear, logarithmic = reduce.histograms(epoch)
    wrong = int((epoch.true != epoch.given).sum())
    assert linear.shape == (2, 50)
    assert linear.sum(axis=1).tolist() == [500 - wrong, wrong]
    assert logarithmic.sum(axis=1).tolist() == [500 - wrong, wrong]
    tau = 1 / (1 + np.exp(-epoch.attention[epoch.true == epoch.given]))  # type: ignore[index]
    assert linear[0, 25] == ((tau >= 0.5) & (tau < 0.52)).sum()


def test_the_rest_of_an_attention_near_one_keeps_its_digits() -> None:
    attention = np.array([30.0, 18.0, -2.0], dtype=np.float32)
    rest = reduce.log10_rest(attention)
    np.testing.assert_allclose(rest[:2], -attention[:2] / np.log(10), rtol=1e-6)
    np.testing.assert_allclose(10 ** rest[2], 1 - reduce.weight(attention)[2], rtol=1e-6)


def test_matrices_have_true_classes_in_rows() -> None:
    epoch = seen()
    assert epoch.true is not None
    assert epoch.attention is not None
    found = reduce.matrices(epoch)
    for i in range(4):
        for j in range(4):
            cell = (epoch.true == i) & (epoch.given == j)
            assert found["noisy"][i, j] == cell.sum()
            assert found["corrected"][i, j] == ((epoch.true == i) & (epoch.corrected == j)).sum()
            if cell.any():
                mean = reduce.weight(epoch.attention[cell]).mean()
                assert found["attention"][i, j] == pytest.approx(mean, rel=1e-6)
            else:
                assert np.isnan(found["attention"][i, j])


def test_hard_samples_are_clean_ones_learned_late() -> None:
    true = np.zeros(9, dtype=int)
    given = np.array([0, 0, 0, 0, 0, 0, 0, 0, 1])
    predicted = np.array(
        [
            [0, 0, 0, 0, 1, 1, 1, 1, 0],
            [0, 0, 0, 1, 0, 1, 1, 1, 0],
            [0, 0, 0, 0, 0, 0, 1, 1, 1],
            [0, 0, 0, 0, 0, 0, 0, 1, 1],
        ]
    )
    masks = group_samples(predicted, given, true)
    # Learned in epoch 0, 0, 0, 2 (forgotten once), 1, 2, 3 and never (4): three quarters by 2.
    assert masks["hard"].tolist() == [*[False] * 3, True, False, True, True, True, False]
    assert masks["easy"].tolist() == [*[True] * 3, False, True, False, False, False, False]
    assert masks["mislabelled"].tolist() == [*[False] * 8, True]
    over_time = attention_over_time(np.zeros((4, 9)), masks)
    assert all(values.tolist() == [0.5] * 4 for values in over_time.values())
