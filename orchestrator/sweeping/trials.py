"""Trials of a hyperparameter search, as the search counts them."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

    from orchestrator.planning.plan import Values


class TrialState(Enum):
    """State of a trial. A trial ends once, in one of the states other than RUNNING."""

    RUNNING = "running"
    """Its runs have not ended."""
    COMPLETE = "complete"
    """Its runs have ended; a diverged run counts as guessing."""
    STOPPED = "stopped"
    """Its runs were stopped early, so that the objective is that of its last step."""
    FAILED = "failed"
    """One of its runs could not be carried out, so that it has no objective."""

    @property
    def has_ended(self) -> bool:
        """Whether the trial has ended, in whatever way."""
        return self is not TrialState.RUNNING


@dataclass(frozen=True, slots=True)
class Trial:
    """Trial of a search: values of the searched hyperparameters, and what became of them.

    Attributes:
        number: position in the search, from 0. A trial that is tried again keeps its number.
        values: values of the searched hyperparameters.
        state: state of the trial.
        objective: mean objective over the seeds of the search; None without one.
        steps: objectives on the way, by step: after an epoch, or of one of the seeds.
    """

    number: int
    values: Values
    state: TrialState = TrialState.RUNNING
    objective: float | None = None
    steps: Mapping[int, float] = field(default_factory=dict)
