"""Whether the nodes of a cluster can carry out runs at all, asked before any is sent there."""

from __future__ import annotations

from typing import TYPE_CHECKING

from trainables.errors import ServiceError

if TYPE_CHECKING:
    from pathlib import Path

PATIENCE_SECONDS = 120.0
"""A node's first worker has to start and to import torch, perhaps from a slow disk."""


def check_nodes(home: Path) -> None:
    """See that every node has the package and sees the home folder.

    Raises:
        ServiceError: names the first that does not, and what it lacks.
    """
    import ray
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    # A function within a function travels by value: a node without the package can run it too.
    def look(folder: str) -> str:
        import importlib
        import pathlib

        try:
            importlib.import_module("trainables.trainable")
        except ImportError as error:
            return f"cannot import nal-orchestrator ({error}): install it there"
        if not pathlib.Path(folder).is_dir():
            return f"does not see --home {folder}: put it where all nodes see it"
        return ""

    task = ray.remote(num_cpus=0, max_retries=0)(look)
    nodes = [node for node in ray.nodes() if node["Alive"]]  # type: ignore[no-untyped-call]
    answers = {
        node["NodeManagerAddress"]: task.options(
            scheduling_strategy=NodeAffinitySchedulingStrategy(node["NodeID"], soft=False)
        ).remote(str(home))
        for node in nodes
    }
    for address, answer in answers.items():
        try:
            lack = ray.get(answer, timeout=PATIENCE_SECONDS)
        except ray.exceptions.RayError as error:
            reason = (str(error).strip().splitlines() or ["no message"])[-1]
            lack = f"cannot start a worker ({reason})"
        if lack:
            raise ServiceError(f"node {address} of the cluster {lack}")
