from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from factories import cell_specs, make_cell, make_plan, make_result, make_spec
from stores import fresh_store

from orchestrator.tracking.tracker import Tracker
from reports.read import describe_commit, read_curves, read_sweep
from reports.store import open_store
from search_spaces.schema import Phase
from trainables.errors import HomeError, RecordError, UserError

if TYPE_CHECKING:
    from reports.plan_record import PlanRecord


def record(uri: str, folder: Path, plan: PlanRecord, *, finish: bool = True) -> Tracker:
    writer = Tracker(uri, folder / "artifacts", plan.study)
    writer.start_sweep(plan, "")
    for cell in plan.cells:
        for spec in cell_specs(cell.method, cell.scenario, cell.seeds, cell.values):
            writer.record(make_result(spec, accuracy=0.9), Phase.CONFIRM, cell)
    if finish:
        writer.finish_sweep(plan, {})
    return writer


def test_a_sweep_is_read_back(tmp_path: Path) -> None:
    uri = fresh_store(tmp_path)
    plan = make_plan([make_cell("ce", seeds=(0, 1))])
    writer = record(uri, tmp_path, plan)
    writer.record(make_result(cell_specs("ce", "symmetric-0.4", (9,), {})[0]), "train")
    read, runs = read_sweep(uri)
    assert read == plan
    assert sorted(run.digest for run in runs) == sorted(plan.cells[0].digests)
    run = runs[0]
    assert (run.status, run.converged, run.provenance["device"]) == ("finished", True, "cpu")
    assert run.metrics["test/accuracy_last"] == pytest.approx(0.9)
    assert run.metrics["test/accuracy_best_val"] == pytest.approx(0.91)
    assert run.metrics["flip_rate"] == 0.4
    assert len(run.labels_sha256) == 64
    assert (run.commit, run.data_sha256) == ("0123abc", make_spec().data)
    assert (run.params["method"], run.params["learning_rate"]) == ("ce", "0.05")
    assert run.page_url == ""


def test_curves_are_read_by_digest(tmp_path: Path) -> None:
    uri = fresh_store(tmp_path)
    plan = make_plan([make_cell("ce", seeds=(0, 1))])
    record(uri, tmp_path, plan)
    _, runs = read_sweep(uri)
    curves = read_curves(uri, runs[:1], "test/accuracy")
    assert list(curves) == [runs[0].digest]
    epochs, values = zip(*curves[runs[0].digest], strict=True)
    assert epochs == (1, 2, 3, 4, 5, 6)
    assert values == pytest.approx([0.85, 0.86, 0.87, 0.88, 0.91, 0.9])
    assert read_curves(uri, runs[:1], "no/metric") == {runs[0].digest: []}


@pytest.mark.parametrize(
    ("commit", "dirty", "text"),
    [
        ("", "unknown", ""),
        ("0123abc", "no", "0123abc"),
        ("81cb1119ef80b9501d2f", "yes", "81cb1119ef80, with uncommitted changes"),
        ("81cb1119ef80b9501d2f, then 0123abc", "no", "81cb1119ef80, then 0123abc"),
    ],
)
def test_commits_are_described(commit: str, dirty: str, text: str) -> None:
    assert describe_commit(commit, dirty) == text


def test_a_run_of_two_sweeps_is_read_for_both(tmp_path: Path) -> None:
    uri = fresh_store(tmp_path)
    cells = {"a": make_cell("ce", seeds=(0,)), "b": make_cell("ce", seeds=(0, 1))}
    for name, cell in cells.items():
        record(uri, tmp_path, make_plan([cell], sweep=name * 64))
    for name, cell in cells.items():
        _, runs = read_sweep(uri, name * 4)
        assert sorted(run.digest for run in runs) == sorted(cell.digests)


def test_a_digest_recorded_twice_counts_once(tmp_path: Path) -> None:
    uri = fresh_store(tmp_path)
    plan = make_plan([make_cell("ce", seeds=(0,))])
    # The writers have separate states, as two processes would.
    first = Tracker(uri, tmp_path, plan.study)
    second = Tracker(uri, tmp_path, plan.study)
    result = make_result(cell_specs("ce", "symmetric-0.4", (0,), {})[0])
    for writer in (first, second):
        writer.start_sweep(plan, "")
    for writer in (first, second):
        writer.record(result, Phase.CONFIRM, plan.cells[0])
    assert len(read_sweep(uri)[1]) == 1


