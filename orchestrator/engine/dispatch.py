"""What every engine does with a work: hand out its runs, pass on their rows, obey its answers."""

from __future__ import annotations

import signal
from collections import deque
from contextlib import contextmanager
from typing import TYPE_CHECKING

from orchestrator.sweeping.tasks import Answer, Task, Work
from trainables.errors import NalError
from trainables.run.record import Record

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence
    from pathlib import Path

    from orchestrator.engine.base import Listener
    from trainables.training.job import Row

UNSEEN = "its result is not under --home: every worker must see the same folder there"


class Dispatch:
    """Stands between a work and an engine.

    A run is *going* from when it is handed out until it ends or is set aside; `next` hands out
    runs that go on after they stood still before it asks the work for new ones.
    """

    def __init__(self, work: Work, home: Path, listener: Listener) -> None:
        """Begin with a work.

        Args:
            work: says what is to be run.
            home: folder that holds `runs/`.
            listener: is told what goes on.
        """
        self._work = work
        self._home = home
        self._listener = listener
        self._going: dict[str, Task] = {}
        self._aside: dict[str, Task] = {}
        self._ready: deque[Task] = deque()
        self._heard: dict[str, int] = {}

    @property
    def done(self) -> bool:
        """Whether the work has nothing left to be run."""
        return self._work.done

    def next(self) -> Task | None:
        """Return a run to be carried out now; None to wait, or if the work is over.

        Raises:
            NalError: there is nothing to wait for.
        """
        task = self._take()
        if task is None and self._aside:
            self._ask_again()
            task = self._take()
        if task is None and not self._going and not self._work.done:
            raise NalError(
                "nothing can go on: no run is being carried out, none can be begun before another "
                f"has ended, and {len(self._aside)} wait for others"
            )
        return task

    def _take(self) -> Task | None:
        if self._ready:
            return self._ready.popleft()
        task = self._work.next()
        if task is not None:
            self._begin(task)
        return task

    def _begin(self, task: Task) -> None:
        self._going[task.spec.digest] = task
        self._listener.started(task)

    def heard(self, task: Task) -> int:
        """Return the last epoch of a run that its work has heard of."""
        return self._heard.get(task.spec.digest, 0)

    def report(self, task: Task, rows: Sequence[Row]) -> Answer:
        """Pass on the rows that the work has not heard of; return its answer.

        Rows are cut at the epochs of `task.stops_after`; those after an answer that is not
        CONTINUE are left for later.

        Raises:
            ValueError: the work wants to stop a run elsewhere.
        """
        self._listener.reported(task, rows[-1] if rows else {})
        heard, answer = self.heard(task), Answer.CONTINUE
        for group in _cut((row for row in rows if row["epoch"] > heard), task.stops_after):
            answer = self._work.report(task, group)
            epoch = self._heard[task.spec.digest] = int(group[-1]["epoch"])
            if answer is not Answer.CONTINUE:
                if epoch not in task.stops_after and epoch < task.spec.recipe.epochs:
                    raise ValueError(
                        f"{answer} after epoch {epoch}, which is none of {task.stops_after}"
                    )
                break
        self._ask_again()
        return answer

    def end(self, task: Task, reason: str = "") -> None:
        """Tell the work that a run is over; its record says what it gave.

        Args:
            task: as `next` returned it.
            reason: why it could not be carried out, if so.
        """
        del self._going[task.spec.digest]
        self._listener.ended(task)
        self._tell_end(task, reason)
        self._ask_again()

    def _tell_end(self, task: Task, reason: str = "") -> None:
        heard = self._heard.pop(task.spec.digest, 0)
        result = Record(self._home, task.spec.digest).result()
        if result is not None and result.final:
            # What another process has trained, or had trained before: no answer makes a difference.
            rest = [row for row in result.trace if row["epoch"] > heard]
            if rest:
                self._work.report(task, rest)
        if result is not None and reason and not result.final:
            result = None  # of an earlier time
        self._work.end(task, result, reason or ("" if result else UNSEEN))

    def go_on(self, task: Task) -> None:
        """Hand a run that was stopped out again, before any new one."""
        self._ready.append(task)

    def set_aside(self, task: Task) -> None:
        """Let a run that was stopped wait until the work answers otherwise."""
        self._aside[task.spec.digest] = self._going.pop(task.spec.digest)
        self._listener.ended(task)

    def _ask_again(self) -> None:
        """Ask for the runs that were set aside, until no answer makes a difference to another."""
        asked = deque(self._aside.values())
        while asked:
            task = asked.popleft()
            answer = self._work.report(task, ())
            if answer is Answer.WAIT:
                continue
            del self._aside[task.spec.digest]
            if answer is Answer.CONTINUE:
                self._begin(task)
                self._ready.append(task)
            else:
                self._tell_end(task)
                asked = deque(self._aside.values())


def _cut(rows: Iterable[Row], after: Sequence[int]) -> Iterator[list[Row]]:
    """Yield rows in groups that end at given epochs, and what is left."""
    group: list[Row] = []
    for row in rows:
        group.append(row)
        if row["epoch"] in after:
            yield group
            group = []
    if group:
        yield group


@contextmanager
def noting_interrupts(note: Callable[[KeyboardInterrupt], None]) -> Iterator[None]:
    """See that Ctrl-C is heard even where a library swallows the exception that it raises."""

    def interrupt(_number: int, _frame: object) -> None:
        error = KeyboardInterrupt()
        note(error)
        raise error

    before = signal.signal(signal.SIGINT, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
