"""Searches that learn from the trials of an earlier sweep."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
from fake_runs import record_run
from plans import Driver, small_plan, small_study

from orchestrator.home import Home
from orchestrator.planning.history import check_history_name, find_history, other_starts
from orchestrator.sweeping.tuning import search_digests
from orchestrator.tracking.archive import SweepArchive
from orchestrator.tracking.recording import plan_record
from reports.plan_record import PlanRecord
from search_spaces.schema import Phase
from trainables.errors import HomeError, UserError

if TYPE_CHECKING:
    from pathlib import Path

    from orchestrator.planning.plan import Plan
    from orchestrator.sweeping.sweep import Sweep

EARLIER: dict[str, Any] = {"trials": 14, "sets": ("search.seeds=[1000, 1001]",)}
LATER: dict[str, Any] = {"trials": 6, "scenarios": ("symmetric-0.2",)}
"""A sweep with other labels."""


def archive(sweep: Sweep, home: Path, **flags: Any) -> None:
    """Write the plan of a sweep to its archive, as the command does."""
    loaded = small_study(**flags)
    SweepArchive.of(home, sweep.plan.digest).write(plan_record(sweep, loaded), loaded.to_yaml())


def carry_out(home: Path, **flags: Any) -> Sweep:
    """Carry out a sweep and archive its plan."""
    sweep = Driver(small_plan(**flags), home).run().sweep
    archive(sweep, home, **flags)
    return sweep


def later_plan(home: Path, name: str = "small", **flags: Any) -> Plan:
    plan = small_plan(**{**LATER, **flags})
    return replace(plan, history=find_history(Home(home), plan, name))


def test_the_history_has_the_values_and_objectives_of_complete_trials(tmp_path: Path) -> None:
    earlier = carry_out(tmp_path, **EARLIER)
    history = later_plan(tmp_path).history
    assert history is not None
    assert (history.sweep, history.study) == (earlier.plan.digest, "small")
    trials = earlier.tunings[0].search.completed_trials
    assert len(trials) == 14
    assert [(trial.values, trial.objective) for trial in history.trials] == [
        (trial.values, trial.objective) for trial in trials
    ]
    assert {(trial.method, trial.scenario) for trial in history.trials} == {
        ("nal", "symmetric-0.4")
    }


def test_a_search_learns_from_the_history_but_has_trials_of_its_own(tmp_path: Path) -> None:
    carry_out(tmp_path, **EARLIER)
    alone, with_history = small_plan(**LATER), later_plan(tmp_path)
    assert alone.digest != with_history.digest
    assert search_digests(alone) != search_digests(with_history)
    sweep = Driver(with_history, tmp_path).run().sweep
    (tuning,) = sweep.tunings
    trials = tuning.search.completed_trials
    assert len(trials) == 6
    assert trials[0].values == {"lambda": 0.5, "alpha": 0.9}  # the reference
    # Random without the history, as there are fewer than ten results.
    (other_tuning,) = Driver(alone, tmp_path).run().sweep.tunings
    best, other_best = tuning.best_trial, other_tuning.best_trial
    assert best is not None
    assert other_best is not None
    assert trials[1:] != other_tuning.search.completed_trials[1:]
    assert best[0] > other_best[0]
    assert {spec.scenario for _, group in tuning.candidates for spec in group.specs} == {
        "symmetric-0.2"
    }


def test_a_sweep_continues_with_the_history_of_its_start(tmp_path: Path) -> None:
    home = Home(tmp_path)
    earlier = carry_out(tmp_path, **EARLIER)
    plan = later_plan(tmp_path)
    archive(Driver(plan, tmp_path).sweep, tmp_path, **LATER)
    assert other_starts(home, small_plan(**LATER)) == ["small"]
    assert other_starts(home, small_plan()) == []
    # The earlier sweep goes on, and is no longer the latest one of the study.
    carry_out(tmp_path, **{**EARLIER, "trials": 16})
    carry_out(tmp_path, trials=3)
    again = later_plan(tmp_path)
    assert again.history == plan.history
    assert again.digest == plan.digest
    # By its digest, it is another start, from more trials.
    by_digest = later_plan(tmp_path, earlier.plan.digest[:12])
    assert by_digest.history is not None
    assert len(by_digest.history.trials) == 16
    assert by_digest.digest != plan.digest


def test_the_history_is_stored_in_the_plan(tmp_path: Path) -> None:
    carry_out(tmp_path, **EARLIER)
    plan = later_plan(tmp_path)
    record = plan_record(Driver(plan, tmp_path).sweep, small_study(**LATER))
    assert record.history == plan.history
    assert PlanRecord.from_json(record.to_json()) == record


def test_the_trials_on_the_same_scenario_are_preferred(tmp_path: Path) -> None:
    scenarios = ("symmetric-0.4", "symmetric-0.2")
    scope = ("search.scope=scenario",)
    carry_out(tmp_path, trials=3, scenarios=scenarios, sets=scope)
    history = later_plan(tmp_path).history
    assert history is not None
    assert len(history.trials) == 6
    for scenario in scenarios:
        trials = history.trials_for("nal", scenario)
        assert [trial.scenario for trial in trials] == [scenario] * 3
    assert len(history.trials_for("nal", "clean")) == 6
    assert history.trials_for("ce", "clean") == []


def test_trials_outside_the_space_are_left_out(tmp_path: Path) -> None:
    carry_out(tmp_path, **EARLIER)
    narrow = ("search.space.nal.alpha={low: 0.85, high: 0.99}",)
    history = later_plan(tmp_path, sets=narrow).history
    assert history is not None
    assert 0 < len(history.trials) < 14
    assert all(float(trial.values["alpha"]) >= 0.85 for trial in history.trials)


def test_a_diverged_trial_teaches_that_it_is_bad(tmp_path: Path) -> None:
    plan = small_plan(trials=2)
    sweep = Driver(plan, tmp_path).sweep
    task = sweep.next()
    assert task is not None
    assert task.phase is Phase.SEARCH
    sweep.end(task, record_run(tmp_path, task.spec, diverged_at=2))
    archive(sweep, tmp_path, trials=2)
    history = later_plan(tmp_path).history
    assert history is not None
    assert [trial.objective for trial in history.trials] == [0.1]


def test_a_sweep_that_teaches_nothing_is_one_line(tmp_path: Path) -> None:
    home = Home(tmp_path)
    with pytest.raises(HomeError, match="no run is recorded in the home folder"):
        check_history_name(home, "small")
    earlier = carry_out(tmp_path, trials=2)
    check_history_name(home, "small")
    check_history_name(home, earlier.plan.digest[:8])
    with pytest.raises(UserError, match=r"^no study or sweep 'other' is recorded in "):
        check_history_name(home, "other")
    for sets, reason in (
        (("search.sampler=qmc",), "the sampler qmc learns nothing"),
        (("tune=[]",), "nothing is searched"),
    ):
        with pytest.raises(UserError) as raised:
            later_plan(tmp_path, sets=sets)
        assert str(raised.value) == (
            f"--from small: {reason}: choose search.sampler=tpe or gp for a tuned method, or leave "
            "--from out"
        )
    elsewhere = ("search.space.nal.lambda={low: 0.1, high: 0.2}", "reference.nal=null")
    with pytest.raises(UserError) as raised:
        later_plan(tmp_path, sets=elsewhere)
    assert str(raised.value) == (
        f"--from small: sweep {earlier.plan.digest[:12]} of 'small' has 2 complete trials, none of "
        "which searches the same hyperparameters of the same method with values in the searched "
        "ranges: name another sweep, or leave --from out"
    )