def test_half_written_and_diverged_runs(tmp_path: Path) -> None:
    uri = fresh_store(tmp_path)
    plan = make_plan([make_cell("ce", seeds=(0, 1))])
    writer = Tracker(uri, tmp_path, plan.study)
    writer.start_sweep(plan, "")
    diverged, unfinished = cell_specs("ce", "symmetric-0.4", (0, 1), {})
    writer.record(make_result(diverged, diverged_at=2), "train")
    writer.record(make_result(unfinished), "train")
    client = open_store(uri)
    client.update_run(writer._stored_runs["", unfinished.digest].run_id, status="RUNNING")
    (run,) = read_sweep(uri)[1]
    assert (run.digest, run.status) == (diverged.digest, "diverged")
    assert "test/accuracy_last" not in run.metrics


def test_a_plan_without_runs_is_read(tmp_path: Path) -> None:
    uri = fresh_store(tmp_path)
    plan = make_plan(state="running")
    record(uri, tmp_path, plan, finish=False)
    read, runs = read_sweep(uri)
    assert (read.state, runs) == ("running", [])


def test_a_sweep_is_selected_by_study_or_prefix(tmp_path: Path) -> None:
    uri = fresh_store(tmp_path)
    old = make_plan(sweep="ab" * 32, title="old")
    new = make_plan(sweep="ac" * 32, title="new")
    other = make_plan(sweep="cd" * 32, study="cifar10", title="other")
    for plan in (old, new, other):
        record(uri, tmp_path, plan)
    chosen = {name: read_sweep(uri, name)[0].title for name in ("digits", "ab", "cifar10", "acac")}
    assert chosen == {"digits": "new", "ab": "old", "cifar10": "other", "acac": "new"}
    assert read_sweep(uri)[0].title == "other"
    record(uri, tmp_path, old)
    assert read_sweep(uri)[0].title == "old"
    with pytest.raises(
        UserError, match=r"^the digests of 2 sweeps begin with 'a' .*: digits abab.*, digits acac"
    ):
        read_sweep(uri, "a")
    with pytest.raises(UserError, match=r"^no study or sweep 'webvision' .*, latest first: digits"):
        read_sweep(uri, "webvision")


def test_an_empty_store_names_the_command_to_run(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"^no sweep is recorded .*orchestrator sweep STUDY"):
        read_sweep(fresh_store(tmp_path))


def test_a_damaged_plan_is_named(tmp_path: Path) -> None:
    uri = fresh_store(tmp_path)
    plan = make_plan()
    writer = record(uri, tmp_path, replace(plan, title="lost"))
    client = open_store(uri)
    run = client.get_run(writer._sweeps[plan.sweep].run_id)
    (Path(run.info.artifact_uri.removeprefix("file://")) / "plan.json").write_text("{")
    with pytest.raises(RecordError, match=r"sweep \w+ of digits: plan\.json cannot be read"):
        read_sweep(uri)


def test_a_moved_folder_of_artifacts_is_explained_in_one_line(tmp_path: Path) -> None:
    uri = fresh_store(tmp_path)
    record(uri, tmp_path, make_plan())
    (tmp_path / "artifacts").rename(tmp_path / "moved")
    message = r"^MLflow expects the files of sweep \w+ in .*: move the folder back, or write"
    with pytest.raises(HomeError, match=message) as error:
        read_sweep(uri)
    assert str(tmp_path / "artifacts") in str(error.value)
    assert "\n" not in str(error.value)


def test_a_sweeps_own_runs_come_first(tmp_path: Path) -> None:
    uri = fresh_store(tmp_path)
    spec = cell_specs("ce", "symmetric-0.4", (0,), {})[0]
    for name, acc in (("a", 0.5), ("b", 0.7)):
        plan = make_plan([make_cell("ce", seeds=(0,))], sweep=name * 64)
        w = Tracker(uri, tmp_path, plan.study)
        w.start_sweep(plan, "")
        w.record(make_result(spec, accuracy=acc), Phase.CONFIRM, plan.cells[0])
    for name, acc in (("a", 0.5), ("b", 0.7)):
        (run,) = read_sweep(uri, name * 4)[1]
        assert run.metrics["test/accuracy_last"] == pytest.approx(acc)
