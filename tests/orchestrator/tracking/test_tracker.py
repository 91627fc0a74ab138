from __future__ import annotations

import json
import math
import time
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from factories import cell_specs, make_cell, make_plan, make_result, make_spec
from stores import fresh_store

from orchestrator.tracking.tracker import Tracker
from reports.plan_record import CrossedRecord, PlanRecord, StoppedTrialRecord, TuningRecord
from reports.store import open_store
from search_spaces.schema import Phase
from trainables.errors import ServiceError
from trainables.run.parameters import Space
from trainables.run.protocols import HeldOutMean
from trainables.run.recipe import Recipe
from trainables.run.result import Status
from trainables.run.schedules import CosineRestarts

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Run

PARENT_TAG = "mlflow.parentRunId"


@pytest.fixture
def uri(tmp_path: Path) -> str:
    return fresh_store(tmp_path)


@pytest.fixture
def client(uri: str) -> MlflowClient:
    return open_store(uri)


def tracker(uri: str, tmp_path: Path) -> Tracker:
    return Tracker(uri, tmp_path / "artifacts", "digits")


def runs(client: MlflowClient, kind: str) -> list[Run]:
    experiment = client.get_experiment_by_name("digits")
    assert experiment is not None
    found = client.search_runs([experiment.experiment_id], f"tags.`nal.kind` = '{kind}'")
    return list(found)


def runs_of_sweep(client: MlflowClient, kind: str, sweep: str) -> list[Run]:
    return [run for run in runs(client, kind) if run.data.tags.get("nal.sweep") == sweep]


def only_run(client: MlflowClient, kind: str) -> Run:
    (run,) = runs(client, kind)
    return run


def curve(client: MlflowClient, run: Run, metric: str) -> list[tuple[int, float]]:
    history = client.get_metric_history(run.info.run_id, metric)
    return sorted((point.step, point.value) for point in history)


def artifact(client: MlflowClient, run: Run, name: str, folder: Path) -> str:
    return Path(client.download_artifacts(run.info.run_id, name, str(folder))).read_text()


def test_a_run_is_written_with_metrics_parameters_and_tags(
    uri: str, client: MlflowClient, tmp_path: Path
) -> None:
    spec = make_spec(seed=7, values={"lambda": 1.5, "alpha": 0.8})
    result = make_result(spec, accuracy=0.93)
    tracker(uri, tmp_path).record(result, "train")
    run = only_run(client, "run")
    assert run.info.status == "FINISHED"
    assert run.info.run_name == "λ=1.5 α=0.8 nal symmetric-0.4 seed 7"
    assert curve(client, run, "test/accuracy") == result.curve("test/accuracy")
    assert curve(client, run, "train/loss") == result.curve("train/loss")
    assert run.data.metrics["val/accuracy"] == pytest.approx(0.93)
    assert run.data.metrics["test/accuracy_best_val"] == pytest.approx(0.94)
    assert run.data.metrics["flip_rate"] == 0.4
    assert run.data.metrics["seconds_per_epoch"] == pytest.approx(0.02)
    assert run.data.metrics["peak_memory_mb"] == 350.5
    params = run.data.params
    assert (params["method"], params["scenario"], params["seed"]) == ("nal", "symmetric-0.4", "7")
    assert (float(params["lambda"]), float(params["alpha"])) == (1.5, 0.8)
    assert (params["epochs"], params["learning_rate"]) == ("6", "0.05")
    tags = run.data.tags
    assert tags["nal.digest"] == result.digest
    assert tags["nal.labels"] == result.labels.sha256
    assert (tags["nal.device"], tags["nal.host"]) == ("cpu", "node-1")
    assert (tags["nal.torch"], tags["nal.commit"], tags["nal.dirty"]) == (
        "2.6.0",
        "0123abc",
        "false",
    )
    assert PARENT_TAG not in tags
    written = json.loads(artifact(client, run, "spec.json", tmp_path))
    assert type(spec).from_dict(written).digest == result.digest
    assert json.loads(artifact(client, run, "transition.json", tmp_path))[0][0] == 0.6
    assert run.inputs is not None
    assert [entry.dataset.digest for entry in run.inputs.dataset_inputs] == [
        spec.data[:36],
        result.labels.sha256[:36],
    ]


