"""Time budget at a start of a sweep, from the records of earlier starts."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
from plans import machine_cost, searches_of, small_plan, small_study

from orchestrator.sweeping.budget import Budget, PhaseEnds, SpentBudget, TimeBudget
from orchestrator.sweeping.sweep import Sweep
from orchestrator.tracking.archive import SweepArchive
from orchestrator.tracking.recording import plan_record
from orchestrator.watching.progress_record import MAX_STARTS, ProgressRecord, Start
from orchestrator.watching.recorded_budget import RecordedBudget
from orchestrator.watching.sweep_progress import ProgressFile, SweepProgress
from trainables.errors import FieldError

if TYPE_CHECKING:
    from pathlib import Path

COST = replace(machine_cost(0.5, 0.0, slots=1), start_seconds=15.0)
"""Cost at which each run takes 9.3 s: 18 training steps, and the overhead of a run."""


def archive_of(home: Path) -> SweepArchive:
    """Return the archive of the small study, with a plan that a budget of 1 h has limited."""
    study = small_study(sets=("budget.hours=1",))
    plan = small_plan(sets=("budget.hours=1",))
    archive = SweepArchive.of(home, plan.digest)
    record = plan_record(Sweep(plan, home, searches_of(home)), study)
    (search,) = record.searches
    limited = replace(search, budget_trials=2, budget_seeds=1)
    archive.write(replace(record, searches=[limited]), study.to_yaml())
    return archive


def start_of(seconds: float) -> Start:
    return Start("host", 1, "2026-11-27T10:00:00+00:00", 10.0, seconds, 1, "interrupted")


def test_the_time_of_all_starts_is_spent(tmp_path: Path) -> None:
    archive = archive_of(tmp_path)
    starts = [start_of(100.0), start_of(50.0)]
    ProgressRecord(starts[0].started_at, starts, {"study": "digits"}).write(archive.folder)
    budget = RecordedBudget.read(small_plan(sets=("budget.hours=1",)), archive)
    assert (budget.seconds, budget.spent_seconds, budget.seconds_left) == (3600.0, 150.0, 3450.0)
    assert budget.phase_ends == {("nal", "symmetric-0.4"): PhaseEnds(2, 1)}
    larger = RecordedBudget.read(small_plan(sets=("budget.hours=2",)), archive)
    assert (larger.seconds_left, larger.phase_ends) == (7050.0, {})
    smaller = RecordedBudget.read(small_plan(sets=("budget.hours=0.01",)), archive)
    assert (smaller.seconds_left, smaller.phase_ends) == (0.0, budget.phase_ends)
    assert RecordedBudget.read(small_plan(), archive) == RecordedBudget()
    assert RecordedBudget().seconds_left == math.inf


def test_a_budget_names_no_other_sweep() -> None:
    assert small_plan(sets=("budget.hours=1",)).digest == small_plan().digest
    assert small_plan(sets=("budget.shrink=[epochs]",)).digest == small_plan().digest


def test_starts_that_are_not_kept_count(tmp_path: Path) -> None:
    sweep = Sweep(small_plan(), tmp_path, searches_of(tmp_path))
    starts = [start_of(1.0)] * MAX_STARTS
    ProgressRecord(starts[0].started_at, starts, {"study": "digits"}, dropped_seconds=7.0).write(
        tmp_path
    )
    file = ProgressFile(tmp_path, SweepProgress(sweep, COST, starts_workers=False), {})
    record = file.record("ended")
    assert len(record.starts) == MAX_STARTS
    assert record.dropped_seconds == 8.0
    elapsed = record.last_start.elapsed_seconds
    assert record.total_seconds == pytest.approx(MAX_STARTS + 7 + elapsed)


def test_a_budget_below_one_run_is_refused_at_first() -> None:
    plan = small_plan()
    with pytest.raises(FieldError) as error_info:
        RecordedBudget(20.0).check(plan, COST)
    assert error_info.value.field == "budget.hours"
    assert str(error_info.value) == (
        "20 s is less than the shortest run takes on this machine, about 24 s (with 15 s to start "
        "the workers): the smallest table takes about 80 s, the whole sweep 3 min"
    )
    RecordedBudget(25.0).check(plan, COST)
    RecordedBudget(20.0, spent_seconds=1.0).check(plan, COST)  # a run may be almost done
    RecordedBudget().check(plan, COST)
    inline = replace(COST, start_seconds=0.0)
    with pytest.raises(FieldError, match=r"machine, about 9 s: the smallest"):
        RecordedBudget(5.0).check(plan, inline)
    assert not RecordedBudget(20.0, spent_seconds=6.0).can_start(COST)
    assert RecordedBudget(20.0, spent_seconds=6.0).can_start(inline)


def test_each_start_has_its_budget() -> None:
    plan = small_plan()
    ends = {("nal", "symmetric-0.4"): PhaseEnds(2, 1)}
    assert type(RecordedBudget().start(plan, COST, is_complete=False)) is Budget
    limited = RecordedBudget(100.0, 40.0, ends)
    complete = limited.start(plan, None, is_complete=True)
    assert type(complete) is Budget
    assert complete.phase_ends(("nal", "symmetric-0.4")) == PhaseEnds(2, 1)
    assert type(limited.start(plan, None, is_complete=False)) is SpentBudget
    running = limited.start(plan, COST, is_complete=False)
    assert type(running) is TimeBudget
    assert 55 < running.seconds_left <= 60


def test_the_time_left_of_a_sweep_is_at_most_that_of_its_budget(tmp_path: Path) -> None:
    budget = RecordedBudget(100.0, 40.0).start(small_plan(), COST, is_complete=False)
    sweep = Sweep(small_plan(), tmp_path, searches_of(tmp_path), budget=budget)
    progress = SweepProgress(sweep, COST, starts_workers=False)
    assert progress.plan_seconds <= 60
    assert progress.seconds_left() <= 60
    assert max(progress.seconds_left_range()) <= 60
