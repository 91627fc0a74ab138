"""Nodes of the connected Ray cluster: which of them may take runs, and how many at a time.

Each node of a cluster that the user names is checked by a worker process on the node, also if the
node joins later. A node that lacks something is named and takes no runs; the others do.
"""

from __future__ import annotations

import pickle
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import ray
from ray.exceptions import GetTimeoutError, NodeDiedError, RayError, TaskUnschedulableError
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from reports.words import format_count
from trainables.errors import ServiceError, UserError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from trainables.node_check import NodeDemand

CHECK_SECONDS = 60.0
"""Time limit for the check of a node, including the start of a worker, in seconds.

All waits for one event end before the command takes Ray for silent (`ray_process.SILENCE_SECONDS`).
"""

WORKER_SECONDS = 20.0
"""Time limit for the start of a worker after another was lost, in seconds."""


@dataclass(slots=True)
class NodeCheck:
    """Check of a node that has been started.

    Attributes:
        problem: reference to the description of what the node lacks, "" if nothing.
        deadline: time of `time.monotonic` at which the check has failed.
    """

    problem: Any
    deadline: float


class Nodes:
    """Nodes of the connected Ray cluster, on which runs with equal resources are placed.

    Attributes:
        cpus: number of CPUs that one run occupies.
        gpus: number of GPUs that one run occupies, which may be a fraction; 0 after
            `wait_for_checks` on a single machine without a GPU. A `TuneAdapter` reduces it if runs
            share GPUs.

    Args:
        demand: what a run needs on a node; None if the nodes need no check, since this process has
            started them.
        on_notice: function that receives one line for the user about each node that lacks
            something.
    """

    def __init__(
        self,
        cpus: int,
        gpus: float,
        demand: NodeDemand | None,
        on_notice: Callable[[str], None],
    ) -> None:
        self.cpus = cpus
        self.gpus = gpus
        self._demand = demand
        self._on_notice = on_notice
        self._checks: dict[str, NodeCheck] = {}
        self._problems: dict[str, str] = {}  # "" for a node that lacks nothing
        self._addresses: dict[str, str] = {}
        self._resources: dict[str, Mapping[str, float]] = {}  # of the live nodes

    def update(self) -> None:
        """Notice nodes that have joined or left and checks that have ended, without waiting."""
        nodes = ray.nodes()  # type: ignore[no-untyped-call]
        live = {node["NodeID"]: node for node in nodes if node["Alive"]}
        self._resources = {node_id: node["Resources"] for node_id, node in live.items()}
        if self._demand is None:
            return
        for node_id, node in live.items():
            self._addresses[node_id] = node["NodeManagerAddress"]
            if node_id not in self._problems and node_id not in self._checks:
                self._checks[node_id] = NodeCheck(
                    start_check(node_id, self._demand, has_gpu=node["Resources"].get("GPU", 0) > 0),
                    time.monotonic() + CHECK_SECONDS,
                )
        for node_id in list(self._checks):
            self._collect(node_id, wait_seconds=0.0)

    def wait_for_checks(self) -> None:
        """Wait until every live node was checked, and check that one of them can carry out a run.

        Raises:
            ServiceError: if no node may take runs; the message names what each of them lacks.
            UserError: if no node has enough CPUs and GPUs for one run.
        """
        self.update()
        self._wait_for_checks()
        if self._resources and not self._usable_resources():
            texts = [
                f"{self._addresses[node_id]} {problem}"
                for node_id, problem in self._problems.items()
                if node_id in self._resources
            ]
            raise ServiceError(
                "no node of the Ray cluster can train: "
                + ("; ".join(dict.fromkeys(texts)) or "none has answered")
            )
        if not any(resources.get("GPU", 0.0) > 0 for resources in self._usable_resources()):
            if self.gpus and self._demand is not None:
                raise UserError(
                    f"resources.gpus = {self.gpus:g}, but no node of the cluster has a GPU that can"
                    " be used: add --set resources.gpus=0 to train on CPUs"
                )
            self.gpus = 0.0
        if not self.slot_count:
            raise UserError(
                f"one run requires resources.cpus = {self.cpus:g} and resources.gpus = "
                f"{self.gpus:g} on one machine, but Ray's machines have {self._describe()}: reduce "
                "resources.cpus or resources.gpus with --set"
            )

    def _wait_for_checks(self) -> None:
        for node_id, check in list(self._checks.items()):
            self._collect(node_id, wait_seconds=max(0.0, check.deadline - time.monotonic()))

    def _collect(self, node_id: str, wait_seconds: float) -> None:
        """Store what a check has found, if it has ended, and tell the user of a problem."""
        check = self._checks[node_id]
        try:
            problem = ray.get(check.problem, timeout=wait_seconds)
        except GetTimeoutError:
            if time.monotonic() < check.deadline:
                return
            problem = f"has not started a worker within {CHECK_SECONDS:.0f} s"
        except (TaskUnschedulableError, NodeDiedError):  # it has left, or is checked again
            del self._checks[node_id]
            return
        except RayError as error:
            problem = f"cannot start a worker ({last_line(error)})"
        self.refuse(node_id, problem)

    def refuse(self, node_id: str, problem: str) -> None:
        """Store what a node lacks, and tell the user.

        Args:
            node_id: Ray's ID of the node.
            problem: what it lacks, after which it takes no runs; "" if nothing.
        """
        self._checks.pop(node_id, None)
        is_new = self._problems.get(node_id) != problem
        self._problems[node_id] = problem
        if problem and is_new:
            name = self._addresses.get(node_id, node_id)
            self._on_notice(
                f"node {name} takes no runs: it {problem}. Then start Ray on the node again"
            )

    def is_lost(self, node_id: str | None) -> bool:
        """Return whether a node on which a worker was lost is lost too, or must not take runs.

        Args:
            node_id: Ray's ID of the node; None if it is unknown.

        Raises:
            RayError: if Ray cannot start a worker on any node.
        """
        if node_id is None:
            start_worker()
            known = set(self._problems)
            self.update()
            self._wait_for_checks()  # perhaps the worker has not found the package
            return any(self._problems[new_id] for new_id in self._problems.keys() - known)
        try:
            start_worker(node_id)
        except RayError:
            start_worker()
            return True
        return bool(self._problems.get(node_id))

    def _usable_resources(self) -> list[Mapping[str, float]]:
        return [
            resources
            for node_id, resources in self._resources.items()
            if self._demand is None or self._problems.get(node_id) == ""
        ]

    @property
    def has_live_node(self) -> bool:
        """Whether a node that may take runs was alive at the last update."""
        return bool(self._usable_resources())

    def placement(self) -> dict[str, str]:
        """Return labels of the nodes on which Ray may place a run: those that lack nothing.

        Nodes that are not checked yet are among them, so that the result seldom changes, on which
        Ray would start new workers.
        """
        unusable = sorted(
            node_id
            for node_id, problem in self._problems.items()
            if problem and node_id in self._resources
        )
        return {"ray.io/node-id": f"!in({','.join(unusable)})"} if unusable else {}

    @property
    def slot_count(self) -> int:
        """Number of runs that the nodes can carry out at a time.

        A run cannot be divided between nodes, so the number is the sum of those of the nodes.
        """
        return sum(
            slots_of(resources, self.cpus, self.gpus) for resources in self._usable_resources()
        )

    def _describe(self) -> str:
        """Return the CPUs and GPUs of the nodes."""
        texts = [
            f"{format_count(int(resources.get('CPU', 0)), 'CPU')} and "
            f"{format_count(int(resources.get('GPU', 0)), 'GPU')}"
            for resources in self._usable_resources()
        ]
        return "; ".join(dict.fromkeys(texts))

    def cpus_for_fewer_runs(self) -> int:
        """Return the number of CPUs per run at which each node carries out half as many runs.

        Ray then starts fewer runs at a time on every node. The number of threads of a run does not
        depend on its CPUs.

        Returns:
            The number of CPUs, or `cpus` if no node carries out more than one run at a time.
        """
        nodes = [
            resources
            for resources in self._usable_resources()
            if slots_of(resources, self.cpus, self.gpus) > 0
        ]
        max_cpus = int(min((node["CPU"] for node in nodes), default=self.cpus))
        max_slot_count = max((slots_of(node, self.cpus, self.gpus) for node in nodes), default=0)
        return next(
            (
                more_cpus
                for more_cpus in range(self.cpus + 1, max_cpus + 1)
                if max(slots_of(node, more_cpus, self.gpus) for node in nodes) <= max_slot_count / 2
            ),
            self.cpus if max_slot_count <= 1 else max_cpus,
        )


