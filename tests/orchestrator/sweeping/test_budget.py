"""Sweeps of fake runs under a time budget, with a clock of their own."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
from fake_runs import attempts, record_run
from plans import TWO_SCENARIOS, machine_cost, searches_of, small_plan, small_study

from orchestrator.planning.cost import OVERHEAD_STARTS
from orchestrator.sweeping.budget import (
    NO_BUDGET,
    Budget,
    PhaseEnds,
    SpentBudget,
    SweepForecast,
    TimeBudget,
    recorded_phase_ends,
)
from orchestrator.sweeping.sweep import Sweep
from orchestrator.tracking.recording import plan_record
from reports.search_notes import search_notes
from search_spaces.schema import Phase

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from orchestrator.planning.cost import MachineCost
    from orchestrator.planning.plan import Plan
    from orchestrator.sweeping.budget import SearchKey
    from orchestrator.sweeping.tasks import Task

SEARCH = ("nal", "symmetric-0.4")
RUN_SECONDS = 10.0
RUN_OVERHEAD_SECONDS = 1.75 * OVERHEAD_STARTS
STEP_COUNT = 18
"""Number of training steps of each run: 6 epochs of 70 samples in batches of 32."""


class FakeClock:
    """Clock that the test sets."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def cost_of_runs(start_seconds: float = 0.0) -> MachineCost:
    """Return a cost at which each run of the small study takes `RUN_SECONDS`."""
    step_seconds = (RUN_SECONDS - RUN_OVERHEAD_SECONDS) / STEP_COUNT
    return replace(machine_cost(step_seconds, 0.0, slots=1), start_seconds=start_seconds)


class BudgetedSweep:
    """A start of a sweep under a time budget, whose runs take some time on a clock of their own.

    Attributes:
        sweep: the sweep.
        tasks: tasks that have ended in this start, in order, without recorded ones.
    """

    def __init__(
        self,
        home: Path,
        plan: Plan,
        seconds: float,
        spent_seconds: float = 0.0,
        phase_ends: Mapping[SearchKey, PhaseEnds] | None = None,
    ) -> None:
        self.home = home
        self.clock = FakeClock()
        self.end_time = self.clock.now + seconds - spent_seconds
        forecast = SweepForecast.of(plan, cost_of_runs())
        budget = TimeBudget(seconds, spent_seconds, forecast, phase_ends, self.clock)
        self.sweep = Sweep(plan, home, searches_of(home), budget=budget)
        self.sweep.resume(lambda _task, _result: None)
        self.tasks: list[Task] = []

    def run(self, run_seconds: float = RUN_SECONDS, slots: int = 1) -> BudgetedSweep:
        """Carry out runs until the sweep is done or the budget is spent.

        Args:
            run_seconds: time of each run.
            slots: number of runs at a time, which start and end together.
        """
        while True:
            batch: list[Task] = []
            while len(batch) < slots and (task := self.sweep.next()) is not None:
                batch.append(task)
            self.clock.now += run_seconds
            if not batch or self.clock.now > self.end_time:
                self.clock.now = min(self.clock.now, self.end_time)
                return self
            for task in batch:
                seconds = [(run_seconds - RUN_OVERHEAD_SECONDS) / task.spec.recipe.epochs]
                result = record_run(self.home, task.spec, seconds=seconds * task.spec.recipe.epochs)
                self.tasks.append(task)
                self.sweep.end(task, result)

    @property
    def counts(self) -> dict[Phase, int]:
        """Number of runs of each phase that were trained in this start."""
        return {phase: sum(task.phase is phase for task in self.tasks) for phase in Phase}

    @property
    def phase_ends(self) -> PhaseEnds:
        """Where the budget has ended the phases of the only search."""
        (tuning,) = self.sweep.tunings
        return PhaseEnds(tuning.budget_trials, tuning.budget_seeds)


def test_a_large_budget_leaves_nothing_out(tmp_path: Path) -> None:
    start = BudgetedSweep(tmp_path, small_plan(), 1000.0).run()
    undisturbed = Sweep(small_plan(), tmp_path, searches_of(tmp_path))
    undisturbed.resume(lambda _task, _result: None)
    assert undisturbed.done
    assert start.sweep.done
    assert start.counts[Phase.SEARCH] == 4
    assert start.phase_ends == PhaseEnds()


def test_each_phase_ends_with_its_part_of_the_time(tmp_path: Path) -> None:
    # 4, 6 and 6 runs share 120 s, so that the search has 30 s, and select ends after 75 s.
    start = BudgetedSweep(tmp_path, small_plan(), 120.0).run()
    assert start.phase_ends == PhaseEnds(trials=3, seeds=1)
    assert [task.phase for task in start.tasks[:3]] == [Phase.SEARCH] * 3
    assert start.counts[Phase.SEARCH] == 3
    assert len({task.spec.seeds for task in start.tasks if task.phase is Phase.SELECT}) == 1
    assert start.sweep.done
    assert start.clock.now <= start.end_time


