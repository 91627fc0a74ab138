"""Interface of the engines, which carry out runs, and look-up of an engine by name.

The flag `--engine NAME` selects the module `NAME_engine` of this package. The module defines a
function `create_engine`, which returns the `Engine` for the command-line flags.
"""

from __future__ import annotations

import importlib
import pkgutil
from typing import TYPE_CHECKING, Protocol

import orchestrator.engine as package
from trainables.errors import UserError, suggest

if TYPE_CHECKING:
    from contextlib import AbstractContextManager

    from orchestrator.flags import Locations
    from orchestrator.sweeping.tasks import Task, TaskSource
    from search_spaces.schema import Resources
    from trainables.training.job import Job, Row

MODULE_SUFFIX = "_engine"
"""Suffix of the names of modules in this package that define an engine."""


class Listener(Protocol):
    """Callbacks on the progress of runs, which an engine calls while it carries the runs out."""

    def on_start(self, task: Task) -> None:
        """Handle the start of a run, which may still wait for a worker process.

        Args:
            task: task of the run.
        """

    def on_report(self, task: Task, row: Row) -> None:
        """Handle a progress report of a run.

        Args:
            task: task of the run.
            row: metrics after the run's latest epoch; empty before the first epoch has ended.
        """

    def on_end(self, task: Task) -> None:
        """Handle a run that has ended or failed, or that is paused to wait for other runs.

        Args:
            task: task of the run.
        """

    def on_notice(self, text: str) -> None:
        """Handle a notice about the machine, which concerns no single run.

        Args:
            text: one line for the user.
        """


class Engine(Protocol):
    """Interface of an executor of runs, which a task source (sweep or list of runs) provides.

    The results are written to the records of the runs. They do not depend on the engine, the order
    of the runs, the number of runs at a time or interruptions.
    """

    @property
    def max_concurrent_runs(self) -> int | None:
        """Largest number of runs at a time; None if only CPUs and GPUs limit the number."""

    @property
    def starts_workers(self) -> bool:
        """Whether runs are trained in worker processes, whose start takes some time."""

    def check(self, resources: Resources) -> None:
        """Check that the engine can be used, before any step that takes long.

        Args:
            resources: CPUs and GPUs that one run requires.

        Raises:
            NalError: if the engine cannot be used.
            FieldError: if one run requires more resources than the machine has.
        """

    def start(self, listener: Listener) -> AbstractContextManager[None]:
        """Start the engine for the duration of the context.

        Args:
            listener: callbacks, of which `on_notice` is called if the start has to be repeated.
        """

    def carry_out(self, task_source: TaskSource, job: Job, listener: Listener) -> None:
        """Carry out all runs of a task source; the engine must have been started.

        Args:
            task_source: sweep or list that provides the runs and receives their results.
            job: settings that all runs share.
            listener: callbacks on the progress of the runs.

        Raises:
            NalError: if an error occurs that would affect every run, or no run can proceed.
        """


def engine_names() -> list[str]:
    """Return the names of all engines in alphabetical order."""
    modules = [module.name for module in pkgutil.iter_modules(package.__path__)]
    return sorted(
        name.removesuffix(MODULE_SUFFIX) for name in modules if name.endswith(MODULE_SUFFIX)
    )


def engine_of(locations: Locations) -> Engine:
    """Return the engine that the command-line flags select.

    Raises:
        UserError: if no engine has the selected name, or if the flags contain a Ray address or a
            number of concurrent runs that the selected engine does not have.
    """
    names = engine_names()
    if locations.engine not in names:
        raise UserError(
            f"--engine: unknown engine '{locations.engine}': {suggest(locations.engine, names)}"
        )
    if locations.ray_address is not None and locations.engine != "ray":
        raise UserError(
            f"--ray-address: --engine {locations.engine} uses no Ray cluster: leave out one of "
            "the two flags"
        )
    if locations.max_concurrent is not None and locations.engine == "inline":
        raise UserError(
            "--max-concurrent: --engine inline carries out one run at a time: leave out one of the "
            "two flags"
        )
    if locations.sbatch and locations.engine != "slurm":
        raise UserError(
            f"--sbatch: --engine {locations.engine} submits no jobs: leave out the flag, or add "
            "--engine slurm"
        )
    module = importlib.import_module(f"{package.__name__}.{locations.engine}{MODULE_SUFFIX}")
    engine: Engine = module.create_engine(locations)
    return engine
