from __future__ import annotations

import shutil
from dataclasses import replace
from statistics import fmean
from typing import TYPE_CHECKING, Any

import optuna
import pytest
from fake_runs import attempts, fake_result, record_run
from plans import TWO_SCENARIOS, Driver, complete_trials, small_plan, sweep_digests

from orchestrator.sweeping.selection import choose_candidate
from orchestrator.sweeping.tasks import Answer
from search_spaces.schema import Phase
from trainables.errors import NalError, RecordError
from trainables.run.record import Record
from trainables.run.result import Status

if TYPE_CHECKING:
    from pathlib import Path

    from orchestrator.sweeping.sweep import Sweep

ALL_RUNS = 16
"""Largest number of runs of the small study: 4 trials, 3 × 2 for select, 3 × 2 for confirm."""


def finished_sweep(home: Path, **flags: Any) -> Sweep:
    """Open a sweep that is done, and check that it hands out no run."""
    driver = Driver(small_plan(**flags), home)
    assert driver.sweep.next() is None
    assert driver.sweep.done
    return driver.sweep


def test_the_phases_come_in_order(tmp_path: Path) -> None:
    driver = Driver(small_plan(), tmp_path)
    assert driver.recorded_count == 0
    assert driver.sweep.phase is Phase.SEARCH
    driver.run()
    phases = [task.phase for task in driver.tasks]
    assert phases == sorted(phases, key=list(Phase).index)
    assert phases[:4] == [Phase.SEARCH] * 4
    assert driver.sweep.done
    assert [driver.sweep.phase] == [Phase.CONFIRM]
    assert driver.sweep.ended_run_counts == {phase: phases.count(phase) for phase in Phase}


@pytest.mark.parametrize("concurrency", [1, 2, 5, 50])
def test_no_run_is_handed_out_twice(concurrency: int, tmp_path: Path) -> None:
    driver = Driver(small_plan(scenarios=TWO_SCENARIOS), tmp_path).run(concurrency=concurrency)
    digests = [spec.digest for spec in driver.specs]
    assert driver.sweep.done
    assert len(digests) == len(set(digests))
    assert set(digests) == sweep_digests(driver.sweep)
    assert set(attempts(tmp_path).values()) == {1}
    assert [result.digest for _, result in driver.results] == digests


def test_a_phase_begins_after_the_previous_one(tmp_path: Path) -> None:
    sweep = Driver(small_plan(), tmp_path).sweep
    running = []
    while (task := sweep.next()) is not None:
        running.append(task)
    assert [task.phase for task in running] == [Phase.SEARCH] * 4
    for task in running[:-1]:
        sweep.end(task, record_run(tmp_path, task.spec))
        assert sweep.next() is None
    sweep.end(running[-1], record_run(tmp_path, running[-1].spec))
    following = sweep.next()
    assert following is not None
    assert following.phase is Phase.SELECT


def test_the_winner_is_confirmed_beside_the_reference_and_the_other_methods(tmp_path: Path) -> None:
    sweep = Driver(small_plan(trials=12), tmp_path).run().sweep
    (tuning,) = sweep.tunings
    assert tuning.chosen_values is not None
    assert tuning.chosen_values != tuning.reference
    assert [(cell.method, cell.origin, cell.seed_group.values) for cell in sweep.cells] == [
        ("ce", "fixed", {}),
        ("nal", "tuned", tuning.chosen_values),
        ("nal", "reference", {"lambda": 0.5, "alpha": 0.9}),
    ]
    scores = {
        tuple(candidate.values.items()): fmean(
            map(tuning.objective.compute, group.results.values())
        )
        for candidate, group in tuning.candidates
    }
    assert scores[tuple(tuning.chosen_values.items())] == max(scores.values())
    assert sweep.best_trial is not None
    assert sweep.best_trial[0] == max(
        trial.objective or 0.0 for trial in tuning.search.completed_trials
    )


