from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from factories import make_result, make_spec

from reports.suspects import (
    probabilities_arrays,
    probabilities_csv,
    rank_suspects,
    weakness_warning,
)
from trainables.diagnostics.store import Diagnostics
from trainables.errors import UserError


def make_diagnostics(**arrays: object) -> Diagnostics:
    values = {
        "seen": [True] * 4,
        "position": [10, 11, 12, 13],
        "given": [0, 0, 1, 1],
        "target": [0, 1, 1, 0],
        "target_probability": [0.9, 0.8, 0.6, 0.5],
        "loss": [0.1, 3.0, 0.5, 2.0],
        "true": [0, 1, 1, 1],
        "predicted": [[0, 0, 1, 0], [0, 1, 1, 0]],
    }
    return Diagnostics({name: np.array(value) for name, value in {**values, **arrays}.items()})


def test_a_sample_with_an_unreadable_picture_is_not_ranked() -> None:
    ranking = rank_suspects(make_diagnostics(seen=[True, False, True, True]))
    assert sorted(ranking.positions.tolist()) == [10, 12, 13]
    assert len(ranking.losses) == len(ranking.given_labels) == 3


def test_high_loss_and_another_target_come_first() -> None:
    ranking = rank_suspects(make_diagnostics())
    assert ranking.positions.tolist() == [11, 13, 12, 10]
    assert ranking.scores.tolist() == pytest.approx([1.0, 2 / 3, 1 / 3, 0.0])
    assert (ranking.given_labels.tolist(), ranking.proposed_labels.tolist()) == (
        [0, 1, 1, 0],
        [1, 0, 1, 0],
    )
    assert ranking.attention_weights is None
    assert (ranking.mislabelled_count, ranking.precision(1), ranking.precision(2)) == (1, 1.0, 0.5)


def with_history(**arrays: object) -> Diagnostics:
    probabilities = np.array([[0.8, 0.2], [0.6, 0.4], [0.5, 0.5], [0.7, 0.3]])
    return make_diagnostics(
        **{
            "history/epochs": [10, 10, 10, 5],
            "history/disagreements": [1, 2, 3, 4],
            "history/margin": [2.0, 0.5, -1.0, -2.0],
            "history/label_probability": probabilities[range(4), [0, 0, 1, 1]],
            "history/probabilities": probabilities,
            **arrays,
        }
    )


def test_classes_are_scaled_to_be_as_frequent_as_the_labels() -> None:
    """Class 0 has the mean probability 0.65, but half of the labels."""
    ranking = rank_suspects(with_history())
    odds = [(one / 0.65) / (two / 0.35) for one, two in ((0.8, 0.2), (0.6, 0.4), (0.5, 0.5))]
    first, second, third = (2 * odd / (1 + odd) - 1 for odd in odds)  # p(0) - p(1)
    scores = dict(zip(ranking.positions.tolist(), ranking.scores.tolist(), strict=True))
    assert ranking.score_name == "balanced-margin"
    assert scores[10] == pytest.approx(-first)
    assert scores[11] == pytest.approx(-second)
    assert scores[12] == pytest.approx(third)
    assert ranking.positions.tolist() == [13, 11, 12, 10]
    assert ranking.proposed_labels.tolist() == [0, 1, 1, 0]
    assert ranking.estimated_share == 0.5


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("label-probability", [13, 12, 11, 10]),
        ("margin", [13, 12, 11, 10]),
        ("disagreement", [13, 12, 11, 10]),
        ("last-epoch", [11, 13, 12, 10]),
        ("loss", [11, 13, 12, 10]),
    ],
)
def test_order_of_each_score(name: str, expected: list[int]) -> None:
    ranking = rank_suspects(with_history(), name)
    assert ranking.positions.tolist() == expected
    assert ranking.score_name == name
    assert ranking.disagreements is not None
    rates = dict(zip(ranking.positions.tolist(), ranking.disagreements.tolist(), strict=True))
    assert rates == {10: 0.1, 11: 0.2, 12: 0.3, 13: 0.8}


def test_records_of_earlier_versions_are_ranked_by_the_last_epoch() -> None:
    ranking = rank_suspects(make_diagnostics())
    assert (ranking.score_name, ranking.estimated_share, ranking.has_memorised) == (
        "last-epoch",
        None,
        False,
    )
    with pytest.raises(UserError, match=r"not recorded what the score 'margin' needs .*: choose"):
        rank_suspects(make_diagnostics(), "margin")
    with pytest.raises(UserError, match=r"not recorded what the score 'attention' needs"):
        rank_suspects(with_history(), "attention")
    with pytest.raises(UserError, match=r"unknown score 'margn': did you mean 'margin'"):
        rank_suspects(with_history(), "margn")


def test_a_network_that_has_learned_the_labels_is_recognised() -> None:
    assert not rank_suspects(with_history()).has_memorised
    learned = rank_suspects(with_history(predicted=[[0, 0, 1, 1]]))
    assert learned.has_memorised


def test_probabilities_are_those_that_cleanlab_reads() -> None:
    diagnostics = with_history(seen=[True, True, False, True])
    arrays = probabilities_arrays(diagnostics)
    assert arrays["index"].tolist() == [10, 11, 13]
    assert arrays["labels"].tolist() == [0, 0, 1]
    np.testing.assert_allclose(
        arrays["pred_probs"].astype(float), [[0.8, 0.2], [0.6, 0.4], [0.7, 0.3]]
    )
    text = probabilities_csv(diagnostics, ["=a", "b"], None)
    assert text.splitlines()[:2] == ["index,file,given,=a,b", "10,,0,0.800000,0.200000"]


def test_attention_counts_by_its_spread() -> None:
    saturated = rank_suspects(make_diagnostics(last_attention=[20.0, 21.0, 20.0, 21.0]))
    assert saturated.scores.tolist() == pytest.approx([1.0, 2 / 3, 1 / 3, 0.0], abs=1e-6)
    spread = rank_suspects(make_diagnostics(last_attention=[-9.0, 9.0, 9.0, 9.0]))
    assert spread.scores[list(spread.positions).index(10)] > 0.2
    assert spread.attention_weights is not None


def test_without_true_labels_there_is_no_precision() -> None:
    diagnostics = make_diagnostics()
    ranking = rank_suspects(
        Diagnostics({k: v for k, v in diagnostics.arrays.items() if k != "true"})
    )
    assert (ranking.true_labels, ranking.mislabelled_count, ranking.precision(2)) == (
        None,
        None,
        None,
    )


def warning_at(accuracy: float, flip_rate: float | None) -> str | None:
    result = make_result(accuracy=accuracy)
    return weakness_warning(replace(result, labels=replace(result.labels, flip_rate=flip_rate)))


@pytest.mark.parametrize(("accuracy", "flip_rate"), [(0.369, 0.4), (0.369, None), (0.1, 0.8)])
def test_weak_network_is_warned_of(accuracy: float, flip_rate: float | None) -> None:
    assert f"its test accuracy is {accuracy:.1%}" in str(warning_at(accuracy, flip_rate))


@pytest.mark.parametrize(("accuracy", "flip_rate"), [(0.6, 0.4), (0.6, None), (0.369, 0.8)])
def test_network_that_beats_its_labels_is_not_weak(
    accuracy: float, flip_rate: float | None
) -> None:
    assert warning_at(accuracy, flip_rate) is None


def test_without_test_accuracy_there_is_no_warning() -> None:
    assert weakness_warning(make_result(make_spec(evaluate=("val",)), accuracy=0.1)) is None
