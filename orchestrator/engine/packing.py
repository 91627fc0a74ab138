"""How many runs share a GPU, by the memory that a run of the same network has used."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

MEMORY_RESERVE = 1.1
"""Factor by which a run may need more memory than the run that was measured."""

MEMORY_KEYS = (
    *("dataset", "subset", "balanced", "hold_out", "evaluate", "test_subset"),
    *("backbone", "backbone_parameters", "method", "code"),
)
"""Keys of a spec that the memory of a run depends on."""

RECIPE_MEMORY_KEYS = ("batch_size", "precision", "crop_size", "optimizer")
"""Keys of a recipe that the memory of a run depends on."""


class GpuPacking:
    """Fractions of a GPU that runs occupy.

    A run has the whole GPU until a run of the same network has ended, whose memory was measured.
    As many runs as have room beside each other then share a GPU, up to the bound of the study. Of
    several measurements the largest counts.

    Args:
        gpus: number of GPUs of one run, which may be a fraction; 0 for none.
        max_runs: largest number of runs that share a GPU.
    """

    def __init__(self, gpus: float, max_runs: int) -> None:
        self._gpus = gpus
        self._max_runs = max_runs if gpus else 1
        self._fractions: dict[str, float] = {}

    def gpus_of(self, spec: Mapping[str, Any]) -> float:
        """Return the number of GPUs that a run occupies.

        Args:
            spec: spec of the run as a JSON object.
        """
        return self._fractions.get(memory_key(spec), self._gpus)

    def learn(self, spec: Mapping[str, Any], used_fraction: float) -> float:
        """Learn the memory of a run that has ended, and return the GPUs of a run like it.

        Args:
            spec: spec of the run as a JSON object.
            used_fraction: largest fraction of the memory of its GPU that was in use.
        """
        if self._max_runs > 1:
            fitting = int(1 / (MEMORY_RESERVE * used_fraction)) if used_fraction else self._max_runs
            run_count = max(1, min(self._max_runs, fitting))
            # Ray counts in ten thousandths of a GPU.
            fraction = math.floor(1e4 * self._gpus / run_count) / 1e4
            key = memory_key(spec)
            self._fractions[key] = max(fraction, self._fractions.get(key, 0.0))
        return self.gpus_of(spec)


def memory_key(spec: Mapping[str, Any]) -> str:
    """Return a text that is equal for runs that need about the same memory."""
    recipe = spec["recipe"]
    return repr([*map(spec.get, MEMORY_KEYS), *map(recipe.get, RECIPE_MEMORY_KEYS)])
