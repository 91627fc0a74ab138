"""The engines by their names: `--engine NAME` is the module `NAME_engine` of this package.

Such a module has a function `from_places`, which makes its `Engine` as the flags say.
"""

from __future__ import annotations

import importlib
import pkgutil
from typing import TYPE_CHECKING

import orchestrator.engine as package
from trainables.errors import UserError, suggest

if TYPE_CHECKING:
    from orchestrator.engine.base import Engine
    from orchestrator.flags import Places

ENDING = "_engine"


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