def test_candidates_are_compared_on_all_seeds_of_select(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    compared_seeds: list[list[int]] = []

    def choose(scores: Any, *arguments: Any) -> Any:
        compared_seeds.extend(list(objectives) for _, objectives in scores)
        return choose_candidate(scores, *arguments)

    monkeypatch.setattr("orchestrator.sweeping.tuning.choose_candidate", choose)
    Driver(small_plan(sets=("fixed_seeds={init: 7}",)), tmp_path).run()
    assert {tuple(sorted(seeds)) for seeds in compared_seeds} == {(2000, 2001)}


def test_a_reference_that_wins_is_confirmed_once(tmp_path: Path) -> None:
    best = ("reference.nal={lambda: 2.0, alpha: 0.8}",)
    sweep = Driver(small_plan(sets=best), tmp_path).run().sweep
    assert [(cell.method, cell.origin) for cell in sweep.cells] == [
        ("ce", "fixed"),
        ("nal", "tuned, equals reference"),
    ]


def test_a_recorded_run_is_never_handed_out(tmp_path: Path) -> None:
    first = Driver(small_plan(), tmp_path).run()
    again = Driver(small_plan(), tmp_path).run()
    assert again.tasks == []
    assert again.sweep.done
    assert again.recorded_count == len(first.tasks)
    assert {result.digest for _, result in again.results} == sweep_digests(first.sweep)
    assert [cell.seed_group.values for cell in again.sweep.cells] == [
        cell.seed_group.values for cell in first.sweep.cells
    ]


def test_a_lost_database_of_searches_trains_nothing_that_is_recorded(tmp_path: Path) -> None:
    first = Driver(small_plan(), tmp_path).run()
    (tmp_path / "optuna.db").unlink()
    Driver(small_plan(), tmp_path).run()
    # The sampler has the same seed and proposes the same values.
    assert set(attempts(tmp_path)) == {spec.digest for spec in first.specs}
    assert set(attempts(tmp_path).values()) == {1}


def test_runs_that_end_after_an_interruption_are_processed(tmp_path: Path) -> None:
    first = Driver(small_plan(methods=("ce",)), tmp_path).sweep
    tasks = [task for task in (first.next(), first.next()) if task is not None]
    record_run(tmp_path, tasks[1].spec)
    first.end_recorded()
    assert first.ended_run_counts[Phase.CONFIRM] == 1
    assert first.next() is None
    first.end(tasks[0], record_run(tmp_path, tasks[0].spec))
    assert first.done


def interrupt(home: Path, ended: int, *, recorded: bool, concurrency: int) -> None:
    """Carry out some runs of a sweep, then stop while others are running.

    Args:
        home: home folder.
        ended: number of runs that end before the interruption.
        recorded: whether the others write their records, although the sweep does not process them.
        concurrency: number of runs at a time.
    """
    driver = Driver(small_plan(), home, STORAGES[home])
    driver.run(max_runs=ended, concurrency=concurrency)
    while recorded and (task := driver.sweep.next()) is not None:
        record_run(home, task.spec)
        driver.tasks.append(task)


STORAGES: dict[Path, optuna.storages.InMemoryStorage] = {}
"""Storages of searches by home; in memory, since databases on disk take longer."""


@pytest.mark.slow
@pytest.mark.parametrize("concurrency", [1, 3])
@pytest.mark.parametrize("recorded", [False, True], ids=["nothing", "recorded"])
def test_a_sweep_restarted_at_any_point_trains_each_run_once(
    recorded: bool,  # noqa: FBT001 - a parameter of the test
    concurrency: int,
    tmp_path: Path,
) -> None:
    for ended in range(ALL_RUNS + 1):
        home = tmp_path / str(ended)
        home.mkdir()
        STORAGES[home] = optuna.storages.InMemoryStorage()
        interrupt(home, ended, recorded=recorded, concurrency=concurrency)
        before = set(attempts(home))
        driver = Driver(small_plan(), home, STORAGES.pop(home)).run(concurrency=concurrency)
        trained = {spec.digest for spec in driver.specs}
        assert driver.sweep.done, ended
        assert not before & trained, ended
        assert before | trained == sweep_digests(driver.sweep), ended
        assert set(attempts(home).values()) == {1}, ended
        assert complete_trials(driver.sweep) == [4], ended
        assert sum(driver.sweep.ended_run_counts.values()) == len(before | trained), ended
        digests = [result.digest for _, result in driver.results]
        assert sorted(digests) == sorted(before | trained), ended


@pytest.mark.slow
def test_a_sweep_interrupted_after_every_run_finishes(tmp_path: Path) -> None:
    for _ in range(ALL_RUNS + 1):
        driver = Driver(small_plan(), tmp_path)
        driver.run(max_runs=1)
        driver.sweep.next()
    sweep = finished_sweep(tmp_path)
    assert complete_trials(sweep) == [4]
    assert set(attempts(tmp_path)) == sweep_digests(sweep)
    assert set(attempts(tmp_path).values()) == {1}


def test_more_trials_and_seeds_add_only_what_is_missing(tmp_path: Path) -> None:
    first = Driver(small_plan(), tmp_path).run()
    more = Driver(small_plan(trials=6, seeds=3), tmp_path).run()
    assert more.sweep.done
    assert complete_trials(more.sweep) == [6]
    assert sum(task.phase is Phase.SEARCH for task in more.tasks) == 2
    assert not {spec.digest for spec in more.specs} & {spec.digest for spec in first.specs}
    seeds = [spec.seeds.init for spec in more.specs if spec.method == "ce"]
    assert seeds == [2]
    assert set(attempts(tmp_path).values()) == {1}


def test_a_scenario_may_have_its_own_search(tmp_path: Path) -> None:
    plan = small_plan(scenarios=TWO_SCENARIOS, sets=("search.scope=scenario",))
    sweep = Driver(plan, tmp_path).run(concurrency=3).sweep
    assert [tuning.plan.scenario for tuning in sweep.tunings] == list(TWO_SCENARIOS)
    assert complete_trials(sweep) == [4, 4]
    for tuning in sweep.tunings:
        (cell,) = [
            cell
            for cell in sweep.cells
            if cell.scenario == tuning.plan.scenario and cell.origin.startswith("tuned")
        ]
        assert cell.tuning is tuning
        assert cell.seed_group.values == tuning.chosen_values


def test_one_search_serves_all_scenarios(tmp_path: Path) -> None:
    sweep = Driver(small_plan(scenarios=TWO_SCENARIOS), tmp_path).run().sweep
    (tuning,) = sweep.tunings
    tuned = [cell for cell in sweep.cells if cell.origin.startswith("tuned")]
    assert [cell.scenario for cell in tuned] == list(TWO_SCENARIOS)
    assert all(cell.seed_group.values == tuning.chosen_values for cell in tuned)


@pytest.mark.parametrize("flags", [{"methods": ("ce",)}, {"sets": ("tune=[]",)}])
def test_a_study_without_a_search_only_confirms(flags: dict[str, Any], tmp_path: Path) -> None:
    driver = Driver(small_plan(**flags), tmp_path)
    assert driver.sweep.phase is Phase.SELECT or driver.sweep.cells
    driver.run()
    assert {task.phase for task in driver.tasks} == {Phase.CONFIRM}
    assert {cell.origin for cell in driver.sweep.cells} == {"fixed"}
    assert driver.sweep.done
    assert driver.sweep.best_trial is None


def test_failed_runs_do_not_stop_the_others(tmp_path: Path) -> None:
    sweep = Driver(small_plan(), tmp_path).sweep
    number = 0
    while (task := sweep.next()) is not None:
        number += 1
        fails = number in {2, 6, 12}  # one of each phase
        sweep.end(task, None if fails else record_run(tmp_path, task.spec), "its worker was fails")
    assert sweep.done
    assert len(sweep.failures) == 3
    assert complete_trials(sweep) == [3]
    assert all("its worker was fails" in text for text in sweep.failures)
    assert sweep.failures[0].startswith("nal on symmetric-0.4, ")
    again = Driver(small_plan(), tmp_path).run()
    assert again.sweep.done
    assert complete_trials(again.sweep) == [4]
    assert again.sweep.failures == []


def test_a_diverged_trial_counts_as_chance(tmp_path: Path) -> None:
    sweep = Driver(small_plan(), tmp_path).sweep
    task = sweep.next()
    assert task is not None
    sweep.end(task, record_run(tmp_path, task.spec, diverged_at=2))
    (tuning,) = sweep.tunings
    (trial,) = tuning.search.completed_trials
    assert (trial.values, trial.objective) == ({"lambda": 0.5, "alpha": 0.9}, 0.1)
    assert sweep.ended_run_counts[Phase.SEARCH] == 1


def test_a_search_without_a_complete_trial_names_the_most_frequent_cause(tmp_path: Path) -> None:
    plan = small_plan(sets=("reference.nal=null",), trials=4)
    sweep = Driver(plan, tmp_path).sweep
    tasks = [task for _ in range(4) if (task := sweep.next()) is not None]
    sweep.end(tasks[0], None, "the worker process of the run was lost 4 times")
    sweep.end(tasks[1], None, "KeyError: 'x' (loss.py:3)\nsecond line")
    sweep.end(tasks[2], None, "KeyError: 'x' (loss.py:3)\nother line")
    memory = fake_result(tasks[3].spec, reason="the GPU is too small")
    sweep.end(tasks[3], replace(memory, status=Status.OUT_OF_MEMORY))
    message = (
        r"^no trial of the search for nal could be carried out; the cause of 2 of 4 failures: "
        r"KeyError: 'x' \(loss.py:3\): remove the cause and type the same command again$"
    )
    with pytest.raises(NalError, match=message):
        sweep.next()
    assert sweep.tunings[0].failure_reasons[3] == "out of memory the GPU is too small"


def test_a_select_phase_without_results_is_an_error(tmp_path: Path) -> None:
    sweep = Driver(small_plan(), tmp_path).sweep
    message = r"^no candidate for nal could be tried .* of 6 of 6 failures: a bug: remove the cause"
    with pytest.raises(NalError, match=message):  # noqa: PT012
        while (task := sweep.next()) is not None:
            searching = task.phase is Phase.SEARCH
            sweep.end(task, record_run(tmp_path, task.spec) if searching else None, "a bug")


def test_a_damaged_record_is_explained(tmp_path: Path) -> None:
    driver = Driver(small_plan(), tmp_path).run(max_runs=2)
    path = Record(tmp_path, driver.specs[0].digest).folder / "result.json"
    path.write_text("{")
    with pytest.raises(RecordError, match="delete its folder"):
        Driver(small_plan(), tmp_path)


def test_a_trial_on_other_labels_than_the_search_was_made_on_ends_the_sweep(tmp_path: Path) -> None:
    driver = Driver(small_plan(), tmp_path).run(max_runs=2)
    task = driver.sweep.next()
    assert task is not None
    labels = replace(fake_result(task.spec).labels, sha256="f" * 64)
    with pytest.raises(NalError, match=r"trained on noisy labels .* SHA-256 ffffffffffff"):
        driver.sweep.end(task, record_run(tmp_path, task.spec, labels=labels))


def test_a_trial_out_of_memory_has_no_objective(tmp_path: Path) -> None:
    driver = Driver(small_plan(), tmp_path)
    task = driver.sweep.next()
    assert task is not None
    driver.sweep.end(task, record_run(tmp_path, task.spec, status=Status.OUT_OF_MEMORY))
    (tuning,) = driver.sweep.tunings
    assert (tuning.search.completed_trials, tuning.best_trial) == ([], None)
    assert ": out of memory" in driver.sweep.failures[0]


def test_the_callback_of_a_task_gives_the_answer(tmp_path: Path) -> None:
    driver = Driver(small_plan(), tmp_path)
    task = driver.sweep.next()
    assert task is not None
    assert driver.sweep.report(task, [{"epoch": 1.0}]) is Answer.CONTINUE
    stopping = replace(task, on_report=lambda _rows: Answer.STOP)
    assert driver.sweep.report(stopping, [{"epoch": 1.0}]) is Answer.STOP


def test_crossed_seeds_add_all_combinations_to_each_cell(tmp_path: Path) -> None:
    cross = "confirm.cross={axes: [noise, order], seeds: [0, 3]}"
    driver = Driver(small_plan(), tmp_path).run()
    digest = driver.sweep.plan.digest
    crossed = Driver(small_plan(sets=(cross,)), tmp_path)
    assert crossed.sweep.plan.digest == digest
    crossed.run()
    for cell in crossed.sweep.cells:
        seeds = [spec.seeds for spec in cell.crossed_group.specs]
        assert [(each.noise, each.order) for each in seeds] == [(0, 0), (0, 3), (3, 0), (3, 3)]
        assert {(each.init, each.split, each.augment, each.method) for each in seeds} == {
            (0, 0, 0, 0)
        }
        # The first combination is the run of base seed 0.
        assert cell.crossed_group.specs[0] == cell.seed_group.specs[0]
        assert len(cell.crossed_group.results) == 4
    assert len(crossed.tasks) == 3 * len(crossed.sweep.cells)
    assert finished_sweep(tmp_path, sets=(cross,)).ended_run_counts[Phase.CONFIRM] == (
        driver.sweep.ended_run_counts[Phase.CONFIRM] + len(crossed.tasks)
    )


def test_trials_whose_records_were_removed_are_trained_again(tmp_path: Path) -> None:
    first = Driver(small_plan(), tmp_path).run()
    trials = first.sweep.tunings[0].trial_digests
    for digest in trials[2:]:
        shutil.rmtree(tmp_path / "runs" / digest)
    again = Driver(small_plan(), tmp_path)
    assert not again.sweep.done
    assert again.sweep.phase is Phase.SEARCH
    assert {spec.digest for spec in again.run(concurrency=2).specs} == set(trials[2:])
    tuning = again.sweep.tunings[0]
    assert again.sweep.done
    assert sorted(tuning.trial_digests) == sorted(trials)
    assert tuning.chosen_values == first.sweep.tunings[0].chosen_values
    assert tuning.best_trial == first.sweep.tunings[0].best_trial
    assert complete_trials(again.sweep) == complete_trials(first.sweep)


def test_a_removed_sweep_is_carried_out_with_the_same_trials(tmp_path: Path) -> None:
    first = Driver(small_plan(), tmp_path).run()
    shutil.rmtree(tmp_path / "runs")
    again = Driver(small_plan(), tmp_path).run()
    assert sweep_digests(again.sweep) == sweep_digests(first.sweep)
