from __future__ import annotations

import pytest

from orchestrator.tracking.doubles import find_distinct_runs, has_doubles
from reports.stored_runs import MlflowRun, MlflowRunData, MlflowRunInfo, TaggedRun

SWEEP = "5" * 64


def run(
    run_id: str, mlflow_status: str = "FINISHED", metrics: int = 0, parent: str = "", **tags: str
) -> MlflowRun:
    """Return an MLflow run with the tags "nal.NAME"."""
    info = MlflowRunInfo(run_id, "1", mlflow_status, f"mlflow-artifacts:/{run_id}", None)
    values = {str(number): 0.5 for number in range(metrics)}
    all_tags = {f"nal.{name}": value for name, value in tags.items()}
    if parent:
        all_tags["mlflow.parentRunId"] = parent
    return MlflowRun(info, MlflowRunData(values, {}, all_tags))


def sweep_run(run_id: str, status: str = "FINISHED", metrics: int = 0) -> MlflowRun:
    return run(run_id, status, metrics, kind="sweep", sweep=SWEEP)


def trained(run_id: str, parent: str, digest: str = "d", status: str = "FINISHED") -> MlflowRun:
    return run(run_id, status, parent=parent, kind="run", sweep=SWEEP, digest=digest)


@pytest.mark.parametrize(
    ("runs", "kept"),
    [
        ([sweep_run("new"), sweep_run("old")], "old"),
        ([sweep_run("new"), sweep_run("old", "RUNNING", metrics=5)], "new"),
        ([sweep_run("new", "RUNNING", metrics=5), sweep_run("old", "RUNNING")], "new"),
        ([sweep_run("new", "KILLED"), sweep_run("old", "RUNNING")], "old"),
    ],
)
def test_a_complete_run_is_kept_or_that_with_content_or_the_oldest(
    runs: list[MlflowRun], kept: str
) -> None:
    distinct = find_distinct_runs(runs)
    assert [run.info.run_id for run in distinct.runs] == [kept]
    assert {run.info.run_id for run in distinct.doubles} == {"new", "old"} - {kept}


def test_a_final_result_is_kept_and_not_that_of_a_run_that_was_stopped() -> None:
    stopped = run("old", kind="run", digest="d", phase="train", status="stopped")
    final = run("new", kind="run", digest="d", phase="train", status="finished")
    distinct = find_distinct_runs([final, stopped])
    assert [run.info.run_id for run in distinct.runs] == ["new"]


def test_children_of_a_double_or_of_nothing_get_the_parent_that_is_kept() -> None:
    cells = [
        run(name, parent="sweep double", kind="cell", sweep=SWEEP, cell="c")
        for name in ("cell double", "cell")
    ]
    seed = trained("seed", "cell double", "a")
    seed_data = MlflowRunData({}, {}, {**seed.data.tags, "nal.cell": "c"})
    runs = [
        sweep_run("sweep double", "RUNNING"),
        *cells,
        MlflowRun(seed.info, seed_data),
        trained("trial", "sweep double", "b"),
        trained("lost", "gone", "c"),
        trained("right", "sweep", "d"),
        sweep_run("sweep"),
    ]
    distinct = find_distinct_runs(runs)
    assert distinct.moved_parents == {
        "cell": "sweep",
        "seed": "cell",
        "trial": "sweep",
        "lost": "sweep",
    }
    assert {run.info.run_id for run in distinct.doubles} == {"sweep double", "cell double"}


def test_runs_that_cannot_be_told_apart_are_left_alone() -> None:
    unknown = [run("a", kind="run", sweep=SWEEP), run("b", sweep=SWEEP), run("c", kind="x")]
    distinct = find_distinct_runs([*unknown, *unknown])
    assert (distinct.runs, distinct.doubles, distinct.moved_parents) == ([], [], {})


def test_doubles_are_seen_in_tags_alone() -> None:
    tags = {"nal.kind": "run", "nal.sweep": SWEEP, "nal.digest": "d"}
    runs = [TaggedRun("a", "FINISHED", tags), TaggedRun("b", "FINISHED", tags | {"nal.sweep": "6"})]
    assert not has_doubles(runs)
    assert has_doubles([*runs, TaggedRun("c", "RUNNING", tags)])
