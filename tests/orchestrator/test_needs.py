"""Sweeps with methods of several stages and with PMD noise."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
from fake_runs import attempts, fake_result, record_run
from plans import Driver, small_plan

from orchestrator.planning.sizes import phase_sizes
from search_spaces.schema import Phase
from trainables.errors import NalError
from trainables.run.record import Record
from trainables.run.result import Status

if TYPE_CHECKING:
    from pathlib import Path

    from orchestrator.planning.plan import Plan
    from orchestrator.sweeping.tasks import Task
    from trainables.run.spec import RunSpec

STAGED = ("ce", "forward", "joint", "dac")
OVERRIDES = ("hyperparameters.joint.first_label_epoch=3", "hyperparameters.dac.warm_up_epochs=2")


def plan_of(*methods: str, sets: tuple[str, ...] = (), **flags: Any) -> Plan:
    overrides = tuple(text for text in OVERRIDES if text.split(".")[1] in methods)
    return small_plan(methods=methods or STAGED, sets=(*overrides, *sets), **flags)


def staged(**flags: Any) -> Plan:
    return small_plan(methods=STAGED, sets=OVERRIDES, **flags)


def names(specs: list[RunSpec]) -> list[str]:
    return [spec.method for spec in specs]


def test_a_stage_of_a_method_becomes_a_run_of_its_own() -> None:
    plan = staged()
    spec = plan.spec(Phase.CONFIRM, "joint", "symmetric-0.4", {}, 0)
    (need,) = plan.needs_of(spec)
    assert need.method == "joint-labels"
    assert dict(spec.needs) == {"labels": need.digest}
    assert need.hyperparameters == spec.hyperparameters
    assert (need.seeds, need.scenario) == (spec.seeds, spec.scenario)
    assert need.hold_out == spec.hold_out
    assert plan.needs_of(need) == []


def test_hyperparameters_of_a_stage_change_the_needed_digest() -> None:
    one = staged().spec(Phase.CONFIRM, "joint", "symmetric-0.4", {}, 0)
    other = staged().spec(Phase.CONFIRM, "joint", "symmetric-0.4", {"alpha": 3.0}, 0)
    assert one.needs["labels"] != other.needs["labels"]


def test_a_stage_with_the_spec_of_another_run_is_that_run() -> None:
    plan = staged()
    forward = plan.spec(Phase.CONFIRM, "forward", "symmetric-0.4", {}, 0)
    ce = plan.spec(Phase.CONFIRM, "ce", "symmetric-0.4", {}, 0)
    assert plan.needs_of(forward) == [ce]


@pytest.mark.parametrize("concurrency", [1, 2, 3, 20])
def test_needs_are_carried_out_first_and_once(concurrency: int, tmp_path: Path) -> None:
    plan = staged()
    driver = Driver(plan, tmp_path)
    started: list[RunSpec] = []
    ended: set[str] = set()
    running: list[Task] = []
    while True:
        while len(running) < concurrency and (task := driver.sweep.next()) is not None:
            assert {str(digest) for digest in task.spec.needs.values()} <= ended
            started.append(task.spec)
            running.append(task)
        if not running:
            break
        task = running.pop()
        driver.sweep.end(task, record_run(tmp_path, task.spec))
        ended.add(task.spec.digest)
    assert driver.sweep.done
    assert sorted(names(started)) == sorted(
        ["ce", "forward", "joint-labels", "joint", "dac-abstain", "dac"] * 2
    )
    assert set(attempts(tmp_path).values()) == {1}
    (confirm,) = phase_sizes(plan)
    assert driver.sweep.ended_run_counts[Phase.CONFIRM] == confirm.max_run_count == 12
    assert confirm.run_count_formula.endswith("and the runs that forward, joint, dac need")


def test_a_resumed_sweep_counts_all_runs(tmp_path: Path) -> None:
    Driver(staged(), tmp_path).run(max_runs=7)
    again = Driver(staged(), tmp_path)
    assert 5 <= again.recorded_count <= 7
    again.run()
    assert again.sweep.ended_run_counts[Phase.CONFIRM] == 12
    done = Driver(staged(), tmp_path)
    assert done.recorded_count == 12
    assert done.sweep.next() is None
    assert set(attempts(tmp_path).values()) == {1}


def test_a_need_without_record_is_trained_again(tmp_path: Path) -> None:
    plan = staged()
    spec = plan.spec(Phase.CONFIRM, "joint", "symmetric-0.4", {}, 0)
    Driver(plan, tmp_path).run()
    (Record(tmp_path, plan.needs_of(spec)[0].digest).folder / "result.json").unlink()
    (Record(tmp_path, spec.digest).folder / "result.json").unlink()
    again = Driver(staged(), tmp_path).run()
    assert names(list(again.specs)) == ["joint-labels", "joint"]


def test_a_run_whose_need_fails_fails_too(tmp_path: Path) -> None:
    sweep = Driver(plan_of("joint", seeds=1), tmp_path).sweep
    need = sweep.next()
    assert need is not None
    assert need.spec.method == "joint-labels"
    assert sweep.next() is None
    sweep.end(need, None, reason="a bug")
    assert sweep.done
    name = f"joint-labels on symmetric-0.4, {need.spec.digest[:12]}"
    assert sweep.failures[0] == f"{name}: a bug"
    assert sweep.failures[1].endswith(
        f": the run needs {name}, which could not be carried out: a bug"
    )


def test_a_run_out_of_memory_is_reported_and_tried_again_next_time(tmp_path: Path) -> None:
    def run_out_of_memory(driver: Driver) -> None:
        task = driver.sweep.next()
        assert task is not None
        finished = fake_result(task.spec, reason="in epoch 1 (short)")
        result = replace(finished, status=Status.OUT_OF_MEMORY)
        record = Record(tmp_path, task.spec.digest)
        record.folder.mkdir(parents=True, exist_ok=True)
        record.record_start(task.spec)
        record.write_result(result)
        driver.sweep.end(task, result)

    first = Driver(plan_of("ce", seeds=1), tmp_path)
    run_out_of_memory(first)
    assert first.sweep.done
    assert first.sweep.failures[0].endswith(": out of memory in epoch 1 (short)")
    assert first.results[0][1].status is Status.OUT_OF_MEMORY
    again = Driver(plan_of("ce", seeds=1), tmp_path)
    assert again.recorded_count == 0
    assert len(again.run().tasks) == 1
    assert again.sweep.failures == []


def test_a_method_with_stages_can_be_tuned(tmp_path: Path) -> None:
    sets = ("tune=[joint]", "search.trials=3", "search.space={}", "reference={}")
    plan = plan_of("ce", "joint", sets=sets)
    driver = Driver(plan, tmp_path).run(concurrency=2)
    assert driver.sweep.done
    searched = [task for task in driver.tasks if task.phase is Phase.SEARCH]
    assert sorted(names([task.spec for task in searched])) == ["joint"] * 3 + ["joint-labels"] * 3
    search, select, _ = phase_sizes(plan)
    assert driver.sweep.ended_run_counts[Phase.SEARCH] == search.max_run_count == 6
    assert driver.sweep.ended_run_counts[Phase.SELECT] == select.max_run_count


# --- labels drawn from a posterior

PMD = "pmd-2-0.35"


def test_runs_without_needs_run_beside_the_posterior(tmp_path: Path) -> None:
    plan = plan_of("ce", scenarios=(PMD, "symmetric-0.4"), sets=("tune=[]",))
    (posterior,) = plan.posterior_specs
    sweep = Driver(plan, tmp_path).sweep
    tasks = [sweep.next() for _ in range(4)]
    assert tasks[-1] is None
    scenarios = [task.spec.scenario for task in tasks if task is not None]
    assert scenarios == ["clean", "symmetric-0.4", "symmetric-0.4"]
    first = tasks[0]
    assert first is not None
    assert (first.spec, first.is_need) == (posterior, True)
    sweep.end(first, record_run(tmp_path, posterior))
    after = sweep.next()
    assert after is not None
    assert after.spec.scenario == PMD


def test_the_posterior_is_trained_and_counted_once_for_all_phases(tmp_path: Path) -> None:
    plan = plan_of("ce", "nal", scenarios=(PMD,))
    driver = Driver(plan, tmp_path).run(concurrency=3)
    assert driver.sweep.done
    assert set(attempts(tmp_path).values()) == {1}
    sizes = {size.phase: size.max_run_count for size in phase_sizes(plan)}
    assert driver.sweep.ended_run_counts[Phase.SEARCH] == sizes[Phase.SEARCH] == 5
    assert driver.sweep.ended_run_counts[Phase.SELECT] <= sizes[Phase.SELECT]
    posterior_tasks = [task for task, result in driver.results if result.spec.scenario == "clean"]
    assert [(task.phase, task.is_need) for task in posterior_tasks] == [(Phase.SEARCH, True)]
    again = Driver(plan_of("ce", "nal", scenarios=(PMD,)), tmp_path)
    assert again.sweep.next() is None
    assert again.sweep.ended_run_counts == driver.sweep.ended_run_counts


def test_no_trial_beyond_the_lag_is_proposed_while_all_wait_for_the_posterior(
    tmp_path: Path,
) -> None:
    plan = plan_of("nal", scenarios=(PMD,), sets=("search.lag=2",))
    sweep = Driver(plan, tmp_path).sweep
    first = sweep.next()
    assert first is not None
    assert sweep.next() is None
    assert len(sweep.tunings[0].search.trials) == 2
    sweep.end(first, record_run(tmp_path, first.spec))
    assert sweep.next() is not None


def test_a_posterior_that_fails_ends_the_sweep(tmp_path: Path) -> None:
    plan = plan_of("ce", scenarios=(PMD,), sets=("tune=[]",))
    (posterior,) = plan.posterior_specs
    sweep = Driver(plan, tmp_path).sweep
    task = sweep.next()
    assert task is not None
    with pytest.raises(NalError, match=r"could not be trained: a bug: change posterior\.recipe"):
        sweep.end(task, None, reason="a bug")
    diverged = record_run(tmp_path, posterior, diverged_at=2)
    message = (
        f"run {posterior.digest[:12]}, which trains the network from which PMD noise is drawn, "
        f"could not be trained: diverged {diverged.reason}: change posterior.recipe"
    )
    with pytest.raises(NalError, match=re.escape(message)):
        sweep.end(task, diverged)
    with pytest.raises(NalError, match=re.escape(message)):
        Driver(plan, tmp_path)  # as the same command again
