"""Adapter that turns runs into trials of Ray Tune, with idle trials that keep workers alive."""

from __future__ import annotations

import json
import time
from collections import Counter
from typing import TYPE_CHECKING, Any, Protocol

from orchestrator.engine.messages import StopError
from orchestrator.engine.packing import GpuPacking
from orchestrator.sweeping.tasks import Answer

if TYPE_CHECKING:
    from orchestrator.engine.messages import RunDesk

MAX_WORKER_LOSSES = 3
"""Number of times that a run may lose its worker process on a node that stays alive."""

MAX_INITIAL_IDLE_TRIALS = 8
"""Largest number of idle trials at the start, which start workers before the first runs.

Tune starts workers one after the other. For hundreds of workers this would take long, and gain
nothing if runs take hours.
"""

MAX_IDLE_SECONDS = 60.0
"""Time after which an idle trial is stopped, in seconds.

If other users occupy a part of the cluster, an idle trial could otherwise keep a run from starting.
"""


MAX_NODE_LOSSES = 10
"""Number of nodes that may be lost one after the other while they train an epoch of a run.

Such a run may be to blame: where memory is not monitored, a run that needs too much takes its node
down.
"""

LIFE_SECONDS = 2.0
"""Time between two signs of life for the command, in seconds."""


class RunPlaces(Protocol):
    """Places where the runs of an order are carried out: `Nodes` with the resources of one run."""

    gpus: float
    """Number of GPUs that one run occupies, which may be a fraction."""

    @property
    def slot_count(self) -> int:
        """Number of runs that can be carried out at a time."""

    def placement(self) -> dict[str, str]:
        """Return labels of the nodes on which Ray may place a run; empty for any node."""

    def refuse(self, node_id: str, problem: str) -> None:
        """Let a node take no runs, since it lacks something."""

    def is_lost(self, node_id: str | None) -> bool:
        """Return whether a node on which a worker was lost is lost too, or must not take runs."""


