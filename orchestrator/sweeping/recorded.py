"""Runs of a sweep that are recorded, as they are before it starts."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from orchestrator.sweeping.budget import NO_BUDGET
from orchestrator.sweeping.search_storage import copy_searches
from orchestrator.sweeping.sweep import Sweep
from orchestrator.sweeping.tuning import search_digests
from trainables.databases import database_url
from trainables.errors import RecordError
from trainables.run.record import Record

if TYPE_CHECKING:
    from orchestrator.home import Home
    from orchestrator.planning.plan import Plan
    from orchestrator.sweeping.budget import Budget

MAX_NAMED_RECORDS = 10
"""Largest number of damaged records that one message names."""


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
    budget: Budget = NO_BUDGET,
) -> RecordedRuns:
    """Return the runs with which a sweep would start, without changing the home folder.

    The sweep is resumed on copies of its searches.

    Args:
        plan: plan of the sweep.
        home: home folder, which need not exist.
        settled_digests: digests of runs that need not be read; see `Sweep`.
        search_url: URL of the database of searches; None for the file in the home folder.
        budget: time budget of the sweep, which may have ended some phases.

    Raises:
        HomeError: if the file of the searches is damaged or locked.
        ServiceError: if the server with the searches cannot be used.
        NalError: if a record is damaged or contradicts the sweep.
    """
    if not any(home.path.glob("runs/*/result.json")):
        return RecordedRuns(0, is_complete=False)
    url = search_url or database_url(home.search_database)
    searches = copy_searches(url, search_digests(plan))
    sweep = Sweep(plan, home.path, searches, settled_digests, budget=budget)
    try:
        count = sweep.resume(lambda _task, _result: None)
    except RecordError as error:
        raise _all_damage(home, error) from error
    return RecordedRuns(count, sweep.done, sweep)


def _all_damage(home: Home, error: RecordError) -> RecordError:
    """Return the error for all damaged results in a home folder.

    Args:
        home: home folder.
        error: error for the first of the results; returned if there are no others.
    """
    damaged_paths = []
    for path in sorted(home.path.glob("runs/*/result.json")):
        try:
            Record(home.path, path.parent.name).read_result()
        except RecordError:
            damaged_paths.append(str(path))
    if len(damaged_paths) < 2:
        return error
    hidden_count = len(damaged_paths) - MAX_NAMED_RECORDS
    hidden_text = f" and {hidden_count} more" if hidden_count > 0 else ""
    return RecordError(
        f"the results of {len(damaged_paths)} runs cannot be read or belong to other runs: delete "
        "the folders of these files to train the runs again: "
        + ", ".join(damaged_paths[:MAX_NAMED_RECORDS])
        + hidden_text
    )
