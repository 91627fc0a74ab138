"""The Ray Tune trainable in real Ray workers."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import torch
from small_runs import assert_same_bits, bits, complete_run, digits, recipe, runnable
from workers import rows_of, trial

from trainables.node_check import NodeDemand, own_versions
from trainables.run.record import Record
from trainables.run.result import RunResult, Status
from trainables.training.job import Job
from trainables.training.training_run import TrainingRun

if TYPE_CHECKING:
    from collections.abc import Iterator

    from trainables.run.spec import RunSpec

pytestmark = pytest.mark.slow
ROOT = Path(__file__).parents[2]
SPEC = runnable(recipe=recipe(4))
OTHER = runnable(recipe=recipe(2, momentum=0.0), method="ce", seed=3, hold_out=0.1)


@pytest.fixture(scope="module")
def actor(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """Return an untrained worker of `SPEC`, whose home is its attribute `first`."""
    import ray
    from workers import HomeTrainable

    patch = pytest.MonkeyPatch()
    patch.setenv("RAY_USAGE_STATS_ENABLED", "0")
    # Ray keeps the mode that it finds at its first use, which may be another test of this process.
    patch.setenv("RAY_AUTH_MODE", "disabled")
    ray.init(
        address="local",
        num_cpus=2,
        include_dashboard=False,
        log_to_driver=False,
        runtime_env={"env_vars": {"PYTHONPATH": f"{ROOT}:{ROOT / 'tests'}"}},
    )
    home = tmp_path_factory.mktemp("first")
    worker = ray.remote(num_cpus=1)(HomeTrainable).remote(trial(SPEC, home))
    yield Worker(worker, home)
    ray.shutdown()
    patch.undo()


class Worker:
    """Worker that trains one run after another, like Ray Tune's reused actors."""

    def __init__(self, handle: Any, first: Path) -> None:
        self.handle = handle
        self.first = first

    def finish(self) -> dict[str, Any]:
        """Train the run to its end and return the last report."""
        import ray

        while True:
            report: dict[str, Any] = ray.get(self.handle.train.remote())
            if report["done"]:
                return report

    def train(self, configuration: dict[str, Any]) -> dict[str, Any]:
        """Train another run to its end and return the last report."""
        import ray

        assert ray.get(self.handle.reset.remote(configuration))
        return self.finish()


def outcome(home: Path, spec: RunSpec) -> tuple[RunResult, dict[str, Any]]:
    record = Record(home, spec.digest)
    result = record.read_result()
    assert result is not None
    return result, bits(torch.load(record.checkpoint_path, weights_only=True)["trainer"])


def test_a_reused_worker_gives_the_bits_of_a_plain_process(actor: Worker, tmp_path: Path) -> None:
    first = actor.finish()
    second = actor.train(trial(OTHER, tmp_path / "worker"))
    third = actor.train(trial(SPEC, tmp_path / "worker"))
    for spec in (SPEC, OTHER):
        complete_run(spec, tmp_path / "plain", digits, "digits")

    for report, home, spec in (
        (first, actor.first, SPEC),
        (second, tmp_path / "worker", OTHER),
        (third, tmp_path / "worker", SPEC),
    ):
        result, state = outcome(home, spec)
        expected, expected_state = outcome(tmp_path / "plain", spec)
        assert result.trace == expected.trace
        assert_same_bits(state, expected_state)
        assert rows_of(report)[-1] == expected.trace[-1]
        assert not report["stopped"]
        assert not {"error", "crash"} & report.keys()


def test_a_finished_run_is_not_trained_again(actor: Worker, tmp_path: Path) -> None:
    result = complete_run(SPEC, tmp_path, digits, "digits")
    report = actor.train(trial(SPEC, tmp_path))

    assert rows_of(report) == result.trace
    assert outcome(tmp_path, SPEC)[0] == result


def test_errors_are_reported_and_the_worker_continues(actor: Worker, tmp_path: Path) -> None:
    other_data = actor.train(trial(replace(SPEC, data="0" * 64), tmp_path))
    assert other_data["error"].startswith("the data of 'digits' have SHA-256 f588ca9cd852")
    assert rows_of(other_data) == []

    (tmp_path / "file").write_text("")
    no_home = actor.train(trial(SPEC, tmp_path / "file"))
    assert no_home["error"].endswith("result.json: Not a directory")

    damaged = Record(tmp_path, SPEC.digest)
    damaged.folder.mkdir(parents=True)
    (damaged.folder / "result.json").write_text("{}")
    assert "delete its folder" in actor.train(trial(SPEC, tmp_path))["error"]

    no_spec = actor.train(trial(SPEC, tmp_path) | {"spec": "{}"})
    assert no_spec["error"].startswith("not a run spec of this version")
    no_json = actor.train(trial(SPEC, tmp_path) | {"spec": ""})
    assert no_json["crash"].startswith("JSONDecodeError: ")

    diverging = replace(OTHER, recipe=replace(OTHER.recipe, learning_rate=1e30))
    assert not {"error", "crash"} & actor.train(trial(diverging, tmp_path)).keys()
    assert outcome_status(tmp_path, diverging) is Status.DIVERGED
    assert len(rows_of(actor.train(trial(OTHER, tmp_path)))) == 2
    assert outcome_status(tmp_path, OTHER) is Status.FINISHED


def outcome_status(home: Path, spec: RunSpec) -> Status:
    result = Record(home, spec.digest).read_result()
    assert result is not None
    return result.status


def test_a_run_stops_after_the_requested_epochs(actor: Worker, tmp_path: Path) -> None:
    reported_epoch = 0
    for epochs in ([1], [2, 3], [4]):
        report = actor.train(
            trial(SPEC, tmp_path, stops_after=[1, 3], reported_epoch=reported_epoch)
        )
        assert [row["epoch"] for row in rows_of(report)] == epochs
        assert report["stopped"] is (epochs != [4])
        reported_epoch = epochs[-1]
    complete_run(SPEC, tmp_path / "whole", digits)
    assert outcome(tmp_path, SPEC)[0].trace == outcome(tmp_path / "whole", SPEC)[0].trace


def test_a_run_past_the_requested_epoch_stops_at_once(actor: Worker, tmp_path: Path) -> None:
    with TrainingRun(SPEC, tmp_path, digits, "digits") as run:
        run.advance()
        run.advance()
        run.stop()
    report = actor.train(trial(SPEC, tmp_path, stops_after=[1]))
    assert report["stopped"]
    assert [row["epoch"] for row in rows_of(report)] == [1, 2]


def test_a_worker_on_a_machine_that_lacks_something_opens_no_run(
    actor: Worker, tmp_path: Path
) -> None:
    import ray
    from workers import HomeTrainable

    assert actor
    job = Job(tmp_path, tmp_path, "digits")
    demand = NodeDemand(job, tmp_path / ".marker", "of the command", own_versions())
    configuration = trial(SPEC, tmp_path, demand=demand)
    worker = Worker(ray.remote(num_cpus=1)(HomeTrainable).remote(configuration), tmp_path)
    report = worker.finish()
    assert report["problem"].startswith(f"has another folder at --home {tmp_path}: ")
    assert len(report["node"]) == len("0" * 56)
    assert list(tmp_path.iterdir()) == []
    demand.marker.write_text("of the command")  # too late for this worker
    assert worker.train(configuration)["problem"] == report["problem"]
