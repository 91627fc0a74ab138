"""Time budget of a sweep: how it is divided over the phases, and which runs it allows to start."""

from __future__ import annotations

import math
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from orchestrator.planning.sizes import max_concurrent_trial_runs, phase_sizes
from search_spaces.schema import Phase

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from orchestrator.planning.cost import MachineCost
    from orchestrator.planning.plan import Plan
    from orchestrator.planning.sizes import PhaseSize
    from reports.plan_record import PlanRecord


@dataclass(frozen=True, slots=True)
class PhaseEnds:
    """Where a time budget has ended the search and the select phase of one method.

    Attributes:
        trials: number of trials with which the search has ended; None if the budget has not ended
            it.
        seeds: number of seeds with which select has ended; None if the budget has not ended it.
    """

    trials: int | None = None
    seeds: int | None = None


SearchKey = tuple[str, str]
"""Method and scenario of a search, which identify it within a sweep."""


def recorded_phase_ends(
    record: PlanRecord | None, hours: float | None
) -> dict[SearchKey, PhaseEnds]:
    """Return where the budget of an earlier start has ended the phases of each search.

    Under the same budget, these phases have ended for good: the table would otherwise depend on
    when the command was interrupted. A larger budget, or none, takes them up again.

    Args:
        record: recorded plan of the sweep; None if the sweep is new.
        hours: present budget in hours; None for no limit.
    """
    if record is None or hours is None or record.budget_hours is None:
        return {}
    if hours > record.budget_hours:
        return {}
    return {
        (search.method, search.scenario): PhaseEnds(search.budget_trials, search.budget_seeds)
        for search in record.searches
    }


class Budget:
    """Budget without a limit of time, in which phases that an earlier start has ended stay ended.

    Args:
        phase_ends: where the budget has ended phases of searches in an earlier start.
    """

    def __init__(self, phase_ends: Mapping[SearchKey, PhaseEnds] | None = None) -> None:
        self._phase_ends = phase_ends or {}

    @property
    def seconds_left(self) -> float:
        """Time that is left, in seconds; infinite without a limit."""
        return math.inf

    def phase_ends(self, search: SearchKey) -> PhaseEnds:
        """Return where an earlier start has ended the phases of a search."""
        return self._phase_ends.get(search, PhaseEnds())

    def begin(self) -> None:
        """Count the time of this start from now on."""

    def follow(self, ended_fractions: Callable[[], Sequence[Mapping[Phase, float]]]) -> None:
        """Follow the progress of a sweep.

        Args:
            ended_fractions: function that returns, for each search of the sweep in order, which
                fraction of the search and of its select phase has ended.
        """

    def allows_trial(self, position: int, trial_count: int) -> bool:  # noqa: ARG002 - no limit
        """Return whether one more trial may start.

        Args:
            position: position of the search among those of the sweep.
            trial_count: number of trials of the search that have started.
        """
        return True

    def allows_seed(self, position: int, seed_count: int) -> bool:  # noqa: ARG002 - no limit
        """Return whether all candidates of a search may be tried on one more seed.

        Args:
            position: position of the search among those of the sweep.
            seed_count: number of seeds on which candidates have started.
        """
        return True

    def add_run(self, phase: Phase, seconds: float, trained_fraction: float) -> None:
        """Learn how long a run took.

        Args:
            phase: phase of the sweep that the run belongs to.
            seconds: time of all epochs that the run was trained for, in seconds.
            trained_fraction: fraction of the run's epochs that it was trained for; less than 1 if
                it was stopped or has diverged.
        """


NO_BUDGET = Budget()
"""Budget of a sweep whose time is not limited."""


class SpentBudget(Budget):
    """Budget of which nothing is left, so that no run is trained."""

    @property
    def seconds_left(self) -> float:
        """Time that is left, in seconds: none."""
        return 0.0


@dataclass(frozen=True, slots=True)
class SearchForecast:
    """Expected wall times of one search and its select phase, in seconds.

    Attributes:
        search_seconds: the whole search.
        trial_seconds: one trial.
        select_seconds: the whole select phase.
        seed_seconds: all candidates on one seed.
    """

    search_seconds: float
    trial_seconds: float
    select_seconds: float
    seed_seconds: float