@pytest.mark.parametrize("slots", [1, 2, 4])
@pytest.mark.parametrize("seconds", [70.0, 90.0, 110.0, 130.0, 150.0])
def test_any_budget_for_the_smallest_table_ends_with_one(
    seconds: float, slots: int, tmp_path: Path
) -> None:
    forecast = SweepForecast.of(small_plan(), cost_of_runs())
    assert forecast.smallest_table_seconds == pytest.approx(70.0)
    start = BudgetedSweep(tmp_path, small_plan(), seconds).run(slots=slots)
    assert start.sweep.cells
    confirmed = {
        (cell.method, cell.origin): {
            spec.seeds.init for spec in cell.seed_group.specs if spec.digest in attempts(tmp_path)
        }
        for cell in start.sweep.cells
    }
    # All methods have the first seed, and none is more than one seed ahead of another.
    assert all(0 in seeds for seeds in confirmed.values())
    assert max(map(len, confirmed.values())) - min(map(len, confirmed.values())) <= 1


def test_slow_runs_end_the_search_earlier(tmp_path: Path) -> None:
    homes = [tmp_path / name for name in ("expected", "slow")]
    for home in homes:
        home.mkdir()
    as_expected, slow = (BudgetedSweep(home, small_plan(), 320.0) for home in homes)
    as_expected.run()
    slow.run(run_seconds=30.0)
    assert as_expected.counts[Phase.SEARCH] == 4
    # 320 s / 4 for the search, of which a third trial would need more.
    assert slow.phase_ends == PhaseEnds(trials=2, seeds=1)
    assert slow.sweep.done


@pytest.mark.parametrize("seconds", [70.0, 80.0, 90.0, 100.0])
def test_trials_that_end_before_their_last_epoch_do_not_shorten_the_forecast(
    seconds: float, tmp_path: Path
) -> None:
    seeds = "select.seeds=[2000, 2001, 2002, 2003, 2004, 2005]"
    start = BudgetedSweep(tmp_path, small_plan(trials=30, sets=(seeds,)), seconds)
    epoch_seconds = (RUN_SECONDS - RUN_OVERHEAD_SECONDS) / 6
    while start.sweep.phase is Phase.SEARCH:
        task = start.sweep.next()
        assert task is not None
        start.clock.now += RUN_OVERHEAD_SECONDS + epoch_seconds
        result = record_run(tmp_path, task.spec, diverged_at=1, seconds=[epoch_seconds])
        start.sweep.end(task, result)
    start.run()
    first_specs = [cell.seed_group.specs[0] for cell in start.sweep.cells]
    assert first_specs
    assert {spec.digest for spec in first_specs} <= set(attempts(tmp_path))


def test_the_first_trial_and_seed_start_whatever_is_left() -> None:
    clock = FakeClock()
    forecast = SweepForecast.of(small_plan(), cost_of_runs())
    budget = TimeBudget(20.0, 0.0, forecast, clock=clock)
    assert budget.allows_trial(0, 0)
    assert not budget.allows_trial(0, 1)
    assert budget.allows_seed(0, 0)
    assert not budget.allows_seed(0, 1)
    assert budget.seconds_left == 20.0
    clock.now += 30.0
    assert budget.seconds_left == 0.0
    budget.begin()
    assert budget.seconds_left == 20.0


def test_the_start_of_workers_is_no_part_of_a_phase() -> None:
    clock = FakeClock()
    forecast = SweepForecast.of(small_plan(), cost_of_runs(start_seconds=40.0))
    budget = TimeBudget(200.0, 0.0, forecast, clock=clock)
    # 160 s for 16 runs begin after 40 s, so that the search ends after 80 s.
    assert budget.allows_trial(0, 1)
    clock.now += 70.0
    assert budget.allows_trial(0, 3)
    clock.now += 0.1
    assert not budget.allows_trial(0, 3)


def test_several_searches_divide_the_time(tmp_path: Path) -> None:
    plan = small_plan(scenarios=TWO_SCENARIOS, sets=("search.scope=scenario",))
    forecast = SweepForecast.of(plan, cost_of_runs())
    assert [search.search_seconds for search in forecast.searches] == pytest.approx([40.0, 40.0])
    assert [search.select_seconds for search in forecast.searches] == pytest.approx([60.0, 60.0])
    assert forecast.confirm_seconds == pytest.approx(120.0)
    # Half of the time: the first search ends after 20 s, the second after 70 s.
    start = BudgetedSweep(tmp_path, plan, 160.0).run()
    first, second = start.sweep.tunings
    assert (first.budget_trials, first.budget_seeds) == (2, 1)
    assert second.budget_trials in {2, 3}
    assert {cell.scenario for cell in start.sweep.cells} == set(TWO_SCENARIOS)


