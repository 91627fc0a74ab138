"""The runs that label noise is drawn from: carried out before the labels of a plan are known."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

from orchestrator.sweeping.tasks import Answer, Task
from search_spaces.phases import Phase
from trainables.errors import NalError
from trainables.posterior import OUTCOME
from trainables.result import Status

if TYPE_CHECKING:
    from collections.abc import Sequence

    from orchestrator.engine.base import Engine, Listener
    from orchestrator.planning.plan import Plan
    from trainables.job import Job, Row
    from trainables.result import RunResult
    from trainables.spec import RunSpec


def with_labels(plan: Plan, engine: Engine, job: Job, listener: Listener) -> Plan:
    """Train the networks that a plan's labels are drawn from; return the plan with its labels.

    Raises:
        NalError: one of them cannot be trained.
    """
    engine.carry_out(Preparation(plan), job, listener)
    return plan.again()


class Preparation:
    """A plan's networks on clean labels, as an engine takes work."""

    def __init__(self, plan: Plan) -> None:
        self._open = deque(plan.lacking)
        self._left = len(self._open)

    def next(self) -> Task | None:
        """Return a run to be carried out now; None if all are handed out."""
        if not self._open:
            return None
        spec = self._open.popleft()
        return Task(spec, Phase.SEARCH, {}, lambda _result: None, needed=True, outcomes=(OUTCOME,))

    def report(self, task: Task, rows: Sequence[Row]) -> Answer:  # noqa: ARG002 - of `Work`
        """Let every run go on."""
        return Answer.CONTINUE

    def end(self, task: Task, result: RunResult | None, reason: str = "") -> None:
        """Note that a run has ended.

        Raises:
            NalError: it gives no class probabilities; says why.
        """
        self._left -= 1
        check_posterior(task.spec, result, reason)

    @property
    def done(self) -> bool:
        """Whether all have ended."""
        return self._left == 0


def check_posterior(spec: RunSpec, result: RunResult | None, reason: str = "") -> None:
    """See that a run that label noise is drawn from has ended well.

    Raises:
        NalError: it has not; says why.
    """
    if result is None or result.status is not Status.FINISHED:
        why = reason if result is None else f"{result.status} {result.reason}"
        raise NalError(
            f"the network on clean labels that PMD noise is drawn from, {spec.digest[:12]}, could "
            f"not be trained: {why}: change posterior.recipe"
        )
