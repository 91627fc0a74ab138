"""The flag `--fit` of the command `sweep`, which shrinks a sweep until it fits into a time."""

from __future__ import annotations

import math
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from rich.text import Text

from orchestrator.flags import command_line
from orchestrator.planning.cost import format_duration, parse_duration
from orchestrator.planning.loading import load_plan
from orchestrator.planning.shrink import MAX_TIME_FRACTION, fit_sweep
from search_spaces.resolve import matched_recipe
from trainables.errors import InterruptionError, UserError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from rich.console import Console

    from orchestrator.flags import Locations, StudyFlags
    from orchestrator.planning.cost import MachineCost
    from orchestrator.planning.loading import LoadedPlan
    from orchestrator.planning.plan import Plan
    from search_spaces.schema import Shrinkable


@dataclass(frozen=True, slots=True)
class FitRequest:
    """Request to shrink a sweep until it fits into a time.

    Attributes:
        text: time as the user has written it.
        seconds: time in seconds.
    """

    text: str
    seconds: float

    @classmethod
    def parse(cls, text: str) -> FitRequest:
        """Create the request from the value of `--fit`.

        Raises:
            UserError: if the value is no time.
        """
        try:
            return cls(text, parse_duration(text))
        except ValueError as error:
            raise UserError(f"--fit: {error}") from error


@dataclass(frozen=True, slots=True)
class FittedSweep:
    """A sweep that `--fit` has shrunk.

    Attributes:
        flags: flags of the command that carries it out.
        loaded_plan: its plan and study.
        command: command that carries it out, without `--fit`.
    """

    flags: StudyFlags
    loaded_plan: LoadedPlan
    command: str

    @contextmanager
    def continued(self) -> Iterator[None]:
        """Name the command that continues the sweep if the `with` block is interrupted.

        `--fit` could give another sweep: it depends on how fast the machine is at the time.

        Raises:
            InterruptionError: if the block is interrupted.
        """
        try:
            yield
        except KeyboardInterrupt as interrupt:
            subject = str(interrupt) or "interrupted"
            raise InterruptionError(f"{subject}: to continue, type {self.command}") from None


def fit_plan(
    request: FitRequest,
    study_flags: StudyFlags,
    locations: Locations,
    loaded_plan: LoadedPlan,
    measure_cost: Callable[[Plan], MachineCost],
    console: Console,
    *,
    may_write: bool,
) -> FittedSweep | None:
    """Shrink a sweep until it fits into a time, and print what was shrunk.

    Args:
        request: time into which the sweep is to fit.
        study_flags: flags that select the study and change it.
        locations: locations of data and results.
        loaded_plan: plan and study of the requested sweep.
        measure_cost: function that measures the cost of a sweep on this machine.
        console: console to print on.
        may_write: whether files may be written.

    Returns:
        The smaller sweep; None if the requested one fits.

    Raises:
        UserError: if even the smallest sweep does not fit.
    """
    plan = loaded_plan.plan
    cost = measure_cost(plan)
    sweep = fit_sweep(study_flags, plan, cost, request.seconds)
    order = ", ".join(plan.study.budget.shrink)
    if sweep.seconds > MAX_TIME_FRACTION * request.seconds:
        raise UserError(
            f"--fit {request.text}: even the smallest sweep (budget.shrink: {order or 'nothing'}) "
            f"takes about {format_duration(sweep.seconds)} on this machine: allow "
            f"--fit {_sufficient_time(sweep.seconds / MAX_TIME_FRACTION)}, of which a fifth is for "
            "errors of the forecast, or choose fewer scenarios, methods or candidates"
        )
    if sweep.flags == study_flags:
        console.print(
            f"The sweep fits into {request.text} as it is: it takes about "
            f"{format_duration(sweep.seconds)}.\n",
            soft_wrap=True,
        )
        return None
    smaller = load_plan(sweep.flags, locations, console, may_write=may_write)
    changes = ", ".join(
        f"{size} {before} → {after}"
        for size in plan.study.budget.shrink
        if (before := _value_of(size, plan)) != (after := _value_of(size, smaller.plan))
    )
    remark = (
        ""
        if sweep.is_telling
        else (
            f"; with {sweep.step_count} training steps a run, it does not show which method is "
            "better"
        )
    )
    command = command_line("sweep", sweep.flags, locations)
    console.print(
        f"To fit into {request.text}, the sweep is shrunk (budget.shrink: {order}): {changes}. It "
        f"then takes about {format_duration(sweep.seconds)} instead of "
        f"{format_duration(cost.plan_seconds(plan))}{remark}. Its command:",
        soft_wrap=True,
    )
    console.print(Text(f"    {command}\n"), soft_wrap=True)
    return FittedSweep(sweep.flags, smaller, command)


def _sufficient_time(seconds: float) -> str:
    """Return a value of `--fit` that is at least a number of seconds, such as "3min"."""
    if seconds < 60:
        return f"{math.ceil(seconds)}s"
    if seconds < 3600:
        return f"{math.ceil(seconds / 60)}min"
    return f"{math.ceil(seconds / 360) / 10:g}h"


def _value_of(size: Shrinkable, plan: Plan) -> int:
    """Return the value of one size of a sweep."""
    study = plan.study
    return {
        "trials": study.search.trials,
        "seeds": len(study.confirm.seeds),
        "epochs": matched_recipe(study).epochs,
        "subset": plan.sample_count,
    }[size]
