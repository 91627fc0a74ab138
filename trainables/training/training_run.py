"""Training of one run with checkpoints, up to its recorded result."""

from __future__ import annotations

import io
import os
import time
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Self

import torch

from trainables.diagnostics.collector import Collector, collection_interval
from trainables.diagnostics.store import save_diagnostics
from trainables.errors import DataError
from trainables.run.provenance import run_provenance, store_environment
from trainables.run.record import Record, write_atomically
from trainables.run.result import HISTORY_SEPARATOR, LabelStatistics, RunResult, Status
from trainables.run.spec import RunSpec, check_revision
from trainables.training.devices import (
    device_name,
    is_out_of_memory,
    peak_memory_mb,
    pick_device,
    reset_peak_memory,
)
from trainables.training.network import weights_digest
from trainables.training.outcomes import NeedDivergedError, load_inputs
from trainables.training.run_log import RunLog
from trainables.training.system_metrics import SystemMonitor
from trainables.training.trainer import DivergedError, Trainer

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from trainables.datasets.base import Dataset
    from trainables.training.job import Row

MIN_CHECKPOINT_INTERVAL_SECONDS = 5.0
"""Minimum wall time between two checkpoints of a run, in seconds."""
MAX_CHECKPOINT_TIME_SHARE = 0.05
"""Largest fraction of a run's wall time that writing checkpoints may take."""


