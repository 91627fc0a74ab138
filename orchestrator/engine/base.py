"""Interface of the engines, and their look-up by name.

`--engine NAME` selects the module `NAME_engine` of this package. Such a module defines a function
`from_places`, which creates its `Engine` from the flags.
"""

from __future__ import annotations

import importlib
import pkgutil
from typing import TYPE_CHECKING, Protocol

import orchestrator.engine as package
from trainables.errors import UserError, suggest

if TYPE_CHECKING:
    from contextlib import AbstractContextManager
    from pathlib import Path

    from orchestrator.flags import Places
    from orchestrator.sweeping.tasks import Task, Work
    from search_spaces.schema import Resources
    from trainables.training.job import Job, Row

MODULE_SUFFIX = "_engine"
"""Suffix of the modules of this package that define an engine."""


class Listener(Protocol):
    """Callbacks that an engine calls while it carries out runs."""

    def on_start(self, task: Task) -> None:
        """Handle a run that has been handed out."""

    def on_report(self, task: Task, row: Row) -> None:
        """Handle the row of a run's latest epoch; the row is empty if there is no epoch yet."""

    def on_end(self, task: Task) -> None:
        """Handle a run that has ended, has failed or has been parked."""


class Engine(Protocol):
    """Carries out runs; their results are in their records.

    The order of the runs, their number at a time and interruptions do not change any result.
    """

    @property
    def slots(self) -> int | None:
        """Largest number of runs at a time; None if only the machine limits it."""

    def check(self, resources: Resources) -> None:
        """Check that runs can be carried out, before anything that takes time.

        Args:
            resources: CPUs and GPUs that one run requires.

        Raises:
            NalError: if the engine cannot be used.
            FieldError: if one run requires more resources than the machine has.
        """

    def start(self, home: Path) -> AbstractContextManager[None]:
        """Start the engine for the duration of the context.

        Args:
            home: home folder, which every worker must be able to access.
        """

    def carry_out(self, work: Work, job: Job, listener: Listener) -> None:
        """Carry out runs until the work is done; the engine must have been started.

        Args:
            work: work that provides the runs and receives their results.
            job: settings that all runs share.
            listener: callbacks on the progress of the runs.

        Raises:
            NalError: if an error would affect every run, or if no run can proceed.
        """


def engine_names() -> list[str]:
    """Return the names of all engines in alphabetical order."""
    modules = [module.name for module in pkgutil.iter_modules(package.__path__)]
    return sorted(
        name.removesuffix(MODULE_SUFFIX) for name in modules if name.endswith(MODULE_SUFFIX)
    )


def engine_of(places: Places) -> Engine:
    """Return the engine that the flags select.

    Raises:
        UserError: if there is no engine of that name, or if a Ray address is given to an engine
            that does not use Ray.
    """
    names = engine_names()
    if places.engine not in names:
        raise UserError(
            f"--engine: unknown engine '{places.engine}': {suggest(places.engine, names)}"
        )
    if places.ray_address is not None and places.engine != "ray":
        raise UserError(
            f"--ray-address: --engine {places.engine} uses no Ray cluster: leave one of the two out"
        )
    module = importlib.import_module(f"{package.__name__}.{places.engine}{MODULE_SUFFIX}")
    engine: Engine = module.from_places(places)
    return engine