def test_writing_twice_doubles_no_point(uri: str, client: MlflowClient, tmp_path: Path) -> None:
    spec = make_spec(epochs=60, window=10)
    result = make_result(spec)
    first = tracker(uri, tmp_path)
    first.record(result, "train")
    first.record(result, "train")
    tracker(uri, tmp_path).record(result, "train")
    run = only_run(client, "run")
    for metric in ("train/loss", "train/accuracy", "val/accuracy", "test/accuracy"):
        assert [step for step, _ in curve(client, run, metric)] == list(range(1, 61))
    assert len(curve(client, run, "test/accuracy_last")) == 1


def test_a_long_trace_is_written_whole(uri: str, client: MlflowClient, tmp_path: Path) -> None:
    result = make_result(make_spec(epochs=500, window=10))
    tracker(uri, tmp_path).record(result, "train")
    run = only_run(client, "run")
    assert [step for step, _ in curve(client, run, "learning_rate")] == list(range(1, 501))
    assert len(curve(client, run, "test/accuracy")) == 500


@pytest.mark.parametrize("killed_in", ["log_inputs", "log_batch", "set_terminated"])
def test_a_half_written_run_is_replaced(
    uri: str,
    client: MlflowClient,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    killed_in: str,
) -> None:
    result = make_result()
    first = tracker(uri, tmp_path)

    def killed(*_: Any, **__: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(first._client, killed_in, killed)
    with pytest.raises(KeyboardInterrupt):
        first.record(result, "train")
    assert only_run(client, "run").info.status == "RUNNING"
    half = only_run(client, "run").info.run_id
    tracker(uri, tmp_path).record(result, "train")
    run = only_run(client, "run")
    assert run.info.run_id != half
    assert run.info.status == "FINISHED"
    assert curve(client, run, "train/loss") == result.curve("train/loss")


def test_a_diverged_run_is_marked_as_failed(uri: str, client: MlflowClient, tmp_path: Path) -> None:
    result = make_result(diverged_at=3)
    tracker(uri, tmp_path).record(result, "train")
    run = only_run(client, "run")
    assert run.info.status == "FAILED"
    assert run.data.tags["nal.status"] == "diverged"
    assert run.data.tags["nal.reason"] == "loss is nan in epoch 3, step 1"
    losses = curve(client, run, "train/loss")
    assert [step for step, _ in losses] == [1, 2, 3]
    assert math.isnan(losses[-1][1])
    assert "test/accuracy_last" not in run.data.metrics
    tracker(uri, tmp_path).record(result, "train")
    assert only_run(client, "run").info.run_id == run.info.run_id


def test_a_sweep_keeps_its_plan_study_and_tables(
    uri: str, client: MlflowClient, tmp_path: Path
) -> None:
    plan = make_plan([make_cell()], state="running")
    writer = tracker(uri, tmp_path)
    writer.start_sweep(plan, "title: digits\n")
    sweep = only_run(client, "sweep")
    assert (sweep.info.status, sweep.data.tags["nal.sweep"]) == ("RUNNING", plan.sweep)
    assert artifact(client, sweep, "study.yaml", tmp_path) == "title: digits\n"
    done = replace(plan, state="finished", deviations=["ß"])
    writer.finish_sweep(done, {"table.md": "# table", "table.txt": "table"})
    sweep = only_run(client, "sweep")
    assert (sweep.info.status, sweep.data.tags["nal.state"]) == ("FINISHED", "finished")
    assert PlanRecord.from_json(artifact(client, sweep, "plan.json", tmp_path)) == done
    assert artifact(client, sweep, "table.txt", tmp_path) == "table"
    assert sweep.data.tags["mlflow.note.content"] == "# table"


def test_an_interrupted_sweep_is_continued(uri: str, client: MlflowClient, tmp_path: Path) -> None:
    cell = make_cell(seeds=(0, 1))
    specs = cell_specs("nal", "symmetric-0.4", (0, 1), cell.values)
    plan = make_plan([cell], state="running")
    writer = tracker(uri, tmp_path)
    writer.start_sweep(plan, "")
    writer.record(make_result(specs[0]), Phase.CONFIRM, cell)
    writer.mark_interrupted()
    assert only_run(client, "sweep").info.status == "KILLED"
    assert only_run(client, "cell").info.status == "KILLED"
    again = tracker(uri, tmp_path)
    again.start_sweep(plan, "")
    assert only_run(client, "sweep").info.status == "RUNNING"
    for spec in specs:
        again.record(make_result(spec), Phase.CONFIRM, cell)
    assert only_run(client, "cell").info.status == "FINISHED"
    assert curve(client, only_run(client, "cell"), "n") == [(1, 1.0), (2, 2.0)]


def test_runs_are_nested_below_their_sweep_or_cell(
    uri: str, client: MlflowClient, tmp_path: Path
) -> None:
    cell = make_cell(seeds=(0, 1, 2))
    writer = tracker(uri, tmp_path)
    writer.start_sweep(make_plan([cell]), "")
    writer.record(make_result(make_spec(seed=1000, evaluate=["val"])), Phase.SEARCH)
    writer.record(make_result(make_spec(seed=2000, evaluate=["val"])), Phase.SELECT)
    specs = cell_specs("nal", "symmetric-0.4", cell.seeds, cell.values)
    for spec, accuracy in zip(specs, (0.91, 0.93, 0.98), strict=True):
        writer.record(make_result(spec, accuracy=accuracy), Phase.CONFIRM, cell)
    sweep, shown = only_run(client, "sweep"), only_run(client, "cell")
    assert shown.data.tags[PARENT_TAG] == sweep.info.run_id
    settings = ("method", "scenario", "lambda", "alpha", "dataset", "backbone", "epochs", "recipe")
    assert [shown.data.params[name] for name in settings] == [
        *("nal", "symmetric-0.4", "0.5", "0.9"),
        *("digits", "mlp", "6", "matched"),
    ]
    assert "seed" not in shown.data.params
    parents = {run.data.tags["nal.phase"]: run.data.tags[PARENT_TAG] for run in runs(client, "run")}
    assert parents == {
        "search": sweep.info.run_id,
        "select": sweep.info.run_id,
        "confirm": shown.info.run_id,
    }
    assert shown.data.metrics["test/accuracy_mean"] == pytest.approx(0.94)
    assert shown.data.metrics["test/accuracy_std"] == pytest.approx(0.0360555, abs=1e-6)
    assert (shown.data.metrics["n"], shown.data.metrics["diverged"]) == (3.0, 0.0)
    assert [step for step, _ in curve(client, shown, "test/accuracy_std")] == [2, 3]


def test_each_sweep_has_its_own_cell_and_seeds_below_itself(
    uri: str, client: MlflowClient, tmp_path: Path
) -> None:
    searched = make_result(make_spec(seed=1000, evaluate=["val"]))
    # The last sweep is the first one again, and finds all its runs in the store.
    for sweep, seeds in (("a", (0, 1)), ("b", (0, 1, 2)), ("a", (0, 1))):
        cell = make_cell(seeds=seeds)
        writer = tracker(uri, tmp_path)
        writer.start_sweep(make_plan([cell], sweep=sweep * 64), "")
        writer.record(searched, Phase.SEARCH)
        for spec in cell_specs("nal", "symmetric-0.4", seeds, cell.values):
            result = make_result(spec, accuracy=0.9 + 0.01 * spec.seeds.init)
            writer.record(result, Phase.CONFIRM, cell)
    assert len(runs(client, "sweep")) == 2
    for sweep, expected in (("a", [0.9, 0.905]), ("b", [0.9, 0.905, 0.91])):
        below = {kind: runs_of_sweep(client, kind, sweep * 64) for kind in ("sweep", "cell", "run")}
        (top,), (shown,) = below["sweep"], below["cell"]
        assert shown.data.tags[PARENT_TAG] == top.info.run_id
        means = curve(client, shown, "test/accuracy_mean")
        assert [step for step, _ in means] == list(range(1, len(expected) + 1))
        assert [value for _, value in means] == pytest.approx(expected)
        parents = [run.data.tags[PARENT_TAG] for run in below["run"]]
        assert parents.count(top.info.run_id) == 1
        assert parents.count(shown.info.run_id) == len(expected) == len(parents) - 1
    assert len(runs(client, "run")) == 3 + 4


def test_a_sweep_replaces_only_its_own_half_written_runs(
    uri: str, client: MlflowClient, tmp_path: Path
) -> None:
    result = make_result()
    plans = [make_plan(sweep=name * 64) for name in ("a", "b")]
    for plan in plans:
        writer = tracker(uri, tmp_path)
        writer.start_sweep(plan, "")
        writer.record(result, Phase.SEARCH)
    halves = {plan.sweep: runs_of_sweep(client, "run", plan.sweep)[0].info.run_id for plan in plans}
    for run_id in halves.values():
        client.update_run(run_id, status="RUNNING")
    writer = tracker(uri, tmp_path)
    writer.start_sweep(plans[1], "")
    writer.record(result, Phase.SEARCH)
    states = {run.info.run_id: run.info.status for run in runs(client, "run")}
    assert states.pop(halves[plans[0].sweep]) == "RUNNING"
    assert halves[plans[1].sweep] not in states
    assert list(states.values()) == ["FINISHED"]


def test_the_settings_of_an_interrupted_cell_are_written_later(
    uri: str, client: MlflowClient, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cell = make_cell(seeds=(0,))
    (spec,) = cell_specs("nal", "symmetric-0.4", (0,), cell.values)
    first = tracker(uri, tmp_path)
    first.start_sweep(make_plan([cell]), "")

    def killed(*_: Any, **__: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(first._client, "log_batch", killed)
    with pytest.raises(KeyboardInterrupt):
        first.record(make_result(spec), Phase.CONFIRM, cell)
    again = tracker(uri, tmp_path)
    again.start_sweep(make_plan([cell]), "")
    again.record(make_result(spec), Phase.CONFIRM, cell)
    shown = only_run(client, "cell")
    assert (shown.data.params["method"], shown.info.status) == ("nal", "FINISHED")
    assert curve(client, shown, "hp/lambda") == [(1, 0.5)]


def test_settings_sort_as_numbers(uri: str, client: MlflowClient, tmp_path: Path) -> None:
    writer = tracker(uri, tmp_path)
    cells = [make_cell(seeds=(0,), values={"lambda": v, "alpha": 0.9}) for v in (10, 2, 1.5)]
    writer.start_sweep(make_plan(cells), "")
    for cell, seed in zip(cells, (10, 9, 100), strict=True):
        (spec,) = cell_specs("nal", "symmetric-0.4", (seed,), cell.values)
        writer.record(make_result(spec), Phase.CONFIRM, cell)

    def ordered(kind: str, metric: str) -> list[float]:
        experiment = client.get_experiment_by_name("digits")
        assert experiment is not None
        found = client.search_runs(
            [experiment.experiment_id],
            f"tags.`nal.kind` = '{kind}'",
            order_by=[f'metrics."{metric}" ASC'],
        )
        return [run.data.metrics[metric] for run in found]

    assert ordered("run", "hp/lambda") == ordered("cell", "hp/lambda") == [1.5, 2.0, 10.0]
    assert ordered("run", "seed") == [9.0, 10.0, 100.0]
    assert [run.data.metrics["hp/alpha"] for run in runs(client, "cell")] == [0.9] * 3


def test_a_cell_counts_diverged_seeds_separately(
    uri: str, client: MlflowClient, tmp_path: Path
) -> None:
    cell = make_cell(seeds=(0, 1))
    writer = tracker(uri, tmp_path)
    writer.start_sweep(make_plan([cell]), "")
    good, bad = cell_specs("nal", "symmetric-0.4", (0, 1), cell.values)
    writer.record(make_result(good, accuracy=0.9), Phase.CONFIRM, cell)
    writer.record(make_result(bad, diverged_at=2), Phase.CONFIRM, cell)
    shown = only_run(client, "cell")
    assert (shown.data.metrics["n"], shown.data.metrics["diverged"]) == (1.0, 1.0)
    assert shown.data.metrics["test/accuracy_mean"] == pytest.approx(0.9)
    assert "test/accuracy_std" not in shown.data.metrics
    assert shown.info.status == "FINISHED"


def test_cells_differ_in_fixed_seeds_and_epochs(
    uri: str, client: MlflowClient, tmp_path: Path
) -> None:
    cell = make_cell(seeds=(0,))
    writer = tracker(uri, tmp_path)
    for sweep, fixed, epochs in (("a", {}, 6), ("b", {"noise": 0}, 6), ("c", {}, 12)):
        plan = make_plan([cell], sweep=sweep * 64, fixed_seeds=fixed)
        writer.start_sweep(plan, "")
        spec = make_spec(values=cell.values, epochs=epochs)
        writer.record(make_result(spec), Phase.CONFIRM, cell)
    assert len(runs(client, "cell")) == 3


def test_a_run_of_train_stays_and_is_written_below_its_cell_too(
    uri: str, client: MlflowClient, tmp_path: Path
) -> None:
    cell = make_cell(seeds=(0,))
    (spec,) = cell_specs("nal", "symmetric-0.4", (0,), cell.values)
    tracker(uri, tmp_path).record(make_result(spec, accuracy=0.9), "train")
    alone = only_run(client, "run").info.run_id
    plan = make_plan([cell])
    for _ in range(2):
        writer = tracker(uri, tmp_path)
        writer.start_sweep(plan, "")
        writer.record(make_result(spec, accuracy=0.9), Phase.CONFIRM, cell)
        writer.record(make_result(spec, accuracy=0.9), "train")
    shown = only_run(client, "cell")
    parents = {run.info.run_id: run.data.tags.get(PARENT_TAG) for run in runs(client, "run")}
    assert parents.pop(alone) is None
    assert list(parents.values()) == [shown.info.run_id]
    assert shown.data.metrics["test/accuracy_mean"] == pytest.approx(0.9)


def test_a_deleted_experiment_is_an_error(uri: str, client: MlflowClient, tmp_path: Path) -> None:
    tracker(uri, tmp_path)
    experiment = client.get_experiment_by_name("digits")
    assert experiment is not None
    client.delete_experiment(experiment.experiment_id)
    with pytest.raises(
        ServiceError, match=r"'digits' .* was deleted: restore the experiment with `mlflow"
    ):
        tracker(uri, tmp_path)


def test_means_of_a_run_follow_the_protocol_of_its_sweep(
    uri: str, client: MlflowClient, tmp_path: Path
) -> None:
    recipe = Recipe(6, 64, 0.05, schedule=CosineRestarts(2), window=2)
    spec = make_spec(recipe=recipe)
    # Accuracies of epochs 1 to 6: 0.85, 0.86, 0.87, 0.88, 0.91, 0.90.
    result = make_result(spec, accuracy=0.9)
    cell = make_cell(seeds=(0,), digests=[spec.digest])
    own = make_cell(seeds=(0,), digests=[spec.digest], recipe="own recipe")
    ends = {"symmetric-0.4": {"protocol": "held-out-cycle-ends", "cycles": 2}}
    mean = {"symmetric-0.4": {"protocol": "held-out-mean", "window": 2}}
    means = []
    for sweep, protocols, one in (
        ("a", ends, cell),
        ("b", mean, cell),
        ("c", mean, own),
        ("d", {}, cell),
    ):
        writer = tracker(uri, tmp_path)
        writer.start_sweep(make_plan([one], sweep=sweep * 64, protocols=protocols), "")
        writer.record(result, Phase.CONFIRM, one)
        (run,) = runs_of_sweep(client, "run", sweep * 64)
        means.append(run.data.metrics["test/accuracy_mean_last"])
    assert means == pytest.approx([0.89, 0.905, 0.88, 0.905])
    crossed = replace(
        cell, seeds=[], digests=[], crossed=CrossedRecord(["noise"], [0], [spec.digest])
    )
    writer = tracker(uri, tmp_path)
    writer.start_sweep(make_plan([crossed], sweep="e" * 64, protocols=ends), "")
    writer.record(result, Phase.CONFIRM)
    (run,) = runs_of_sweep(client, "run", "e" * 64)
    assert run.data.metrics["test/accuracy_mean_last"] == pytest.approx(0.89)
    assert "nal.cell" not in run.data.tags
    # A run that stands alone is read by the default of its schedule.
    assert result.summary()["test/accuracy_mean_last"] == pytest.approx(0.88)


def test_a_cell_has_every_accuracy_of_the_table(
    uri: str, client: MlflowClient, tmp_path: Path
) -> None:
    cell = make_cell(seeds=(0, 1))
    for _ in range(2):  # the second time, everything is there
        writer = tracker(uri, tmp_path)
        writer.start_sweep(make_plan([cell], further={"test/b/top1_last": "b"}), "")
        specs = cell_specs("nal", "symmetric-0.4", (0, 1), cell.values)
        for spec, accuracy in zip(specs, (0.9, 0.92), strict=True):
            writer.record(make_result(spec, accuracy=accuracy), Phase.CONFIRM, cell)
    metrics = only_run(client, "cell").data.metrics
    assert metrics["test/accuracy_last/mean"] == metrics["test/accuracy_mean"]
    assert metrics["test/accuracy_last/mean"] == pytest.approx(0.91)
    assert metrics["test/accuracy_best_val/mean"] == pytest.approx(0.92)
    assert metrics["test/accuracy_best_val/std"] == pytest.approx(0.02 / math.sqrt(2))
    assert metrics["test/accuracy_mean_last/n"] == 2.0
    assert not [name for name in metrics if "top1" in name]  # not measured


def test_a_sweep_has_parameters_the_best_value_and_counts(
    uri: str, client: MlflowClient, tmp_path: Path
) -> None:
    specs = [make_spec(seed=1000, values={"lambda": v}, evaluate=["val"]) for v in (1.0, 2.0, 3.0)]
    results = [make_result(spec, accuracy=a) for spec, a in zip(specs, (0.7, 0.8, 0), strict=False)]
    results[2] = make_result(specs[2], diverged_at=2)
    digests = [spec.digest for spec in specs]
    space = {"lambda": Space(low=1.0, high=3.0, log=False)}
    search = TuningRecord("nal", "NAL", "clean", ["clean"], space, 3, digests)
    plan = make_plan(searches=[search], state="running")
    writer = tracker(uri, tmp_path)
    writer.start_sweep(plan, "")
    for result in results:
        writer.record(result, Phase.SEARCH)
    done = make_plan(searches=[replace(search, chosen={"lambda": 2.0})])
    writer.finish_sweep(done, {})
    sweep = only_run(client, "sweep")
    assert (sweep.data.params["dataset"], sweep.data.params["epochs"]) == ("digits", "6")
    best = results[1].summary(HeldOutMean(3))["val/accuracy_mean_last"]
    assert sweep.data.metrics == pytest.approx({"runs": 3.0, "failures": 1.0, "best/nal": best})
    assert sweep.data.tags["nal.chosen.nal"] == "λ=2"


def test_a_run_that_was_stopped_early_has_not_failed(
    uri: str, client: MlflowClient, tmp_path: Path
) -> None:
    specs = [make_spec(seed=1000, values={"lambda": v}, evaluate=["val"]) for v in (1.0, 2.0)]
    whole = make_result(specs[0], accuracy=0.7)
    other = make_result(specs[1], accuracy=0.8, reason="after epoch 4 of 6")
    stopped = replace(other, trace=other.trace[:4], status=Status.STOPPED)
    digests = [spec.digest for spec in specs]
    search = TuningRecord("nal", "NAL", "clean", ["clean"], {}, 2, digests)
    search = replace(search, stopped=[StoppedTrialRecord(1, 1, 4)])
    writer = tracker(uri, tmp_path)
    writer.start_sweep(make_plan(searches=[search]), "")
    writer.record(whole, Phase.SEARCH)
    writer.record(stopped, Phase.SEARCH)
    writer.finish_sweep(make_plan(searches=[search]), {})
    metrics = only_run(client, "sweep").data.metrics
    best = whole.summary(HeldOutMean(3))["val/accuracy_mean_last"]
    assert metrics == pytest.approx({"runs": 2.0, "failures": 0.0, "best/nal": best})
    (run,) = (run for run in runs(client, "run") if run.data.tags["nal.status"] == "stopped")
    assert (run.info.status, run.data.tags["nal.reason"]) == ("FINISHED", "after epoch 4 of 6")
    assert curve(client, run, "val/accuracy")[-1] == (4, other.trace[3]["val/accuracy"])


def test_a_sweep_that_is_typed_again_keeps_its_end_unless_it_has_new_runs(
    uri: str, client: MlflowClient, tmp_path: Path
) -> None:
    ends, points = [], []
    for seeds in ((0,), (0,), (0, 1)):
        writer = tracker(uri, tmp_path)
        writer.start_sweep(make_plan(), "")
        for seed in seeds:
            writer.record(make_result(make_spec(seed=seed)), Phase.SEARCH)
        writer.finish_sweep(make_plan(), {})
        ends.append(only_run(client, "sweep").info.end_time)
        points.append(curve(client, only_run(client, "sweep"), "runs"))
        time.sleep(0.005)
    assert ends[0] == ends[1] < ends[2]
    first_points = [(0, 0.0), (1, 1.0)]
    assert points == [first_points, first_points, [*first_points, (2, 2.0)]]


def test_a_sweep_that_its_budget_has_ended_has_its_table(
    uri: str, client: MlflowClient, tmp_path: Path
) -> None:
    cell = make_cell(seeds=(0, 1))
    spec = cell_specs("nal", "symmetric-0.4", (0,), cell.values)[0]
    plan = make_plan([cell], state="running", budget_hours=0.5, is_budget_spent=True)
    writer = tracker(uri, tmp_path)
    writer.start_sweep(plan, "")
    writer.record(make_result(spec), Phase.CONFIRM, cell)
    writer.finish_sweep(plan, {"table.md": "# table"})
    sweep = only_run(client, "sweep")
    assert (sweep.info.status, only_run(client, "cell").info.status) == ("KILLED", "KILLED")
    assert sweep.data.tags["mlflow.note.content"] == "# table"