class TrainingRun:
    """Context manager that trains one run epoch by epoch and writes checkpoints.

    While the run is open, no other process can open it. Checkpoints are written at intervals of
    wall time, which do not influence the result. Warnings and errors are written to its log file.
    """

    def __init__(
        self,
        spec: RunSpec,
        home: Path,
        read_dataset: Callable[[], Dataset],
        study: str,
        checkpoint_interval_seconds: float = MIN_CHECKPOINT_INTERVAL_SECONDS,
        patience_seconds: float = 60.0,
        diagnostics_every: int | None = None,
        *,
        has_system_metrics: bool = False,
    ) -> None:
        """Read the final result of the run, if it is recorded already.

        Args:
            spec: specification of the run.
            home: path of the home folder, which contains `runs/`.
            read_dataset: function that reads the dataset; called only if epochs are left to train.
            study: name of the study that the run is trained for; recorded, but not part of the
                run's digest.
            checkpoint_interval_seconds: minimum wall time between two checkpoints, in seconds.
            patience_seconds: longest wait, in seconds, for another process that trains the run.
            diagnostics_every: number of epochs between two collections of diagnostics; None for
                about 20 collections in the whole run, 0 for none. Diagnostics do not influence the
                training.
            has_system_metrics: whether to record the use of CPUs, memory and GPU in every epoch.
        """
        self.spec = spec
        self.record = Record(home, spec.digest)
        self.result = _final_or_none(self.record.read_result())
        self._home = home
        self._diagnostics_every = diagnostics_every
        self._collector: Collector | None = None
        self._has_system_metrics = has_system_metrics
        self._system_metrics: list[Row] = []
        self._read_dataset = read_dataset
        self._study = study
        self._checkpoint_interval_seconds = checkpoint_interval_seconds
        self._patience_seconds = patience_seconds
        self._last_write_seconds = 0.0
        self._last_checkpoint_time = time.monotonic()
        self._attempt_count = 0
        self._recovery = ""
        self._provenance: dict[str, str] = {}
        self._trainer: Trainer | None = None
        self._label_statistics: LabelStatistics
        self._class_names: tuple[str, ...] = ()
        self._log = RunLog(self.record.log_path)
        self._stack = ExitStack()

    def __enter__(self) -> Self:
        """Lock the run and load its latest checkpoint, unless its final result is recorded.

        Raises:
            HomeError: if the record cannot be written or is locked by another process.
            DataError: if the dataset is not the one in the spec, or a run whose outcome this run
                needs is missing.
            RecordError: if the spec was made with another revision of the training code.
        """
        if self.result is None:
            check_revision(self.spec)
            try:
                self._stack.enter_context(self.record.claimed(self._patience_seconds))
                self.result = _final_or_none(self.record.read_result())
                if self.result is None:
                    self._stack.enter_context(self._log)
                    with self._log_exceptions():
                        self._start()
            except BaseException:
                self._stack.close()
                raise
        return self

    def __exit__(self, *_: object) -> None:
        if self._trainer is not None and self.result is None:
            self._log.write(f"closed after epoch {self._trainer.epoch}")
        self._stack.close()

    @contextmanager
    def _log_exceptions(self) -> Iterator[None]:
        """Write an exception of the `with` block to the log file of the run."""
        try:
            yield
        except BaseException as error:
            self._log.write_exception(error)
            raise

    def _start(self) -> None:
        """Load the data and create the trainer, or record the run as diverged with a needed run."""
        self._attempt_count = self.record.record_start(self.spec)
        spec = self.spec
        self._log.write(
            f"attempt {self._attempt_count}: {spec.method} on {spec.scenario}, seed "
            f"{spec.seeds.init}, {spec.recipe.epochs} epochs, process {os.getpid()}"
        )
        self.record.store_code(self.spec)
        device = pick_device()
        self._provenance = {
            "study": self._study,
            **run_provenance(device_name(device)),
            "environment": store_environment(self._home),
        }
        self._log.write(
            ", ".join(f"{name} {value}" for name, value in self._provenance.items())
            + f", threads {spec.threads}"
        )
        reset_peak_memory()
        dataset = self._read_dataset()
        self._class_names = dataset.classes
        try:
            inputs = load_inputs(self.spec, self._home, dataset, device)
        except NeedDivergedError as error:
            self.result = replace(
                error.result,
                spec=self.spec,
                trace=[],
                seconds=[],
                mean=(),
                std=(),
                input_shape=(),
                short_side=None,
                provenance=self._provenance,
                reason=str(error),
                attempts=self._attempt_count,
                system_metrics=[],
                recovery="",
                weights="",
            )
            self._write_result(self.result)
            return
        self._label_statistics = LabelStatistics.from_realisation(inputs.labels, self.spec.scenario)
        self._provenance |= {
            f"input.{role}": sha256 for role, sha256 in inputs.sha256_by_role.items()
        }
        with self._end_if_out_of_memory():
            self._trainer = Trainer(self.spec, dataset, device, inputs.outcomes, inputs.labels)
            self._load_checkpoint(self._trainer)
            if self._trainer.epoch:
                self._log.write(f"continued from the checkpoint after epoch {self._trainer.epoch}")
        self._last_checkpoint_time = time.monotonic()

    def _load_checkpoint(self, trainer: Trainer) -> None:
        """Create the collector of diagnostics, and restore the latest checkpoint if there is one.

        Raises:
            DataError: if an outcome that the run uses has changed since the checkpoint.
        """
        interval = collection_interval(self.spec.recipe.epochs, self._diagnostics_every)
        self._collector = Collector.from_trainer(trainer, interval) if interval else None
        state, is_damaged = self.record.recover_checkpoint()
        self._recovery = "" if state is None else state.get("recovery", "")
        if is_damaged:
            way = (
                "trained anew"
                if state is None
                else f"continued after epoch {state['trainer']['epoch']}"
            )
            note = f"a damaged checkpoint was found: {way}"
            self._recovery = "; ".join(filter(None, (self._recovery, note)))
        if state is None:
            return
        for name, sha256 in self._provenance.items():
            if name.startswith("input.") and state["provenance"].get(name) != sha256:
                raise DataError(
                    f"the {name.removeprefix('input.')} that run {self.spec.digest[:12]} started "
                    "with has changed since its checkpoint: delete the folder "
                    f"{self.record.folder} to train the run again"
                )
        trainer.load_state_dict(state["trainer"])
        self._system_metrics = list(state.get("system_metrics", []))
        if self._collector is not None and state["diagnostics"] is not None:
            self._collector.load_state_dict(state["diagnostics"])
        self._provenance = _merge_provenance(state["provenance"], self._provenance)

    @contextmanager
    def _end_if_out_of_memory(self) -> Iterator[None]:
        """Record the run as "out of memory" if the `with` block raises an out-of-memory error."""
        try:
            yield
        except (MemoryError, RuntimeError) as error:
            if not is_out_of_memory(error):
                raise
            trainer, self._trainer, self._collector = self._trainer, None, None
            last_epoch = trainer.epoch if trainer else 0
            message = (str(error).strip().splitlines() or ["no message"])[0]
            self.result = RunResult(
                spec=self.spec,
                status=Status.OUT_OF_MEMORY,
                trace=trainer.trace if trainer else [],
                seconds=trainer.epoch_seconds if trainer else [],
                peak_memory_mb=peak_memory_mb(pick_device()),
                labels=self._label_statistics,
                parameters=trainer.parameter_count if trainer else 0,
                provenance=self._provenance,
                split=trainer.data.split_sha256 if trainer else "",
                class_names=self._class_names,
                reason=f"in epoch {last_epoch + 1} ({message}); last good epoch {last_epoch}",
                attempts=self._attempt_count,
                system_metrics=self._system_metrics,
            )
            self._write_result(self.result)

    @property
    def labels_sha256(self) -> str:
        """SHA-256 of the noisy labels of the run, which must be open or have a result."""
        return (self.result.labels if self.result else self._label_statistics).sha256

    @property
    def epoch(self) -> int:
        """Number of epochs trained so far."""
        return self.spec.recipe.epochs if self._trainer is None else self._trainer.epoch

    def rows_since(self, epoch: int) -> list[dict[str, float]]:
        """Return the rows of all epochs after `epoch`."""
        trace = self.result.trace if self.result else self._trainer.trace if self._trainer else []
        return trace[epoch:]

    def stop(self) -> None:
        """Write a checkpoint and record the run as stopped; the run must not have ended.

        Raises:
            HomeError: if the disk is full.
        """
        trainer = self._trainer
        assert trainer is not None  # noqa: S101 - set as long as the run has no result
        epochs = self.spec.recipe.epochs
        with self._log_exceptions():
            self._write_checkpoint(trainer)
            self._record_result(trainer, Status.STOPPED, f"after epoch {trainer.epoch} of {epochs}")

    def advance(self) -> RunResult | None:
        """Train one epoch and return the result if the run has ended.

        Raises:
            HomeError: if the disk is full.
        """
        if self.result is None:
            with self._log_exceptions(), self._end_if_out_of_memory():
                self._train_epoch()
        return self.result

    def _train_epoch(self) -> None:
        """Train one epoch, then write a checkpoint if one is due, and the result at the end."""
        trainer = self._trainer
        assert trainer is not None  # noqa: S101 - set as long as the run has no result
        try:
            if not trainer.done:
                self._train_measured_epoch(trainer)
        except DivergedError as error:
            self._record_result(trainer, Status.DIVERGED, str(error))
            return
        if trainer.done:
            self._write_checkpoint(trainer)
            self._record_result(trainer, Status.FINISHED)
        elif time.monotonic() - self._last_checkpoint_time >= max(
            self._checkpoint_interval_seconds, self._last_write_seconds / MAX_CHECKPOINT_TIME_SHARE
        ):
            self._write_checkpoint(trainer)

    def _train_measured_epoch(self, trainer: Trainer) -> None:
        """Train one epoch, and measure the machine meanwhile if this is asked for."""
        monitor = SystemMonitor(trainer.device) if self._has_system_metrics else None
        if monitor is not None:
            monitor.start_epoch()
        trainer.train_epoch(self._collector)
        if monitor is not None:
            self._system_metrics.append(monitor.end_epoch(trainer.epoch))

    def _write_checkpoint(self, trainer: Trainer) -> None:
        """Write a checkpoint atomically, and keep the previous one."""
        start = time.monotonic()
        buffer = io.BytesIO()
        state = {
            "trainer": trainer.state_dict(),
            "diagnostics": self._collector.state_dict() if self._collector else None,
            "provenance": self._provenance,
            "system_metrics": self._system_metrics,
            "recovery": self._recovery,
        }
        torch.save(state, buffer)
        next_checkpoint = self.record.checkpoint_path.with_name("checkpoint.next.pt")
        write_atomically(next_checkpoint, buffer.getvalue())
        if self.record.checkpoint_path.exists():
            os.replace(self.record.checkpoint_path, self.record.previous_checkpoint_path)  # noqa: PTH105
        next_checkpoint.replace(self.record.checkpoint_path)
        self._last_checkpoint_time = time.monotonic()
        self._last_write_seconds = self._last_checkpoint_time - start

    def _record_result(self, trainer: Trainer, status: Status, reason: str = "") -> None:
        """Write the result and the diagnostics to the record of the run, and set `result`."""
        if self._collector is not None:
            save_diagnostics(self.record.folder, self._collector)
        self.result = RunResult(
            spec=self.spec,
            status=status,
            trace=trainer.trace,
            seconds=trainer.epoch_seconds,
            peak_memory_mb=peak_memory_mb(trainer.device),
            labels=self._label_statistics,
            parameters=trainer.parameter_count,
            provenance=self._provenance,
            reason=reason,
            attempts=self._attempt_count,
            diagnostics=self._collector.series() if self._collector else {},
            skipped=trainer.skipped_count,
            split=trainer.data.split_sha256,
            class_names=self._class_names,
            mean=trainer.data.mean,
            std=trainer.data.std,
            input_shape=trainer.data.input_shape,
            short_side=trainer.data.short_side,
            system_metrics=self._system_metrics,
            recovery=self._recovery,
            weights=weights_digest(trainer.network) if status is Status.FINISHED else "",
        )
        self._write_result(self.result)

    def _write_result(self, result: RunResult) -> None:
        """Write the result to the record of the run, and how the run ended to its log file."""
        self.record.write_result(result)
        self._log.write(f"{result.status} {result.reason}".rstrip())


def _final_or_none(result: RunResult | None) -> RunResult | None:
    """Return the given result if it is final, and otherwise None, as for a stopped run."""
    return result if result is not None and result.is_final else None


def _merge_provenance(earlier: dict[str, str], current: dict[str, str]) -> dict[str, str]:
    """Return the provenance of a continued run, with the earlier values of entries that changed.

    An example of a changed entry is the device "cuda: A100, then cpu: AVX2".
    """
    merged = {}
    for key, value in current.items():
        history = earlier.get(key, value)
        unchanged = history.split(HISTORY_SEPARATOR)[-1] == value
        merged[key] = history if unchanged else f"{history}{HISTORY_SEPARATOR}{value}"
    return merged