@dataclass(frozen=True, slots=True)
class SweepForecast:
    """Expected wall times of the phases of a sweep, in seconds.

    Attributes:
        start_seconds: time until the engine trains the first run.
        searches: each search with its select phase.
        confirm_seconds: the whole confirm phase.
        confirm_seed_seconds: the confirm phase on one seed.
        run_seconds: one run of each phase, on average.
        shortest_run_seconds: the shortest run of the sweep.
        overhead_seconds: what a run takes besides training.
    """

    start_seconds: float
    searches: tuple[SearchForecast, ...]
    confirm_seconds: float
    confirm_seed_seconds: float
    run_seconds: Mapping[Phase, float]
    shortest_run_seconds: float
    overhead_seconds: float

    @classmethod
    def of(cls, plan: Plan, cost: MachineCost) -> SweepForecast:
        """Forecast the times of a plan.

        Args:
            plan: plan of the sweep.
            cost: measured cost of its runs on this machine.
        """
        sizes = {size.phase: size for size in phase_sizes(plan)}
        groups = [group for size in sizes.values() for group in size.groups]
        confirm = sizes[Phase.CONFIRM]
        confirm_seconds = cost.phase_seconds(confirm)
        return cls(
            start_seconds=cost.start_seconds,
            searches=_search_forecasts(plan, cost, sizes),
            confirm_seconds=confirm_seconds,
            confirm_seed_seconds=confirm_seconds / len(plan.study.confirm.seeds),
            run_seconds={
                phase: cost.mean_run_seconds(size.groups) for phase, size in sizes.items()
            },
            shortest_run_seconds=min(map(cost.run_seconds, groups)),
            overhead_seconds=max(map(cost.overhead_seconds, groups)),
        )

    @property
    def smallest_table_seconds(self) -> float:
        """Time of one trial of each search, and of one seed in each later phase."""
        return (
            self.start_seconds
            + sum(search.trial_seconds + search.seed_seconds for search in self.searches)
            + self.confirm_seed_seconds
        )


def _search_forecasts(
    plan: Plan, cost: MachineCost, sizes: Mapping[Phase, PhaseSize]
) -> tuple[SearchForecast, ...]:
    """Divide the times of the phases search and select over the searches, by the times of runs."""

    def run_seconds(method: str, phase: Phase) -> float:
        groups = [group for group in sizes[phase].groups if group.spec.method == method]
        return cost.mean_run_seconds(groups)

    methods = [search.method for search in plan.searches]
    shares = {
        phase: [run_seconds(method, phase) for method in methods]
        for phase in (Phase.SEARCH, Phase.SELECT)
        if methods
    }
    phase_seconds = {
        phase: [
            cost.phase_seconds(sizes[phase]) * seconds / sum(all_seconds) for seconds in all_seconds
        ]
        for phase, all_seconds in shares.items()
    }
    seed_count = len(plan.study.select.seeds)
    slots = min(cost.max_concurrent_runs, max_concurrent_trial_runs(plan))
    rounds = math.ceil(len(plan.study.search.seeds) / slots)
    return tuple(
        SearchForecast(
            phase_seconds[Phase.SEARCH][position],
            rounds * shares[Phase.SEARCH][position],
            phase_seconds[Phase.SELECT][position],
            phase_seconds[Phase.SELECT][position] / seed_count,
        )
        for position in range(len(methods))
    )


