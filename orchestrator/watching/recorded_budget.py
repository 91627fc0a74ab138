"""Time budget of a sweep at a start of its command: what earlier starts have spent and ended."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from orchestrator.planning.cost import format_duration
from orchestrator.sweeping.budget import (
    Budget,
    PhaseEnds,
    SearchKey,
    SpentBudget,
    SweepForecast,
    TimeBudget,
    recorded_phase_ends,
)
from orchestrator.watching.progress_record import read_progress
from trainables.errors import FieldError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from orchestrator.planning.cost import MachineCost
    from orchestrator.planning.plan import Plan
    from orchestrator.tracking.archive import SweepArchive

SECONDS_PER_HOUR = 3600.0

NEXT_BUDGET_FACTOR = 2.0
"""Time budget that is suggested to go on with, divided by the one that is spent."""


@dataclass(frozen=True, slots=True)
class RecordedBudget:
    """Time budget of a sweep, as the sweep's records show it before its command goes on.

    Attributes:
        seconds: time that all starts of the sweep may take together, in seconds; infinite for no
            limit.
        spent_seconds: time that earlier starts have taken, in seconds.
        phase_ends: where the budget has ended the phases of searches.
    """

    seconds: float = math.inf
    spent_seconds: float = 0.0
    phase_ends: Mapping[SearchKey, PhaseEnds] = field(default_factory=dict)

    @classmethod
    def read(cls, plan: Plan, archive: SweepArchive) -> RecordedBudget:
        """Read what earlier starts of a sweep have spent of its budget.

        Args:
            plan: plan of the sweep.
            archive: folder of the sweep, which need not exist.
        """
        hours = plan.study.budget.hours
        if hours is None:
            return cls()
        progress = read_progress(archive.folder)
        return cls(
            hours * SECONDS_PER_HOUR,
            progress.total_seconds if progress else 0.0,
            recorded_phase_ends(archive.read_plan(), hours),
        )

    @property
    def seconds_left(self) -> float:
        """Time that is left, in seconds; infinite without a limit."""
        return max(0.0, self.seconds - self.spent_seconds)

    def check(self, plan: Plan, cost: MachineCost) -> None:
        """Check that a new sweep can end a run within its budget.

        Args:
            plan: plan of the sweep.
            cost: measured cost of its runs on this machine.

        Raises:
            FieldError: if the budget is too small.
        """
        forecast = SweepForecast.of(plan, cost)
        needed_seconds = cost.start_seconds + forecast.shortest_run_seconds
        if self.spent_seconds or self.seconds >= needed_seconds:
            return
        start_text = (
            f" (with {format_duration(cost.start_seconds)} to start the workers)"
            if cost.start_seconds
            else ""
        )
        raise FieldError(
            "budget.hours",
            f"{format_duration(self.seconds)} is less than the shortest run takes on this machine, "
            f"about {format_duration(needed_seconds)}{start_text}: the smallest table takes about "
            f"{format_duration(forecast.smallest_table_seconds)}, the whole sweep "
            f"{format_duration(cost.plan_seconds(plan))}",
        )

    def can_start(self, cost: MachineCost) -> bool:
        """Return whether time is left after the start of the workers."""
        return self.seconds_left > cost.start_seconds

    def start(self, plan: Plan, cost: MachineCost | None, *, is_complete: bool) -> Budget:
        """Return the budget of this start.

        Args:
            plan: plan of the sweep.
            cost: measured cost of its runs; None if no run is to be trained.
            is_complete: whether no run is left to train.
        """
        if math.isinf(self.seconds) or is_complete:
            return Budget(self.phase_ends)
        if cost is None:
            return SpentBudget(self.phase_ends)
        forecast = SweepForecast.of(plan, cost)
        return TimeBudget(self.seconds, self.spent_seconds, forecast, self.phase_ends)