def test_ended_phases_stay_ended_under_the_same_budget_only(tmp_path: Path) -> None:
    first = BudgetedSweep(tmp_path, small_plan(), 120.0).run()
    ends = {SEARCH: first.phase_ends}
    again = BudgetedSweep(tmp_path, small_plan(), 120.0, 110.0, ends).run()
    assert (again.tasks, again.phase_ends) == ([], first.phase_ends)
    assert again.sweep.done
    complete = Sweep(small_plan(), tmp_path, searches_of(tmp_path), budget=Budget(ends))
    complete.resume(lambda _task, _result: None)
    assert complete.done
    larger = BudgetedSweep(tmp_path, small_plan(), 1000.0, 110.0).run()
    assert larger.phase_ends == PhaseEnds()
    assert larger.counts[Phase.SEARCH] == 1
    assert set(attempts(tmp_path).values()) == {1}


def test_a_raised_budget_ends_like_an_undisturbed_sweep(tmp_path: Path) -> None:
    homes = {name: tmp_path / name for name in ("raised", "undisturbed")}
    for home in homes.values():
        home.mkdir()
    BudgetedSweep(homes["raised"], small_plan(), 75.0).run()
    raised = BudgetedSweep(homes["raised"], small_plan(), 1000.0, 75.0).run().sweep
    undisturbed = BudgetedSweep(homes["undisturbed"], small_plan(), 1000.0).run().sweep
    chosen = [sweep.tunings[0].chosen_values for sweep in (raised, undisturbed)]
    assert chosen[0] == chosen[1]
    cells = [[cell.seed_group.specs for cell in each.cells] for each in (raised, undisturbed)]
    assert cells[0] == cells[1]


def test_a_seed_with_recorded_runs_is_not_left_out(tmp_path: Path) -> None:
    full = BudgetedSweep(tmp_path, small_plan(), 1000.0).run()
    assert full.phase_ends == PhaseEnds()
    # Nothing is left of the budget for another seed, but all of select is recorded.
    again = BudgetedSweep(tmp_path, small_plan(), 160.0, 155.0)
    assert again.sweep.done
    assert again.phase_ends == PhaseEnds()


def test_recorded_ends_hold_up_to_the_budget_that_made_them(tmp_path: Path) -> None:
    start = BudgetedSweep(tmp_path, small_plan(), 120.0).run()
    record = plan_record(start.sweep, small_study(sets=("budget.hours=2",)))
    record = replace(record, budget_hours=2.0)
    ends = {SEARCH: PhaseEnds(trials=3, seeds=1)}
    assert recorded_phase_ends(record, 2.0) == ends
    assert recorded_phase_ends(record, 1.0) == ends
    assert recorded_phase_ends(record, 2.5) == {}
    assert recorded_phase_ends(record, None) == {}
    assert recorded_phase_ends(None, 2.0) == {}
    assert recorded_phase_ends(replace(record, budget_hours=None), 2.0) == {}
    assert record.is_limited_by_budget
    assert not record.is_budget_spent
    notes = list(search_notes(record, [], []))
    assert (
        "NAL: the time budget of 2 h has ended the search after 3 of 4 trials and the comparison "
        "of its candidates after 1 new seed; on a faster or slower machine there would be more or "
        "fewer."
    ) in notes


@pytest.mark.parametrize("trials", [2, 3])
def test_a_search_with_fewer_trials_than_its_budget_allowed_is_not_limited(
    tmp_path: Path, trials: int
) -> None:
    ends = {SEARCH: PhaseEnds(trials=3)}
    plan = small_plan(trials=trials, sets=("budget.hours=2",))
    sweep = Sweep(plan, tmp_path, searches_of(tmp_path), budget=Budget(ends))
    record = plan_record(sweep, small_study(trials=trials))
    assert recorded_phase_ends(record, 2.0) == ends
    assert not record.is_limited_by_budget
    assert not any("time budget" in note for note in search_notes(record, [], []))


@pytest.mark.parametrize(("seconds", "is_spent"), [(75.0, True), (1000.0, False)])
def test_a_plan_says_that_the_budget_was_spent(
    tmp_path: Path, seconds: float, *, is_spent: bool
) -> None:
    start = BudgetedSweep(tmp_path, small_plan(seeds=6), seconds).run()
    record = plan_record(start.sweep, small_study(seeds=6, sets=("budget.hours=1",)))
    assert (record.is_budget_spent, record.state == "finished") == (is_spent, not is_spent)
    assert start.sweep.budget.seconds_left == (
        0.0 if is_spent else 1000.0 - RUN_SECONDS * (len(start.tasks) + 1)
    )


def test_budgets_without_a_clock() -> None:
    assert NO_BUDGET.seconds_left == float("inf")
    assert SpentBudget().seconds_left == 0.0
    assert NO_BUDGET.allows_trial(0, 10**6)
    assert NO_BUDGET.phase_ends(SEARCH) == PhaseEnds()


def seeds_in_order(start: BudgetedSweep, phase: Phase) -> list[Any]:
    return [task.spec.seeds.init for task in start.tasks if task.phase is phase]


def test_seeds_come_one_after_the_other(tmp_path: Path) -> None:
    start = BudgetedSweep(tmp_path, small_plan(seeds=3), 1000.0).run()
    for phase in (Phase.SELECT, Phase.CONFIRM):
        assert seeds_in_order(start, phase) == sorted(seeds_in_order(start, phase))
