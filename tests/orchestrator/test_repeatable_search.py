"""Searches on several slots, and searches whose process is killed, find what others find."""

from __future__ import annotations

import heapq
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import optuna
import pytest
from command_line import CHECKOUT
from fake_runs import attempts, record_run
from plans import Driver, small_plan, sweep_digests

from orchestrator.sweeping.sweep import Sweep
from search_spaces.schema import Phase
from trainables.run.seeds import uniform

if TYPE_CHECKING:
    from pathlib import Path

    from orchestrator.sweeping.tasks import Task

TRIALS = 18
ALL_SAMPLERS = ("tpe", "random", "qmc", "grid")


def sets_of(sampler: str) -> tuple[str, ...]:
    grid = "search.grid={nal: {lambda: [0.5, 1, 2, 4, 8, 16], alpha: [0.7, 0.8, 0.9]}}"
    return (f"search.sampler={sampler}", *([grid] if sampler == "grid" else []))


def carry_out(home: Path, slots: int, clock_seed: int, *sets: str) -> Sweep:
    """Carry out a sweep of fake runs on some slots, with run times that depend on a seed."""
    home.mkdir()
    sweep = Sweep(
        small_plan(sets=(f"search.trials={TRIALS}", *sets)), home, optuna.storages.InMemoryStorage()
    )
    sweep.resume(lambda _task, _result: None)
    running: list[tuple[float, int, Task]] = []
    now, started = 0.0, 0
    while True:
        while len(running) < slots and (task := sweep.next()) is not None:
            seconds = float(uniform(1, "order", clock_seed, task.spec.digest)[0])
            heapq.heappush(running, (now + seconds, started, task))
            started += 1
        if not running:
            assert sweep.done
            return sweep
        now, _, task = heapq.heappop(running)
        sweep.end(task, record_run(home, task.spec))


def outcome(sweep: Sweep) -> list[Any]:
    """Return all trials of a sweep with their results, and what follows from them."""
    (tuning,) = sweep.tunings
    return [
        tuning.search.trials,
        tuning.trial_digests,
        tuning.best_trial,
        [candidate for candidate, _ in tuning.candidates],
        tuning.chosen_values,
        [spec.digest for cell in sweep.cells for spec in cell.seed_group.specs],
    ]


@pytest.mark.parametrize("sampler", ALL_SAMPLERS)
def test_the_number_of_slots_and_the_order_of_results_change_nothing(
    sampler: str, tmp_path: Path
) -> None:
    expected = carry_out(tmp_path / "one", 1, 0, *sets_of(sampler))
    assert len(expected.tunings[0].search.trials) == TRIALS
    for slots in (2, 4):
        sweep = carry_out(tmp_path / str(slots), slots, slots, *sets_of(sampler))
        assert outcome(sweep) == outcome(expected)


def test_a_trial_has_the_mean_objective_of_its_seeds(tmp_path: Path) -> None:
    seeds = "search.seeds=[1000, 1001, 1002]"
    sweep = carry_out(tmp_path / "one", 1, 0, seeds)
    assert outcome(carry_out(tmp_path / "three", 3, 1, seeds)) == outcome(sweep)
    (tuning,) = sweep.tunings
    assert len(tuning.trial_digests) == 3 * TRIALS == sweep.ended_run_counts[Phase.SEARCH]
    for trial in tuning.search.completed_trials:
        results = []
        for seed in (1000, 1001, 1002):
            spec = sweep.plan.spec(Phase.SEARCH, "nal", "symmetric-0.4", trial.values, seed)
            results.append(tuning.objective.compute(record_run(tmp_path / "one", spec)))
        assert trial.objective == pytest.approx(sum(results) / 3, abs=1e-12)
        assert len(set(results)) == 3


def test_a_trial_fails_if_one_of_its_seeds_fails_and_only_that_run_is_tried_again(
    tmp_path: Path,
) -> None:
    plan = small_plan(trials=3, sets=("search.seeds=[1000, 1001]",))
    sweep = Driver(plan, tmp_path).sweep
    for number in range(6):
        task = sweep.next()
        assert task is not None
        is_failure = number == 2
        sweep.end(task, None if is_failure else record_run(tmp_path, task.spec), "a bug")
    assert [trial.number for trial in sweep.tunings[0].search.completed_trials] == [0, 2]
    assert len(sweep.failures) == 1
    again = Driver(plan, tmp_path).run()
    assert [task.phase for task in again.tasks].count(Phase.SEARCH) == 1
    assert [trial.number for trial in again.sweep.tunings[0].search.completed_trials] == [0, 1, 2]
    assert set(attempts(tmp_path)) == sweep_digests(again.sweep)


SEARCH_KILLED_TEN_TIMES = """
import os, random, signal, sys, time
from pathlib import Path
from fake_runs import misbehave, open_fake
from plans import searches_of, small_plan
from orchestrator.engine.inline_engine import InlineEngine
from orchestrator.sweeping.sweep import Sweep
from task_sources import RecordingListener
from trainables.training.job import Job

home, trials = Path(sys.argv[1]), int(sys.argv[2])
misbehave(home, seconds=0.004)
plan = small_plan(trials=trials)

def carry_out():
    sweep = Sweep(plan, home, searches_of(home))
    sweep.resume(lambda task, result: None)
    InlineEngine(opener=open_fake).carry_out(sweep, Job(home, home, "fake"), RecordingListener())

def ended_count():
    return len(list(home.glob("runs/*/result.json")))

draws = random.Random(10)
for more in (0, 1, 1, 2, 0, 1, 2, 1, 0, 1):
    target = ended_count() + more
    child = os.fork()
    if child == 0:
        carry_out()
        os._exit(0)
    while ended_count() < target:
        time.sleep(0.001)
    time.sleep(draws.uniform(0, 0.03))
    os.kill(child, signal.SIGKILL)
    print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), ended_count())
"""


@pytest.mark.slow
def test_a_search_killed_at_ten_moments_finds_what_an_undisturbed_one_finds(tmp_path: Path) -> None:
    home, trials = tmp_path / "killed", 40
    home.mkdir()
    killed = subprocess.run(
        [sys.executable, "-c", SEARCH_KILLED_TEN_TIMES, home, str(trials)],
        env={"PYTHONPATH": f"{CHECKOUT}:{CHECKOUT}/tests", "PATH": ""},
        capture_output=True,
        text=True,
        check=True,
    )
    moments = [tuple(map(int, line.split())) for line in killed.stdout.splitlines()]
    assert [status for status, _ in moments] == [-9] * 10
    counts = [count for _, count in moments]
    assert 8 <= counts[-1] < trials  # all in the search
    driver = Driver(small_plan(trials=trials), home).run()
    undisturbed = carry_out(tmp_path / "undisturbed", 1, 0, f"search.trials={trials}")
    assert outcome(driver.sweep) == outcome(undisturbed)
    states = [trial.state.name for trial in driver.sweep.tunings[0].search.study.trials]
    assert states == ["COMPLETE"] * trials
