from __future__ import annotations

from dataclasses import replace

from factories import make_cell, make_plan, make_result, make_spec

from orchestrator.tracking.projection import (
    cell_digest,
    cell_name,
    dataset_inputs,
    mlflow_metrics,
    run_name,
    run_params,
    run_tags,
    searched_names,
)
from reports.plan_record import TuningRecord
from search_spaces.schema import Phase
from trainables.run.parameters import AnySpace, ChoiceSpace, Space
from trainables.run.recipe import Recipe
from trainables.run.seeds import Seeds


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


def test_the_seed_of_a_run_is_one_that_the_study_does_not_hold_fixed() -> None:
    spec = make_spec(method="ce", seeds=Seeds.from_base_seed(3, init=7))
    assert run_name(spec, "train", fixed_axes={"init"}) == "ce symmetric-0.4 seed 3"
    assert run_params(spec, {"init"})["seed"] == "3"
    metrics = mlflow_metrics(make_result(spec), fixed_axes={"init"})
    assert [metric.value for metric in metrics if metric.key == "seed"] == [3.0]


def test_long_texts_are_truncated() -> None:
    result = make_result(diverged_at=1, reason="x" * 600)
    assert len(run_tags(result, "train", "digits")["nal.reason"]) == 500


def test_parameters_use_the_keys_of_a_study() -> None:
    params = run_params(make_spec(values={"lambda": 2.5}, subset=100))
    assert (params["lambda"], params["subset"], params["backbone"]) == ("2.5", "100", "mlp")
    assert params["mlp.hidden"] == "(128, 128)"
    assert params["schedule"] == "constant"


def test_numbers_that_a_search_may_vary_are_metrics_too() -> None:
    recipe = Recipe(epochs=3, batch_size=64, learning_rate=0.05, weight_decay=1e-4)
    points = mlflow_metrics(make_result(make_spec(seed=7, values={"lambda": 2.5}, recipe=recipe)))
    numbers = {p.key: (p.step, p.value) for p in points}
    assert (numbers["hp/lambda"], numbers["seed"]) == ((3, 2.5), (3, 7.0))
    assert (numbers["hp/learning_rate"], numbers["hp/weight_decay"]) == ((3, 0.05), (3, 1e-4))
    assert "hp/clamps" not in numbers  # a bool


def test_searched_values_of_the_recipe_are_in_the_name_of_a_run() -> None:
    space = {"learning_rate": Space(low=0.01, high=1.0, log=True)}
    search = TuningRecord("ce", "CE", "symmetric-0.4", ["symmetric-0.4"], space, 12, [])
    plan = make_plan(searches=[search])
    trials = [
        make_spec(method="ce", recipe=Recipe(epochs=3, batch_size=64, learning_rate=rate))
        for rate in (0.01234, 0.5)
    ]
    searched = searched_names(plan, trials[0], None)
    assert [run_name(trial, Phase.SEARCH, searched) for trial in trials] == [
        "lr=0.01234 ce symmetric-0.4 seed 0",
        "lr=0.5 ce symmetric-0.4 seed 0",
    ]
    varied = replace(make_cell("ce"), values={"weight_decay": 0.1})
    assert searched_names(plan, trials[0], varied) == {"learning_rate", "weight_decay"}
    assert searched_names(plan, make_spec(method="nal"), None) == set()
    assert cell_name("ce", "clean", {"learning_rate": 0.5}) == "ce lr=0.5 clean"


def test_a_name_has_only_the_values_whose_conditions_are_met() -> None:
    space: dict[str, AnySpace] = {
        "clamps": ChoiceSpace((False, True)),
        "target_interval": Space(1, 9, integer=True, when={"clamps": (True,)}),
    }
    search = TuningRecord("nal", "NAL", "symmetric-0.4", ["symmetric-0.4"], space, 12, [])
    plan = make_plan(searches=[search])
    values = {"lambda": 0.5, "alpha": 0.9, "target_interval": 3}
    names = [
        run_name(spec, Phase.SEARCH, searched_names(plan, spec, None))
        for clamps in (False, True)
        for spec in [make_spec(values={**values, "clamps": clamps})]
    ]
    assert names == [
        "λ=0.5 α=0.9 clamps=False nal symmetric-0.4 seed 0",
        "λ=0.5 α=0.9 clamps=True target_interval=3 nal symmetric-0.4 seed 0",
    ]


def test_datasets_of_a_run_are_named_by_their_content() -> None:
    result = make_result()
    data, labels = dataset_inputs(result)
    assert (data.dataset.name, data.dataset.digest) == ("digits", result.spec.data[:36])
    assert (labels.dataset.name, labels.dataset.digest) == (
        "digits symmetric-0.4",
        result.labels.sha256[:36],
    )
    assert [entry.tags[0].value for entry in (data, labels)] == ["data", "labels"]


def test_the_source_of_a_run_contains_no_path() -> None:
    tags = run_tags(make_result(), "train", "digits", "ab" * 32)
    assert tags["mlflow.source.name"] == "orchestrator sweep digits"
    assert tags["mlflow.source.type"] == "LOCAL"
    assert tags["mlflow.user"]


def test_a_run_is_tagged_with_its_sweep() -> None:
    assert "nal.sweep" not in run_tags(make_result(), "train", "digits")
    assert run_tags(make_result(), "train", "digits", "ab" * 32)["nal.sweep"] == "ab" * 32


def test_system_metrics_have_the_names_of_mlflow_and_the_end_of_their_epoch() -> None:
    row = {"epoch": 2.0, "cpu_utilization_percentage": 50.0}
    result = make_result(make_spec(epochs=2), seconds=[1.0, 2.0], system_metrics=[row])
    points = [p for p in mlflow_metrics(result, end_time_ms=9_000) if p.key.startswith("system/")]
    assert [(p.key, p.value, p.step, p.timestamp) for p in points] == [
        ("system/cpu_utilization_percentage", 50.0, 2, 9_000)
    ]
