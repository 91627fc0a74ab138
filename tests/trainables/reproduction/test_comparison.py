from __future__ import annotations

import math
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
from factories import make_result, make_spec, text_hash

from trainables.reproduction.comparison import Comparison, Verdict, compare, overall_verdict
from trainables.reproduction.recorded import RecordedRun
from trainables.run.result import Status

if TYPE_CHECKING:
    from trainables.run.result import RunResult

HERE = {"device": "cpu: AVX2", "processor": "A", "torch": "2.6.0", "commit": "0123", "dirty": "no"}
WEIGHTS = text_hash("weights")


def recorded_run(result: RunResult | None = None, **changes: Any) -> RecordedRun:
    result = result or make_result(weights=WEIGHTS)
    fields = {"is_altered": False, "environment": HERE, "is_need": False, **changes}
    return RecordedRun(result, **fields)


def with_trace(result: RunResult, epoch: int, metric: str, value: float) -> RunResult:
    """Return a result with another value of a metric at one epoch."""
    trace = [{**row, metric: value} if row["epoch"] == epoch else dict(row) for row in result.trace]
    return replace(result, trace=trace)


def compared(
    recorded: RecordedRun,
    repeated: RunResult | None,
    environment: dict[str, str] | None = None,
    epochs: int | None = None,
    labels: str | None = None,
) -> Comparison:
    labels = recorded.result.labels.sha256 if labels is None else labels
    return compare(recorded, repeated, labels, environment or HERE, epochs)


def test_equal_runs_are_identical() -> None:
    recorded = recorded_run()
    comparison = compared(recorded, recorded.result)
    assert comparison.verdict is Verdict.IDENTICAL
    assert (comparison.epochs, comparison.compared) == (6, ("noisy labels", "weights"))
    assert list(comparison.lines()) == [
        f"nal on symmetric-0.4, seed 0 ({recorded.digest[:12]}): identical "
        "(6 epochs, noisy labels, weights)"
    ]


@pytest.mark.parametrize(
    ("metric", "old", "new"),
    [
        ("train/loss", 0.5, math.nextafter(0.5, 1)),
        ("train/loss", 0.0, -0.0),
        ("train/loss", math.nan, 0.5),
        ("test/accuracy", 0.75, 0.75 + 1 / 4096),
    ],
)
def test_the_first_epoch_that_differs_is_named(metric: str, old: float, new: float) -> None:
    result = with_trace(make_result(), 4, metric, old)
    repeated = with_trace(with_trace(result, 4, metric, new), 5, "train/loss", 9.0)
    comparison = compared(recorded_run(result), repeated)
    assert comparison.verdict is Verdict.DIFFERS
    assert comparison.first_epoch == 4
    (difference,) = comparison.differences
    assert (difference.name, difference.recorded, difference.repeated) == (
        metric,
        repr(old),
        repr(new),
    )
    assert next(iter(comparison.lines())).endswith(": differs from epoch 4")
    assert list(comparison.lines())[1:] == [
        f"  {metric} {old!r} recorded, {new!r} now",
        "  nothing that is recorded about the environment differs",
    ]


def test_nan_equals_nan() -> None:
    result = with_trace(make_result(), 4, "train/loss", math.nan)
    assert compared(recorded_run(result), result).verdict is Verdict.IDENTICAL


def test_a_metric_that_is_missing_differs() -> None:
    result = make_result()
    repeated = replace(
        result, trace=[{k: v for k, v in r.items() if k != "test/accuracy"} for r in result.trace]
    )
    comparison = compared(recorded_run(result), repeated)
    assert comparison.first_epoch == next(
        int(row["epoch"]) for row in result.trace if "test/accuracy" in row
    )
    assert comparison.differences[0].repeated == "none"


def test_epochs_beyond_the_end_differ() -> None:
    result = make_result()
    longer = replace(result, trace=[*result.trace, {**result.trace[-1], "epoch": 7.0}])
    comparison = compared(recorded_run(longer), result)
    assert (comparison.verdict, comparison.first_epoch) == (Verdict.DIFFERS, 7)
    assert str(comparison.differences[0]) == "epochs 7 recorded, 6 now"