class TuneAdapter:
    """Adapter that presents runs to Tune as trials, and forwards the trials' reports.

    A slot is the share of the cluster's CPUs and GPUs that one run occupies. Tune ends workers
    without a trial. Tune also assigns a waiting trial to the first free worker, even if another
    worker that has almost started is then ended. If runs take about as long as the start of a
    worker (some seconds to import torch), one worker would carry out all runs. Every slot therefore
    gets an idle trial at first, and again when the slot becomes free while no run can start. For
    each run that is handed out, one idle trial is stopped.

    Attributes:
        finished: whether no more trials will be created, since no run is left or all are to be
            stopped.
        is_stopping: whether all runs are to be stopped.
    """

    def __init__(
        self,
        desk: RunDesk,
        places: RunPlaces,
        max_concurrent: int | None = None,
        runs_per_gpu: int = 1,
    ) -> None:
        """Create the adapter.

        Args:
            desk: object that hands out the runs and receives their reports.
            places: nodes of the cluster, and how many runs they can carry out at a time.
            max_concurrent: largest number of runs at a time; None if only `places` limits it.
            runs_per_gpu: largest number of runs that share a GPU.
        """
        self._desk = desk
        self._places = places
        self._max_concurrent = max_concurrent
        self._packing = GpuPacking(places.gpus, runs_per_gpu)
        self._specs: dict[str, dict[str, Any]] = {}  # of runs as JSON, by the ID of their trial
        self._initial_idle_trials_left = min(self._slot_count, MAX_INITIAL_IDLE_TRIALS)
        self._digests: dict[str, str] = {}  # of runs, by the ID of their trial
        self._node_ids: dict[str, str] = {}  # of the nodes of runs, by the ID of their trial
        self._loss_counts: Counter[str] = Counter()  # by the digest of the run
        self._node_loss_counts: Counter[str] = Counter()  # since the latest epoch of the run
        self._idle_deadlines: dict[str, float] = {}
        self._next_sign_of_life = 0.0
        self.finished = False
        self.is_stopping = False

    def next_config(self, trial_id: str) -> dict[str, Any] | None:
        """Return the configuration of a new trial, with a run or idle.

        The result is None if no trial can start at present, or if no more trials will follow
        (`finished`).

        Args:
            trial_id: Tune's ID of the trial.
        """
        if self.finished:
            return None
        if self._initial_idle_trials_left:
            self._initial_idle_trials_left -= 1
            return self._add_idle_trial(trial_id)
        if self._max_concurrent is not None and len(self._digests) >= self._max_concurrent:
            return None
        try:
            order = self._desk.next()
            self.finished = order is None and self._desk.is_done()
        except StopError:
            self.stop()
        if self.finished:
            return None
        if order is not None:
            self._digests[trial_id] = order.digest
            spec = self._specs[trial_id] = json.loads(order.spec)
            while self._idle_deadlines and self._used_slot_count > self._slot_count:
                del self._idle_deadlines[next(iter(self._idle_deadlines))]
            return {
                "spec": order.spec,
                "stops_after": list(order.stops_after),
                "reported_epoch": order.reported_epoch,
                "placement": self._places.placement(),
                "gpus": self._packing.gpus_of(spec),
            }
        has_free_slot = self._used_slot_count < self._slot_count
        return self._add_idle_trial(trial_id) if has_free_slot else None

    @property
    def _slot_count(self) -> int:
        """Number of runs that may be carried out at a time at present."""
        slot_count = self._places.slot_count
        return slot_count if self._max_concurrent is None else min(slot_count, self._max_concurrent)

    @property
    def _used_slot_count(self) -> int:
        """Number of slots in use, including those of runs whose worker was lost."""
        return len(self._digests) + len(self._idle_deadlines)

    def _add_idle_trial(self, trial_id: str) -> dict[str, Any]:
        self._idle_deadlines[trial_id] = time.monotonic() + MAX_IDLE_SECONDS
        return {
            "idle": True,
            "placement": self._places.placement(),
            "gpus": self._places.gpus,
        }

    def stop(self) -> None:
        """Stop all trials."""
        self.finished = self.is_stopping = True

    def signal_life(self) -> None:
        """Tell the command from time to time that Tune still works."""
        if self.is_stopping or time.monotonic() < self._next_sign_of_life:
            return
        self._next_sign_of_life = time.monotonic() + LIFE_SECONDS
        try:
            self._desk.signal_life()
        except StopError:
            self.stop()

    def should_stop(self, trial_id: str) -> bool:
        """Return whether a trial must stop at its next report."""
        if trial_id in self._digests:
            return self.is_stopping
        return self.finished or time.monotonic() > self._idle_deadlines.get(trial_id, 0.0)

    def report(self, trial_id: str, report: dict[str, Any]) -> None:
        """Forward the metrics in the report of a trial.

        Args:
            trial_id: Tune's ID of the trial.
            report: report as `RunTrainable.step` returned it.
        """
        digest = self._digests.get(trial_id)
        if digest is not None and "node" in report:
            self._node_ids[trial_id] = report["node"]
        rows = json.loads(report.get("rows", "[]"))
        if rows and digest is not None:
            self._node_loss_counts.pop(digest, None)
        if digest is not None and not self.is_stopping:
            try:
                self._desk.report(digest, rows)
            except StopError:
                self.stop()

    def end_trial(self, trial_id: str, report: dict[str, Any] | None, *, lost: bool) -> None:
        """Handle the end of a trial.

        Args:
            trial_id: Tune's ID of the trial.
            report: last report of the trial; None if there was none.
            lost: whether the trial ended because its worker was lost.
        """
        self._idle_deadlines.pop(trial_id, None)
        digest = self._digests.pop(trial_id, None)
        node_id = self._node_ids.pop(trial_id, None)
        spec = self._specs.pop(trial_id, {})
        report = report or {}
        used_gpu_fraction = report.get("used_gpu_fraction")
        if used_gpu_fraction is not None:
            self._places.gpus = self._packing.learn(spec, used_gpu_fraction)
        if self.is_stopping:  # a stop interrupts runs without ending them
            return
        is_node_lost = lost and self._places.is_lost(node_id)
        has_problem = "problem" in report
        if has_problem:
            self._places.refuse(report["node"], report["problem"])
        if digest is None:
            return
        try:
            if lost:
                self._count_loss(digest, is_node_lost=is_node_lost)
            elif has_problem:
                self._desk.resume(digest)
            else:
                self._end_run(digest, report)
        except StopError:
            self.stop()

    def _count_loss(self, digest: str, *, is_node_lost: bool) -> None:
        """Let a run continue whose worker was lost, unless it has lost too many.

        Args:
            digest: digest of the run.
            is_node_lost: whether the worker was lost because its node was.
        """
        counts = self._node_loss_counts if is_node_lost else self._loss_counts
        counts[digest] += 1
        if is_node_lost and counts[digest] > MAX_NODE_LOSSES:
            self._desk.end(
                digest, f"{counts[digest]} nodes were lost before the run had trained one epoch"
            )
        elif not is_node_lost and counts[digest] > MAX_WORKER_LOSSES:
            self._desk.end(digest, f"the worker process of the run was lost {counts[digest]} times")
        else:
            self._desk.resume(digest)

    def _end_run(self, digest: str, report: dict[str, Any]) -> None:
        answer = self._desk.report(digest, json.loads(report.get("rows", "[]")))
        if "error" in report:
            self._desk.fail(report["error"], report["exit_code"])
        elif report.get("stopped") and "crash" not in report and answer is not Answer.STOP:
            actions = {Answer.WAIT: self._desk.park, Answer.CONTINUE: self._desk.resume}
            actions[answer](digest)
        else:
            self._desk.end(digest, report.get("crash", ""))
