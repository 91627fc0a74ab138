from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
from factories import make_result, make_spec

from trainables.errors import RecordError
from trainables.run.protocols import HeldOutMean
from trainables.run.result import LabelStatistics, RunResult, Status
from trainables.run_data.realisation import Realisation

TRACE = [
    {"epoch": 1.0, "train/loss": 2.0},
    {"epoch": 2.0, "train/loss": 1.5, "val/accuracy": 0.5, "test/accuracy": 0.80},
    {"epoch": 3.0, "train/loss": 1.2, "val/accuracy": 0.6, "test/accuracy": 0.90},
    {"epoch": 4.0, "train/loss": 1.1, "val/accuracy": 0.6, "test/accuracy": 0.85},
    {"epoch": 5.0, "train/loss": 1.0, "val/accuracy": 0.4, "test/accuracy": 0.70},
]
RESULT = replace(
    make_result(make_spec(epochs=5, window=3)),
    trace=TRACE,
    seconds=[1.0, 2.0, 3.0, 2.0, 2.0],
    peak_memory_mb=512.0,
)


def test_a_record_without_the_facts_of_its_network_is_read() -> None:
    json_object = make_result(make_spec()).to_dict()
    for name in ("class_names", "mean", "std", "weights"):
        del json_object[name]
    result = RunResult.from_dict(json_object)
    assert (result.class_names, result.mean, result.std, result.weights) == ((), (), (), "")


def test_numbers_of_a_trace() -> None:
    assert RESULT.curve("val/accuracy") == [(2, 0.5), (3, 0.6), (4, 0.6), (5, 0.4)]
    assert RESULT.last_value("test/accuracy") == 0.70
    assert RESULT.mean_value("val/accuracy", HeldOutMean(3)) == pytest.approx((0.6 + 0.6 + 0.4) / 3)
    assert (
        RESULT.value_at_best("test/accuracy", "val/accuracy") == 0.90
    )  # the first of two best epochs
    assert RESULT.value_at_best("train/loss", "test/accuracy") == 1.2
    for number in (
        RESULT.last_value("x"),
        RESULT.mean_value("x", HeldOutMean(3)),
        RESULT.value_at_best("x", "val/accuracy"),
    ):
        assert number is None
    assert RESULT.value_at_best("test/accuracy", "x") is None


def test_summary() -> None:
    assert RESULT.summary() == pytest.approx(
        {
            "val/accuracy_mean_last": 1.6 / 3,
            "test/accuracy_last": 0.70,
            "test/accuracy_mean_last": 2.45 / 3,
            "test/accuracy_best_val": 0.90,
            "seconds_per_epoch": 2.0,
            "peak_memory_mb": 512.0,
        }
    )


def test_a_diverged_run_has_no_accuracy() -> None:
    diverged = replace(RESULT, status=Status.DIVERGED, reason="loss nan at step 1 of epoch 6")

    assert diverged.summary() == {"seconds_per_epoch": 2.0, "peak_memory_mb": 512.0}
    assert diverged.curve("val/accuracy") == RESULT.curve("val/accuracy")
    at_once = replace(diverged, trace=[], seconds=[])
    assert at_once.summary() == {"peak_memory_mb": 512.0}


def test_a_result_is_read_back_from_its_json() -> None:
    for result in (
        RESULT,
        make_result(attempts=3, weights="a" * 64),
        replace(RESULT, status=Status.DIVERGED),
    ):
        assert RunResult.from_dict(json.loads(json.dumps(result.to_dict()))) == result


def test_a_result_of_another_run_is_refused() -> None:
    plain = RESULT.to_dict() | {"digest": "0" * 64}
    with pytest.raises(
        RecordError, match=r"^result 000000000000 contains the spec of another run$"
    ):
        RunResult.from_dict(plain)


@pytest.mark.parametrize(
    "damage",
    [{"status": "running"}, {"labels": {}}, {"spec": {}}, {"trace": None}, {"attempts": "many"}],
)
def test_invalid_results_are_refused(damage: dict[str, object]) -> None:
    with pytest.raises(RecordError, match="not a "):
        RunResult.from_dict(RESULT.to_dict() | damage)
    with pytest.raises(RecordError, match="not a run result of this version"):
        RunResult.from_dict({})


def test_facts_of_the_labels() -> None:
    true, noisy = np.array([0, 0, 1, 1]), np.array([0, 1, 1, 1])
    labels = Realisation(np.arange(4), true, noisy, 2)
    transition = [[0.5, 0.5], [0.0, 1.0]]
    facts = LabelStatistics(labels.digest, 4, 0.25, transition, nominal_rate=0.4)
    assert LabelStatistics.from_realisation(labels, "symmetric-0.4") == facts
    unknown = Realisation(np.arange(4), true, noisy, 2, true_labels_known=False)
    assert LabelStatistics.from_realisation(unknown, "human-worse") == LabelStatistics(
        labels.digest, 4, None, transition
    )
