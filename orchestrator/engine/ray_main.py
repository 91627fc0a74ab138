"""Main module of the Ray process, which carries out a command's runs on Ray Tune.

Tune's own saved state is not used. Every order is a new Tune experiment, whose searcher hands out
the runs without a final result. The checkpoint and the result of a run are found by the digest of
the run.
"""

from __future__ import annotations

import logging
import os
import signal
import sys
import threading
import time
import uuid
from functools import partial
from multiprocessing.connection import Connection
from typing import TYPE_CHECKING, Any, cast

from orchestrator.engine.cluster import ray_cluster
from orchestrator.engine.messages import (
    Call,
    CarryOutOrder,
    ErrorMessage,
    MemoryLack,
    Notice,
    OrderDone,
    RayRun,
    Reply,
    StopError,
)
from orchestrator.engine.temp_dirs import process_temp_dir
from orchestrator.engine.tune_adapter import TuneAdapter
from trainables.errors import NalError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from ray.tune import PlacementGroupFactory

    from orchestrator.engine.messages import StartOrder
    from orchestrator.sweeping.tasks import Answer
    from trainables.training.job import Row

PARENT_CHECK_SECONDS = 0.5
"""Time between two checks whether the command still exists, in seconds."""


class RemoteDesk:
    """The command's `RunDesk`, called by a pipe.

    Args:
        connection: end of the pipe.
    """

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def next(self) -> RayRun | None:
        """Ask for the next run; None if none can start now or no run is left."""
        return cast("RayRun | None", self._call("next"))

    def is_done(self) -> bool:
        """Ask whether no run is left to carry out."""
        return cast("bool", self._call("is_done"))

    def report(self, digest: str, rows: Sequence[Row]) -> Answer:
        """Report the metrics of a run's new epochs, and return how the run proceeds."""
        return cast("Answer", self._call("report", digest, rows))

    def end(self, digest: str, reason: str) -> None:
        """Report the end of a run, and the reason why it could not be carried out or ""."""
        self._call("end", digest, reason)

    def park(self, digest: str) -> None:
        """Set a stopped run aside until it is answered anew."""
        self._call("park", digest)

    def resume(self, digest: str) -> None:
        """Queue a stopped run to continue before any new run starts."""
        self._call("resume", digest)

    def fail(self, message: str, exit_code: int) -> None:
        """Report an error that affects every run."""
        self._call("fail", message, exit_code)

    def signal_life(self) -> None:
        """Report that Ray still works."""
        self._call("signal_life")

    def _call(self, method: str, *arguments: Any) -> object:  # noqa: ANN401 - of any method
        """Call a method of the command's `RunDesk` and return its value."""
        self._connection.send(Call(method, arguments))
        value = self._connection.recv()
        if value is Reply.STOP:
            raise StopError
        return cast("object", value)


def carry_out(
    order: CarryOutOrder, desk: RemoteDesk, on_notice: Callable[[str], None]
) -> OrderDone | MemoryLack:
    """Carry out the runs of a command on Ray, which must have been started or joined.

    Args:
        order: order of the command.
        desk: interface through which the runs are handed out.
        on_notice: function that receives lines for the user.

    Raises:
        NalError: if no node can carry out a run.
    """
    from ray import tune
    from ray.exceptions import OutOfMemoryError
    from ray.tune import CheckpointConfig, RunConfig, TuneConfig, Tuner

    from orchestrator.engine.nodes import Nodes
    from orchestrator.engine.searcher import RayWatcher, RunSearcher, TrialStopper
    from trainables.trainable import RunTrainable

    logging.getLogger("ray.tune").setLevel(logging.CRITICAL)
    job = order.job
    with process_temp_dir() as storage:
        nodes = Nodes(order.cpus, job.gpus, order.demand, on_notice)
        nodes.wait_for_checks()
        adapter = TuneAdapter(desk, nodes, order.max_concurrent, job.runs_per_gpu)
        trainable = tune.with_parameters(
            RunTrainable, job=job, opener=order.opener, demand=order.demand
        )
        resources = partial(trial_resources, cpus=nodes.cpus)
        tuner = Tuner(
            tune.with_resources(trainable, resources),
            tune_config=TuneConfig(
                search_alg=RunSearcher(adapter), num_samples=-1, reuse_actors=True
            ),
            run_config=RunConfig(
                name=uuid.uuid4().hex[:8],
                storage_path=storage,
                stop=TrialStopper(adapter),
                callbacks=[RayWatcher(adapter.signal_life, nodes)],
                verbose=0,
                checkpoint_config=CheckpointConfig(checkpoint_at_end=False),
            ),
        )
        try:
            tuner.fit()
        except Exception as error:
            is_memory_lack = isinstance(error, OutOfMemoryError) or isinstance(
                error.__cause__, OutOfMemoryError
            )
            if not is_memory_lack or adapter.is_stopping:
                raise
            return MemoryLack(nodes.cpus_for_fewer_runs())
    return OrderDone()


def trial_resources(config: Mapping[str, Any], cpus: int) -> PlacementGroupFactory:
    """Return the resources that Tune requests for a trial, and the nodes that may have them.

    Args:
        config: configuration of the trial, with its number of "gpus", and the labels of its nodes
            under "placement".
        cpus: number of CPUs of the trial.
    """
    from ray.tune import PlacementGroupFactory

    gpus, placement = config["gpus"], config["placement"]
    bundle = {"CPU": float(cpus), "GPU": gpus} if gpus else {"CPU": float(cpus)}
    options: dict[str, Any] = {"bundle_label_selector": [placement]} if placement else {}
    return PlacementGroupFactory([bundle], **options)


def main(connection: Connection) -> None:
    """Follow the orders of the command that has started this process, until it closes the pipe.

    Args:
        connection: end of the pipe.
    """
    # The command receives these signals too, and ends this process.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: None)
    parent = os.getppid()
    threading.Thread(target=_end_with_parent, args=(parent,), daemon=True).start()

    def on_notice(text: str) -> None:
        connection.send(Notice(text))

    start: StartOrder = connection.recv()
    try:
        with ray_cluster(start.address, on_notice):
            connection.send(OrderDone())
            while True:
                try:
                    order: CarryOutOrder = connection.recv()
                except EOFError:
                    return
                desk = RemoteDesk(connection)
                connection.send(carry_out(order, desk, on_notice))
    except NalError as error:
        connection.send(ErrorMessage(str(error), error.exit_code))
    except (BrokenPipeError, EOFError):  # the command has ended
        return


def _end_with_parent(parent: int) -> None:
    """End this process at once when the process that has started it has ended."""
    while os.getppid() == parent:
        time.sleep(PARENT_CHECK_SECONDS)
    os._exit(1)


if __name__ == "__main__":
    main(Connection(int(sys.argv[1])))
