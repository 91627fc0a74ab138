"""Training of one run, from the latest checkpoint in its record to its result."""

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
from trainables.run.provenance import provenance, store_environment
from trainables.run.record import Record, write_atomically
from trainables.run.result import HISTORY_SEPARATOR, LabelFacts, RunResult, Status
from trainables.run.spec import RunSpec, check_revision
from trainables.training.devices import (
    device_name,
    is_out_of_memory,
    peak_memory_mb,
    pick_device,
    reset_peak_memory,
)
from trainables.training.outcomes import NeedDivergedError, load_inputs
from trainables.training.trainer import DivergedError, Trainer

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from trainables.datasets.base import Dataset

CHECKPOINT_SECONDS = 5.0
"""Minimum wall time between two checkpoints, in seconds."""
CHECKPOINT_SHARE = 0.05
"""Largest fraction of a run's wall time that writing checkpoints may take."""


class TrainingRun:
    """Context manager that trains one run epoch by epoch and writes checkpoints.

    While it is open, no other process can open the same run. The times of the checkpoints depend on
    the clock; the result does not.
    """

    def __init__(
        self,
        spec: RunSpec,
        home: Path,
        read_dataset: Callable[[], Dataset],
        study: str,
        checkpoint_seconds: float = CHECKPOINT_SECONDS,
        patience_seconds: float = 60.0,
        diagnostics_every: int | None = None,
    ) -> None:
        """Read the result of the run, if it is recorded already.

        Args:
            spec: specification of the run.
            home: path of the folder that holds `runs/`.
            read_dataset: function that reads the dataset; called only if epochs are left to train.
            study: name of the study that the run is trained for, which is recorded but not part of
                the run's identity.
            checkpoint_seconds: minimum wall time between two checkpoints.
            patience_seconds: longest wait for another process that is working on the run.
            diagnostics_every: number of epochs between collections of diagnostics; None for about
                20 collections in the whole run, 0 for none. It does not change the training.
        """
        self.spec = spec
        self.record = Record(home, spec.digest)
        self.result = _final(self.record.result())
        self._home = home
        self._diagnostics_every = diagnostics_every
        self._collector: Collector | None = None
        self._read_dataset = read_dataset
        self._study = study
        self._checkpoint_seconds = checkpoint_seconds
        self._patience_seconds = patience_seconds
        self._checkpoint_cost = 0.0
        self._last_checkpoint = time.monotonic()
        self._attempts = 0
        self._provenance: dict[str, str] = {}
        self._trainer: Trainer | None = None
        self._label_facts: LabelFacts
        self._stack = ExitStack()

    def __enter__(self) -> Self:
        """Lock the run and load its latest checkpoint, unless its final result is recorded.

        Raises:
            HomeError: if the record cannot be written or is locked by another process.
            DataError: if the data differ from those of the spec, or a needed run is missing.
            RecordError: if the spec was made under another revision of the training code.
        """
        if self.result is None:
            check_revision(self.spec)
            try:
                self._stack.enter_context(self.record.claimed(self._patience_seconds))
                self.result = _final(self.record.result())
                if self.result is None:
                    self._open()
            except BaseException:
                self._stack.close()
                raise
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def _open(self) -> None:
        self._attempts = self.record.begin(self.spec)
        self.record.keep_code(self.spec)
        device = pick_device()
        self._provenance = {
            "study": self._study,
            **provenance(device_name(device)),
            "environment": store_environment(self._home),
        }
        reset_peak_memory()
        dataset = self._read_dataset()
        try:
            inputs = load_inputs(self.spec, self._home, dataset, device)
        except NeedDivergedError as error:
            self.result = replace(
                error.need,
                spec=self.spec,
                trace=[],
                seconds=[],
                provenance=self._provenance,
                reason=str(error),
                attempts=self._attempts,
            )
            self.record.finish(self.result)
            return
        self._label_facts = LabelFacts.of(inputs.labels, self.spec.scenario)
        self._provenance |= {f"input.{role}": sha256 for role, sha256 in inputs.hashes.items()}
        with self._end_if_out_of_memory():
            self._trainer = Trainer(self.spec, dataset, device, inputs.outcomes, inputs.labels)
            self._resume(self._trainer)
        self._last_checkpoint = time.monotonic()

    def _resume(self, trainer: Trainer) -> None:
        every = collection_interval(self.spec.recipe.epochs, self._diagnostics_every)
        self._collector = Collector.from_trainer(trainer, every) if every else None
        state = self.record.checkpoint_state()
        if state is None:
            return
        for name, sha256 in self._provenance.items():
            if name.startswith("input.") and state["provenance"].get(name) != sha256:
                raise DataError(
                    f"the {name.removeprefix('input.')} that run {self.spec.digest[:12]} started "
                    f"with has changed since: delete {self.record.folder} to train the run again"
                )
        trainer.load_state_dict(state["trainer"])
        if self._collector is not None and state["diagnostics"] is not None:
            self._collector.load_state_dict(state["diagnostics"])
        self._provenance = _with_history(state["provenance"], self._provenance)

    @contextmanager
    def _end_if_out_of_memory(self) -> Iterator[None]:
        """End the run with the status "out of memory" if the block runs out of memory."""
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
                seconds=trainer.seconds if trainer else [],
                peak_memory_mb=peak_memory_mb(pick_device()),
                labels=self._label_facts,
                parameters=trainer.parameters if trainer else 0,
                provenance=self._provenance,
                reason=f"in epoch {last_epoch + 1} ({message}); last good epoch {last_epoch}",
                attempts=self._attempts,
            )
            self.record.finish(self.result)

    @property
    def epoch(self) -> int:
        """Number of epochs trained so far."""
        return self.spec.recipe.epochs if self._trainer is None else self._trainer.epoch

    def rows_since(self, epoch: int) -> list[dict[str, float]]:
        """Return the rows of all epochs after `epoch`."""
        trace = self.result.trace if self.result else self._trainer.trace if self._trainer else []
        return trace[epoch:]

    def stop(self) -> None:
        """Write a checkpoint and record the run as stopped; it must not have a result yet.

        Raises:
            HomeError: if the disk is full.
        """
        trainer = self._trainer
        assert trainer is not None  # noqa: S101 - set as long as there is no result
        self._checkpoint(trainer)
        epochs = self.spec.recipe.epochs
        self._finish(trainer, Status.STOPPED, f"after epoch {trainer.epoch} of {epochs}")

    def advance(self) -> RunResult | None:
        """Train one epoch and return the result if the run has ended.

        Raises:
            HomeError: if the disk is full.
        """
        if self.result is None:
            with self._end_if_out_of_memory():
                self._advance()
        return self.result

    def _advance(self) -> None:
        trainer = self._trainer
        assert trainer is not None  # noqa: S101 - set as long as there is no result
        try:
            if not trainer.done:
                trainer.train_epoch(self._collector)
        except DivergedError as error:
            self._finish(trainer, Status.DIVERGED, str(error))
            return
        if trainer.done:
            self._checkpoint(trainer)
            self._finish(trainer, Status.FINISHED)
        elif time.monotonic() - self._last_checkpoint >= max(
            self._checkpoint_seconds, self._checkpoint_cost / CHECKPOINT_SHARE
        ):
            self._checkpoint(trainer)

    def _checkpoint(self, trainer: Trainer) -> None:
        start = time.monotonic()
        buffer = io.BytesIO()
        state = {
            "trainer": trainer.state_dict(),
            "diagnostics": self._collector.state_dict() if self._collector else None,
            "provenance": self._provenance,
        }
        torch.save(state, buffer)
        partial = self.record.checkpoint.with_name("checkpoint.next.pt")
        write_atomically(partial, buffer.getvalue())
        if self.record.checkpoint.exists():
            os.replace(self.record.checkpoint, self.record.previous_checkpoint)  # noqa: PTH105
        partial.replace(self.record.checkpoint)
        self._last_checkpoint = time.monotonic()
        self._checkpoint_cost = self._last_checkpoint - start

    def _finish(self, trainer: Trainer, status: Status, reason: str = "") -> None:
        if self._collector is not None:
            save_diagnostics(self.record.folder, self._collector)
        self.result = RunResult(
            spec=self.spec,
            status=status,
            trace=trainer.trace,
            seconds=trainer.seconds,
            peak_memory_mb=peak_memory_mb(trainer.device),
            labels=self._label_facts,
            parameters=trainer.parameters,
            provenance=self._provenance,
            reason=reason,
            attempts=self._attempts,
            diagnostics=self._collector.series() if self._collector else {},
            skipped=trainer.skipped,
            split=trainer.data.split,
        )
        self.record.finish(self.result)


def _final(result: RunResult | None) -> RunResult | None:
    return result if result is not None and result.final else None


def _with_history(earlier: dict[str, str], current: dict[str, str]) -> dict[str, str]:
    """Return the provenance of a continued run: "cuda: A100, then cpu: AVX2" where it changed."""
    merged = {}
    for key, value in current.items():
        history = earlier.get(key, value)
        unchanged = history.split(HISTORY_SEPARATOR)[-1] == value
        merged[key] = history if unchanged else f"{history}{HISTORY_SEPARATOR}{value}"
    return merged
