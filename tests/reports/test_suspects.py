from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from factories import make_result, make_spec

from reports.suspects import rank_suspects, weakness_warning
from trainables.diagnostics.store import Diagnostics


def make_diagnostics(**arrays: object) -> Diagnostics:
    values = {
        "seen": [True] * 4,
        "position": [10, 11, 12, 13],
        "given": [0, 0, 1, 1],
        "target": [0, 1, 1, 0],
        "target_probability": [0.9, 0.8, 0.6, 0.5],
        "loss": [0.1, 3.0, 0.5, 2.0],
        "true": [0, 1, 1, 1],
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
