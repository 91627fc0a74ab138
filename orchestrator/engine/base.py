"""Interface of the engines, which carry out runs, and their look-up by name.

`--engine NAME` selects the module `NAME_engine` of this package. Such a module defines a function
`from_places`, which creates the `Engine` from the command-line flags.
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
        """Handle the start of a run, which may still have to wait for a worker."""

    def on_report(self, task: Task, row: Row) -> None:
        """Handle a progress report of a run.

        Args:
            task: task of the run.
            row: metrics after the run's latest epoch; empty before the first epoch has ended.
        """

    def on_end(self, task: Task) -> None:
        """Handle a run that has ended or failed, or that is paused to wait for other runs."""


class Engine(Protocol):
    """Executor of runs, which are handed out by a work (a sweep or a list of runs).

    Results are written to the records of the runs. They depend neither on the order of the runs,
    nor on the number of runs at a time, nor on interruptions.
    """

    @property
    def slots(self) -> int | None:
        """Largest number of runs at a time; None if only the machine limits it."""

    def check(self, resources: Resources) -> None:
        """Check that the engine can be used, before other steps that take time.

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
        """Carry out runs until the work has none left; the engine must have been started.

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
    """Return the engine that the command-line flags select.

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
