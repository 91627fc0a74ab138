from __future__ import annotations

import pytest

from orchestrator.tracking.doubles import find_distinct_runs, has_doubles
from reports.stored_runs import MlflowRun, MlflowRunData, MlflowRunInfo, TaggedRun

SWEEP = "5" * 64


def run(run_id: str, status: str = "FINISHED", metrics: int = 0, **tags: str) -> MlflowRun:
    """Return an MLflow run; an underscore in the name of a tag stands for "nal."."""
    names = {name: f"nal.{name.removeprefix('_')}" for name in tags if name.startswith("_")}
    info = MlflowRunInfo(run_id, "1", status, f"mlflow-artifacts:/{run_id}", None)
    values = {str(number): 0.5 for number in range(metrics)}
    tags = {names.get(name, name): value for name, value in tags.items()}
    return MlflowRun(info, MlflowRunData(values, {}, tags))


def sweep_run(run_id: str, status: str = "FINISHED", metrics: int = 0) -> MlflowRun:
    return run(run_id, status, metrics, _kind="sweep", _sweep=SWEEP)


def trained(run_id: str, parent: str, digest: str = "d", status: str = "FINISHED") -> MlflowRun:
    tags = {"_kind": "run", "_sweep": SWEEP, "_digest": digest, "mlflow.parentRunId": parent}
    return run(run_id, status, **tags)


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
    stopped = run("old", _kind="run", _digest="d", _phase="train", _status="stopped")
    final = run("new", _kind="run", _digest="d", _phase="train", _status="finished")
    distinct = find_distinct_runs([final, stopped])
    assert [run.info.run_id for run in distinct.runs] == ["new"]


def test_children_of_a_double_or_of_nothing_get_the_parent_that_is_kept() -> None:
    cells = [
        run(name, _kind="cell", _sweep=SWEEP, _cell="c", **{"mlflow.parentRunId": "sweep double"})
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
    unknown = [run("a", _kind="run", _sweep=SWEEP), run("b", _sweep=SWEEP), run("c", _kind="x")]
    distinct = find_distinct_runs([*unknown, *unknown])
    assert (distinct.runs, distinct.doubles, distinct.moved_parents) == ([], [], {})


def test_doubles_are_seen_in_tags_alone() -> None:
    tags = {"nal.kind": "run", "nal.sweep": SWEEP, "nal.digest": "d"}
    runs = [TaggedRun("a", "FINISHED", tags), TaggedRun("b", "FINISHED", tags | {"nal.sweep": "6"})]
    assert not has_doubles(runs)
    assert has_doubles([*runs, TaggedRun("c", "RUNNING", tags)])
