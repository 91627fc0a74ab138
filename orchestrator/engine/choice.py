"""The engines by their names."""

from __future__ import annotations

from typing import TYPE_CHECKING

from orchestrator.engine.inline import InlineEngine
from orchestrator.engine.ray_tune import RayEngine
from trainables.errors import UserError, suggest

if TYPE_CHECKING:
    from collections.abc import Callable

    from orchestrator.engine.base import Engine
    from orchestrator.flags import Places

ENGINES: dict[str, Callable[[Places], Engine]] = {
    "ray": lambda places: RayEngine(places.ray_address),
    "inline": lambda _places: InlineEngine(),
}


def engine_of(places: Places) -> Engine:
    """Return the engine that flags ask for.

    Raises:
        UserError: there is none of that name, or it has no use for an address.
    """
    if places.engine not in ENGINES:
        raise UserError(
            f"--engine: unknown engine '{places.engine}': {suggest(places.engine, ENGINES)}"
        )
    if places.ray_address is not None and places.engine != "ray":
        raise UserError(
            f"--ray-address: --engine {places.engine} uses no Ray cluster: leave one of the two out"
        )
    return ENGINES[places.engine](places)
