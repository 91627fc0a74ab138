"""Tasks that cannot be run before other runs have ended."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

    from orchestrator.sweeping.tasks import Task


class WaitingRoom:
    """Knows which runs are being carried out, and which tasks wait for them.

    A task waits for the runs that its spec needs, and for its own run where another task has
    that one carried out already.

    Attributes:
        running: digests of the runs that are being carried out.
    """

    def __init__(self) -> None:
        self.running: set[str] = set()
        self._waiting: dict[str, list[Task]] = {}
        self._ready: deque[Task] = deque()

    def take(self) -> Task | None:
        """Return a task that is to be looked at before any new one; None if there is none."""
        return self._ready.popleft() if self._ready else None

    def wait(self, task: Task, needed: Task) -> bool:
        """Let a task wait for a run; queue that run unless it is queued or running already.

        Returns:
            Whether it was queued.
        """
        digest = needed.spec.digest
        queued = digest not in self._waiting and digest not in self.running
        if queued:
            self._ready.append(needed)
        self._waiting.setdefault(digest, []).append(task)
        return queued

    def end(self, digest: str) -> list[Task]:
        """Note that a run is over; return the tasks that waited for it."""
        self.running.discard(digest)
        return self._waiting.pop(digest, [])

    def release(self, tasks: Iterable[Task]) -> None:
        """Have tasks looked at again, before any new one."""
        self._ready.extendleft(tasks)
