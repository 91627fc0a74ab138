"""What a sweep asks of whatever carries out its runs, and the engines that do so, by their names.

`--engine NAME` is the module `NAME_engine` of this package. Such a module has a function
`from_places`, which makes its `Engine` as the flags say.
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

ENDING = "_engine"


class Listener(Protocol):
    """Is told what goes on."""

    def started(self, task: Task) -> None:
        """A run has been handed out."""

    def reported(self, task: Task, row: Row) -> None:
        """A run is being carried out; the row of its latest epoch, empty where there is none."""

    def ended(self, task: Task) -> None:
        """A run has ended, was given up, or has been set aside."""


class Engine(Protocol):
    """Carries out runs, wherever that is; what they give is in their records.

    The order of runs, how many go at once, and interruptions change no bit of them.
    """

    @property
    def slots(self) -> int | None:
        """Most runs at once; None where the machine alone decides."""

    def check(self, resources: Resources) -> None:
        """See that runs can be carried out at all, before anything takes time.

        Raises:
            NalError: says why not.
            FieldError: they ask for more than there is.
        """

    def opened(self, home: Path) -> AbstractContextManager[None]:
        """Start what carries out runs, for as long as the context lasts."""

    def carry_out(self, work: Work, job: Job, listener: Listener) -> None:
        """Carry out runs until the work is done; the engine must be opened.

        Raises:
            NalError: a fault that would meet every run, or nothing can go on.
        """


def engine_names() -> list[str]:
    """Return the names of all engines, in alphabetical order."""
    modules = [module.name for module in pkgutil.iter_modules(package.__path__)]
    return sorted(name.removesuffix(ENDING) for name in modules if name.endswith(ENDING))


def engine_of(places: Places) -> Engine:
    """Return the engine that flags ask for.

    Raises:
        UserError: there is none of that name, or it has no use for an address.
    """
    known = engine_names()
    if places.engine not in known:
        raise UserError(
            f"--engine: unknown engine '{places.engine}': {suggest(places.engine, known)}"
        )
    if places.ray_address is not None and places.engine != "ray":
        raise UserError(
            f"--ray-address: --engine {places.engine} uses no Ray cluster: leave one of the two out"
        )
    module = importlib.import_module(f"{package.__name__}.{places.engine}{ENDING}")
    engine: Engine = module.from_places(places)
    return engine