def slots_of(available: Mapping[str, float], cpus: float, gpus: float) -> int:
    """Return how many times the CPUs and GPUs of one run are available."""
    required = (("CPU", cpus), ("GPU", gpus))
    return int(min(available.get(name, 0.0) // count for name, count in required if count))


def start_check(node_id: str, demand: NodeDemand, *, has_gpu: bool) -> Any:  # noqa: ANN401
    """Start the check of a node, and return a reference to the description of its problem.

    Args:
        node_id: Ray's ID of the node.
        demand: what a run needs on the node.
        has_gpu: whether the node has a GPU according to Ray.
    """
    pickled_demand = pickle.dumps(demand)

    # A nested function is pickled by value, so a node without the package can run it too.
    def find_problem() -> str:
        import importlib
        import pickle

        try:
            importlib.import_module("trainables.trainable")
            loaded_demand: NodeDemand = pickle.loads(pickled_demand)  # noqa: S301 - of the command
        except (ImportError, AttributeError) as error:
            return (
                f"cannot import this version of nal-orchestrator ({error}): install the package on "
                "it"
            )
        return loaded_demand.find_problem(has_gpu=has_gpu)

    strategy = NodeAffinitySchedulingStrategy(node_id, soft=False)
    check = ray.remote(num_cpus=0, max_retries=0)(find_problem)
    return check.options(scheduling_strategy=strategy).remote()


def start_worker(node_id: str | None = None) -> None:
    """Check that Ray can start a worker; else a run whose worker was lost is not to blame.

    Args:
        node_id: Ray's ID of the node of the worker; None for any.

    Raises:
        RayError: if no worker has started in time.
    """
    strategy = "DEFAULT" if node_id is None else NodeAffinitySchedulingStrategy(node_id, soft=False)
    task = ray.remote(num_cpus=0, max_retries=0)(do_nothing)
    ray.get(task.options(scheduling_strategy=strategy).remote(), timeout=WORKER_SECONDS)


def do_nothing() -> None:
    """Do nothing, in a worker."""


def last_line(error: Exception) -> str:
    """Return the last line of an error's message."""
    return (str(error).strip().splitlines() or ["no message"])[-1]
