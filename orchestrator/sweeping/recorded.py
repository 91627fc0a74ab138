"""Runs of a sweep that are recorded, as they are before it starts."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from orchestrator.sweeping.search_storage import copy_searches
from orchestrator.sweeping.sweep import Sweep
from orchestrator.sweeping.tuning import search_digests
from trainables.databases import database_url

if TYPE_CHECKING:
    from orchestrator.home import Home
    from orchestrator.planning.plan import Plan


@dataclass(frozen=True, slots=True)
class RecordedRuns:
    """Runs of a sweep that are recorded.

    Attributes:
        count: number of runs.
        is_complete: whether no run of the sweep is left to carry out.
        sweep: the sweep with these runs, whose searches are a copy and must not be continued; None
            if no run is recorded in the home folder.
    """

    count: int
    is_complete: bool
    sweep: Sweep | None = field(default=None, compare=False)


def find_recorded_runs(
    plan: Plan,
    home: Home,
    settled_digests: frozenset[str] = frozenset(),
    search_url: str | None = None,
) -> RecordedRuns:
    """Return the runs with which a sweep would start, without changing the home folder.

    The sweep is resumed on copies of its searches.

    Args:
        plan: plan of the sweep.
        home: home folder, which need not exist.
        settled_digests: digests of runs that need not be read; see `Sweep`.
        search_url: URL of the database of searches; None for the file in the home folder.

    Raises:
        HomeError: if the file of the searches is damaged or locked.
        ServiceError: if the server with the searches cannot be used.
        NalError: if a record is damaged or contradicts the sweep.
    """
    if not any(home.path.glob("runs/*/result.json")):
        return RecordedRuns(0, is_complete=False)
    url = search_url or database_url(home.search_database)
    sweep = Sweep(plan, home.path, copy_searches(url, search_digests(plan)), settled_digests)
    count = sweep.resume(lambda _task, _result: None)
    return RecordedRuns(count, sweep.done, sweep)