@pytest.mark.parametrize("epoch", [math.nan, 9.0, None])
def test_an_epoch_with_another_number_differs(epoch: float | None) -> None:
    result = make_result()
    trace = [dict(row) for row in result.trace]
    del trace[5]["epoch"]
    trace[5] |= {} if epoch is None else {"epoch": epoch}
    recorded = recorded_run(replace(result, trace=trace), is_altered=True)
    comparison = compared(recorded, result)
    assert (comparison.verdict, comparison.first_epoch) == (Verdict.DIFFERS, 6)


def test_only_the_epochs_that_are_asked_for_are_compared() -> None:
    result = make_result(weights=WEIGHTS)
    stopped = replace(with_trace(result, 4, "train/loss", 9.0), status=Status.STOPPED, weights="")
    for epochs, verdict in ((3, Verdict.IDENTICAL), (4, Verdict.DIFFERS)):
        repeated = replace(stopped, trace=stopped.trace[:epochs])
        comparison = compared(recorded_run(result), repeated, epochs=epochs)
        assert comparison.verdict is verdict
        assert comparison.epochs == epochs
        assert comparison.compared == ("noisy labels",)


def test_a_needed_run_is_compared_to_its_end() -> None:
    recorded = recorded_run(is_need=True)
    assert recorded.compared_epochs(3) == 6
    assert compared(recorded, recorded.result, epochs=3).compared == ("noisy labels", "weights")


@pytest.mark.parametrize(
    ("changes", "name"),
    [
        ({"weights": text_hash("other")}, "weights"),
        ({"status": Status.OUT_OF_MEMORY}, "status"),
        ({"split": text_hash("other")}, "training samples"),
    ],
)
def test_more_than_the_trace_is_compared(changes: dict[str, Any], name: str) -> None:
    recorded = recorded_run(make_result(weights=WEIGHTS, split=text_hash("split")))
    comparison = compared(recorded, replace(recorded.result, **changes))
    assert comparison.verdict is Verdict.DIFFERS
    assert comparison.differences[0].name == name


def test_weights_that_are_not_recorded_are_not_compared() -> None:
    recorded = recorded_run(make_result())
    comparison = compared(recorded, replace(recorded.result, weights=WEIGHTS))
    assert (comparison.verdict, comparison.compared) == (Verdict.IDENTICAL, ("noisy labels",))


def test_other_labels_differ_before_the_first_epoch() -> None:
    recorded = recorded_run()
    comparison = compared(recorded, None, labels=text_hash("other"))
    assert (comparison.verdict, comparison.first_epoch) == (Verdict.DIFFERS, 0)
    assert next(iter(comparison.lines())).endswith(": differs before epoch 1")
    unusable = compared(recorded, None, labels="")
    assert str(unusable.differences[0]) == "a run that it needs usable recorded, not usable now"


def test_other_outcomes_of_needed_runs_differ() -> None:
    result = make_result()
    result.provenance["input.posterior"] = "a" * 64
    repeated = replace(result, provenance={"input.posterior": "b" * 64})
    comparison = compared(recorded_run(result), repeated)
    assert comparison.differences[0].name == "posterior of its needed run"
    assert comparison.first_epoch == 0
    assert compared(recorded_run(result), result).compared == (
        "noisy labels",
        "posterior of its needed run",
    )


def test_an_altered_record_is_never_identical() -> None:
    recorded = recorded_run(is_altered=True)
    whole = compared(recorded, recorded.result)
    stopped = replace(
        recorded.result, status=Status.STOPPED, trace=recorded.result.trace[:2], weights=""
    )
    part = compared(recorded, stopped, epochs=2)
    assert (whole.verdict, part.verdict) == (Verdict.ALTERED, Verdict.ALTERED)
    assert list(part.lines()) == [
        f"nal on symmetric-0.4, seed 0 ({recorded.digest[:12]}): altered, but not in what was "
        "compared (2 epochs, noisy labels)",
        "  the record was altered after it was written: its checksum does not match its content",
    ]


# --- runs that did not finish


def test_a_diverged_run_is_identical_if_it_diverges_again() -> None:
    result = replace(make_result(diverged_at=4), trace=make_result().trace[:3])
    recorded = recorded_run(result)
    assert recorded.compared_epochs(None) == 4
    assert compared(recorded, result).verdict is Verdict.IDENTICAL
    survivor = replace(make_result(), status=Status.STOPPED, trace=make_result().trace[:4])
    comparison = compared(recorded, survivor)
    assert (comparison.verdict, comparison.first_epoch) == (Verdict.DIFFERS, 4)
    other_reason = compared(recorded, replace(result, reason="loss is inf"))
    assert [each.name for each in other_reason.differences] == ["reason"]