class TimeBudget(Budget):
    """Budget with a limit of time.

    Each phase gets a part of the time that is left, in proportion to the expected time of what it
    has left to do. No trial is started that would end after the part of its search, and candidates
    are tried on no seed that would end after the part of select. A search has at least one trial,
    select at least one seed, and they leave the time for one in each later phase. The expected
    times are corrected by how long the runs of this start took. The confirm phase has all that is
    left.
    """

    def __init__(
        self,
        seconds: float,
        spent_seconds: float,
        forecast: SweepForecast,
        phase_ends: Mapping[SearchKey, PhaseEnds] | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Create the budget of a start, and begin to count its time.

        Args:
            seconds: time that all starts of the sweep may take together, in seconds.
            spent_seconds: time that earlier starts have taken, in seconds.
            forecast: expected times of the whole sweep.
            phase_ends: where the budget has ended phases of searches in an earlier start.
            clock: function that returns the time in seconds.
        """
        super().__init__(phase_ends)
        self._forecast = forecast
        self._clock = clock
        self._seconds_at_start = seconds - spent_seconds
        self._first_run_time = self._end_time = 0.0
        self.begin()
        self._ended_fractions: Callable[[], Sequence[Mapping[Phase, float]]] = lambda: [
            {Phase.SEARCH: 0.0, Phase.SELECT: 0.0} for _ in forecast.searches
        ]
        self._part_ends: list[dict[Phase, float]] = []
        self._expected_seconds = self._taken_seconds = 0.0

    def begin(self) -> None:
        """Count the time of this start from now on."""
        now = self._clock()
        self._first_run_time = now + self._forecast.start_seconds
        self._end_time = now + self._seconds_at_start

    @property
    def seconds_left(self) -> float:
        """Time that is left, in seconds; 0 if the budget is spent."""
        return max(0.0, self._end_time - self._clock())

    def follow(self, ended_fractions: Callable[[], Sequence[Mapping[Phase, float]]]) -> None:
        """Follow the progress of a sweep; see `Budget.follow`."""
        self._ended_fractions = ended_fractions

    def _part_end(self, position: int, phase: Phase) -> float:
        """Return the time at which the part of a search, or of its select phase, ends.

        The time is divided when this is first asked: the recorded runs are then known.
        """
        if not self._part_ends:
            self._part_ends = self._divide(self._ended_fractions())
        return self._part_ends[position][phase]

    def _divide(self, ended_fractions: Sequence[Mapping[Phase, float]]) -> list[dict[Phase, float]]:
        """Divide the time that is left over the phases, and return when each part ends."""
        parts = [
            {
                Phase.SEARCH: (1 - ended[Phase.SEARCH]) * search.search_seconds,
                Phase.SELECT: (1 - ended[Phase.SELECT]) * search.select_seconds,
            }
            for search, ended in zip(self._forecast.searches, ended_fractions, strict=True)
        ]
        start_time = min(max(self._clock(), self._first_run_time), self._end_time)
        left_seconds = sum(sum(part.values()) for part in parts) + self._forecast.confirm_seconds
        scale = (self._end_time - start_time) / left_seconds
        ends: list[dict[Phase, float]] = []
        end_time = start_time
        for part in parts:
            ends.append({})
            for phase, seconds in part.items():
                end_time += scale * seconds
                ends[-1][phase] = end_time
        return ends

    def allows_trial(self, position: int, trial_count: int) -> bool:
        """Return whether a trial can end within the search's part; see `Budget.allows_trial`."""
        forecast = self._forecast.searches[position]
        reserved = forecast.seed_seconds + self._seconds_reserved_after(position)
        end = min(
            self._part_end(position, Phase.SEARCH), self._end_time - self._slowness * reserved
        )
        return not trial_count or self._clock() + self._slowness * forecast.trial_seconds <= end

    def allows_seed(self, position: int, seed_count: int) -> bool:
        """Return whether a seed can end within the part of select; see `Budget.allows_seed`."""
        reserved = self._seconds_reserved_after(position)
        end = min(
            self._part_end(position, Phase.SELECT), self._end_time - self._slowness * reserved
        )
        seconds = self._slowness * self._forecast.searches[position].seed_seconds
        return not seed_count or self._clock() + seconds <= end

    def _seconds_reserved_after(self, position: int) -> float:
        """Return the expected time of the least that follows a search and its select phase."""
        return self._forecast.confirm_seed_seconds + sum(
            search.trial_seconds + search.seed_seconds
            for search in self._forecast.searches[position + 1 :]
        )

    @property
    def _slowness(self) -> float:
        """Time that the runs of this start took, divided by the expected time."""
        return self._taken_seconds / self._expected_seconds if self._expected_seconds else 1.0

    def add_run(self, phase: Phase, seconds: float, trained_fraction: float) -> None:
        """Learn how long a run took; see `Budget.add_run`."""
        overhead_seconds = self._forecast.overhead_seconds
        training_seconds = self._forecast.run_seconds[phase] - overhead_seconds
        self._taken_seconds += seconds + overhead_seconds
        self._expected_seconds += trained_fraction * training_seconds + overhead_seconds
