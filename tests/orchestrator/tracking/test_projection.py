from __future__ import annotations

from factories import make_result, make_spec

from orchestrator.tracking.projection import (
    cell_digest,
    cell_name,
    mlflow_metrics,
    numeric_hyperparameters,
    run_name,
    run_params,
    run_tags,
)


def test_the_seeds_do_not_enter_the_digest_of_a_cell() -> None:
    first = cell_digest(make_spec(seed=0), {})
    assert cell_digest(make_spec(seed=5), {}) == first
    others = [
        make_spec(values={"lambda": 2.0}),
        make_spec(method="ce"),
        make_spec(scenario="symmetric-0.2"),
        make_spec(epochs=7),
        make_spec(evaluate=["test"]),
        make_spec(subset=100),
    ]
    assert len({first, *(cell_digest(spec, {}) for spec in others)}) == 7
    assert cell_digest(make_spec(), {"noise": 0}) != first


def test_each_metric_has_one_point_per_epoch_at_the_time_of_its_end() -> None:
    result = make_result(make_spec(epochs=3), seconds=[1.0, 2.0, 3.0])
    points = mlflow_metrics(result, end_time_ms=100_000)
    losses = [(p.step, p.timestamp) for p in points if p.key == "train/loss"]
    assert losses == [(1, 95_000), (2, 97_000), (3, 100_000)]
    assert len({(p.key, p.step) for p in points}) == len(points)
    assert {p.step for p in points if p.key == "flip_rate"} == {3}
    assert not [p for p in points if p.key == "epoch"]


def test_names_of_runs_and_cells() -> None:
    assert run_name(make_spec(method="ce", seed=3), "train") == "ce symmetric-0.4 seed 3"
    values = {"lambda": 1.23456789, "alpha": 0.9}
    assert cell_name("nal", "clean", values) == "nal λ=1.235 α=0.9 clean"


def test_long_texts_are_truncated() -> None:
    result = make_result(diverged_at=1, reason="x" * 600)
    assert len(run_tags(result, "train", "digits")["nal.reason"]) == 500


def test_parameters_use_the_keys_of_a_study() -> None:
    params = run_params(make_spec(values={"lambda": 2.5}, subset=100))
    assert (params["lambda"], params["subset"], params["backbone"]) == ("2.5", "100", "mlp")
    assert params["mlp.hidden"] == "(128, 128)"
    assert params["schedule"] == "constant"


def test_numeric_hyperparameters_are_metrics_too() -> None:
    assert numeric_hyperparameters({"a": 2, "b": 0.5, "c": True, "d": "x", "e": (1, 2)}) == {
        "hp/a": 2.0,
        "hp/b": 0.5,
    }
    points = mlflow_metrics(make_result(make_spec(seed=7, values={"lambda": 2.5}, epochs=3)))
    numbers = {p.key: (p.step, p.value) for p in points}
    assert (numbers["hp/lambda"], numbers["seed"]) == ((3, 2.5), (3, 7.0))


def test_a_run_is_tagged_with_its_sweep() -> None:
    assert "nal.sweep" not in run_tags(make_result(), "train", "digits")
    assert run_tags(make_result(), "train", "digits", "ab" * 32)["nal.sweep"] == "ab" * 32