def test_a_stopped_run_is_compared_as_far_as_it_came() -> None:
    result = replace(make_result(), status=Status.STOPPED, trace=make_result().trace[:2])
    recorded = recorded_run(result)
    assert recorded.compared_epochs(None) == 2
    assert compared(recorded, result).verdict is Verdict.IDENTICAL


def test_samples_that_are_not_recorded_are_not_compared() -> None:
    result = replace(make_result(), status=Status.OUT_OF_MEMORY, trace=make_result().trace[:2])
    repeated = replace(result, split=text_hash("split"))
    assert compared(recorded_run(result), repeated).verdict is Verdict.IDENTICAL


# --- tolerance


def elsewhere(**changes: str) -> dict[str, str]:
    return {**HERE, **changes}


@pytest.mark.parametrize(
    ("environment", "shift", "verdict"),
    [
        (elsewhere(torch="2.7.0"), 0.0049, Verdict.WITHIN_TOLERANCE),
        (elsewhere(device="cuda: NVIDIA H100"), 0.0049, Verdict.WITHIN_TOLERANCE),
        (elsewhere(processor="B"), -0.0049, Verdict.WITHIN_TOLERANCE),
        (elsewhere(torch="2.7.0"), 0.0051, Verdict.DIFFERS),
        (elsewhere(torch="2.7.0"), -0.0051, Verdict.DIFFERS),
        (elsewhere(commit="4567"), 0.0001, Verdict.DIFFERS),
        (elsewhere(dirty="yes"), 0.0001, Verdict.DIFFERS),
        (HERE, 0.0001, Verdict.DIFFERS),
    ],
)
def test_means_may_differ_by_half_a_point_where_rounding_does(
    environment: dict[str, str], shift: float, verdict: Verdict
) -> None:
    result = make_result()
    repeated = replace(
        result,
        trace=[
            {k: v + shift if k == "test/accuracy" else v for k, v in row.items()}
            for row in result.trace
        ],
    )
    comparison = compared(recorded_run(result), repeated, environment)
    assert comparison.verdict is verdict
    assert comparison.largest_points == pytest.approx(100 * abs(shift))
    if verdict is Verdict.WITHIN_TOLERANCE:
        assert next(iter(comparison.lines())).endswith(
            "within tolerance (differs from epoch 1, but mean accuracies by at most 0.49 points; "
            "0.5 are allowed)"
        )


@pytest.mark.parametrize(
    "case", [{"is_altered": True}, {"labels": text_hash("other")}, {"status": Status.DIVERGED}]
)
def test_nothing_else_is_within_tolerance(case: dict[str, Any]) -> None:
    result = make_result()
    repeated = replace(
        with_trace(result, 1, "train/loss", 9.0), status=case.get("status", Status.FINISHED)
    )
    recorded = recorded_run(result, is_altered=case.get("is_altered", False))
    comparison = compared(recorded, repeated, elsewhere(torch="2.7.0"), labels=case.get("labels"))
    assert comparison.verdict is Verdict.DIFFERS
    assert ("  the record was altered" in "\n".join(comparison.lines())) == recorded.is_altered
    assert "  may explain it: torch: 2.6.0 recorded, 2.7.0 now" in comparison.lines()


def test_the_first_epochs_are_within_tolerance_by_their_last_ones() -> None:
    result = make_result(make_spec(epochs=30, window=3))
    repeated = replace(with_trace(result, 1, "train/loss", 9.0), status=Status.STOPPED)
    repeated = replace(repeated, trace=repeated.trace[:29])
    comparison = compared(recorded_run(result), repeated, elsewhere(torch="2.7.0"), epochs=29)
    assert comparison.verdict is Verdict.WITHIN_TOLERANCE
    assert comparison.largest_points == 0


def test_the_worst_verdict_counts() -> None:
    assert [verdict.exit_code for verdict in Verdict] == [0, 3, 4, 5]
    assert overall_verdict(Verdict) is Verdict.ALTERED
    assert overall_verdict([Verdict.IDENTICAL, Verdict.WITHIN_TOLERANCE]) is (
        Verdict.WITHIN_TOLERANCE
    )
