"""A run being carried out: from what its record holds to its result."""

from __future__ import annotations

import io
import os
import time
import zipfile
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any, Self

import torch

from trainables.devices import device_name, peak_memory_mb, pick_device
from trainables.provenance import provenance
from trainables.record import Record, write_atomically
from trainables.result import LabelFacts, RunResult, Status
from trainables.trainer import DivergedError, Trainer

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from trainables.datasets.base import Dataset
    from trainables.spec import RunSpec

CHECKPOINT_SECONDS = 5.0
"""Least wall time between checkpoints."""
CHECKPOINT_SHARE = 0.05
"""Most of a run's time that writing checkpoints may take."""


class Running:
    """Trains one run epoch by epoch, checkpointing on the way; use as a context.

    While it is open no other process can work on the same run. When and how often it checkpoints
    depends on the clock, but changes no bit of the result.
    """

    def __init__(
        self,
        spec: RunSpec,
        home: Path,
        read_dataset: Callable[[], Dataset],
        study: str,
        checkpoint_seconds: float = CHECKPOINT_SECONDS,
        patience_seconds: float = 60.0,
    ) -> None:
        """Describe the run.

        Args:
            spec: what is trained.
            home: folder that holds `runs/`.
            read_dataset: called only if there is something left to train.
            study: name of the study that asks for it; recorded, no part of its identity.
            checkpoint_seconds: least wall time between checkpoints.
            patience_seconds: how long to wait for another process that works on the run.
        """
        self.spec = spec
        self.record = Record(home, spec.digest)
        self.result = self.record.result()
        self._read_dataset = read_dataset
        self._study = study
        self._checkpoint_seconds = checkpoint_seconds
        self._patience_seconds = patience_seconds
        self._save_cost = 0.0
        self._saved_at = time.monotonic()
        self._attempts = 0
        self._provenance: dict[str, str] = {}
        self._trainer: Trainer | None = None
        self._held = ExitStack()

    def __enter__(self) -> Self:
        """Claim the run and go back to its latest checkpoint; nothing to do if it has a result.

        Raises:
            HomeError: the record cannot be written or is held by another process.
            DataError: the data are not those of the spec.
        """
        if self.result is None:
            try:
                self._held.enter_context(self.record.claimed(self._patience_seconds))
                self.result = self.record.result()
                if self.result is None:
                    self._open()
            except BaseException:
                self._held.close()
                raise
        return self

    def __exit__(self, *_: object) -> None:
        self._held.close()

    def _open(self) -> None:
        self._attempts = self.record.begin(self.spec)
        self._provenance = {"study": self._study, **provenance(device_name(pick_device()))}
        if torch.cuda.is_available():
            torch.cuda.reset_peak_memory_stats()
        self._trainer = Trainer(self.spec, self._read_dataset(), pick_device())
        for path in (self.record.checkpoint, self.record.previous_checkpoint):
            state = _read_checkpoint(path)
            if state is not None:
                self._trainer.load_state_dict(state["trainer"])
                self._provenance = _both(state["provenance"], self._provenance)
                break
        self._saved_at = time.monotonic()

    @property
    def epoch(self) -> int:
        """Epochs done."""
        return self.spec.recipe.epochs if self._trainer is None else self._trainer.epoch

    @property
    def latest(self) -> dict[str, float]:
        """The row of the latest epoch; empty before the first."""
        trace = self.result.trace if self.result else self._trainer.trace if self._trainer else []
        return trace[-1] if trace else {}

    def advance(self) -> RunResult | None:
        """Train one epoch; return the result once there is one.

        Raises:
            HomeError: the disk is full.
        """
        trainer = self._trainer
        if self.result is not None or trainer is None:
            return self.result
        try:
            if not trainer.done:
                trainer.train_epoch()
        except DivergedError as error:
            return self._finish(trainer, Status.DIVERGED, str(error))
        if trainer.done:
            self._checkpoint(trainer)
            return self._finish(trainer, Status.FINISHED)
        if time.monotonic() - self._saved_at >= self._pause():
            self._checkpoint(trainer)
        return None

    def _pause(self) -> float:
        return max(self._checkpoint_seconds, self._save_cost / CHECKPOINT_SHARE)

    def _checkpoint(self, trainer: Trainer) -> None:
        begun = time.monotonic()
        buffer = io.BytesIO()
        torch.save({"trainer": trainer.state_dict(), "provenance": self._provenance}, buffer)
        partial = self.record.checkpoint.with_name("checkpoint.next.pt")
        write_atomically(partial, buffer.getvalue())
        if self.record.checkpoint.exists():
            os.replace(self.record.checkpoint, self.record.previous_checkpoint)  # noqa: PTH105
        partial.replace(self.record.checkpoint)
        self._saved_at = time.monotonic()
        self._save_cost = self._saved_at - begun

    def _finish(self, trainer: Trainer, status: Status, reason: str = "") -> RunResult:
        self.result = RunResult(
            spec=self.spec,
            status=status,
            trace=trainer.trace,
            seconds=trainer.seconds,
            peak_memory_mb=peak_memory_mb(trainer.device),
            labels=LabelFacts.of(trainer.labels),
            parameters=trainer.parameters,
            provenance=self._provenance,
            reason=reason,
            attempts=self._attempts,
        )
        self.record.finish(self.result)
        return self.result


def _both(earlier: dict[str, str], now: dict[str, str]) -> dict[str, str]:
    """Say of a run that went on elsewhere where it was before: "cuda: A100, then cpu: AVX2"."""
    return {
        key: value if earlier.get(key, value) == value else f"{earlier[key]}, then {value}"
        for key, value in now.items()
    }


def _read_checkpoint(path: Path) -> dict[str, Any] | None:
    """Read a checkpoint; None where there is none, or one that the disk has damaged.

    The checksums are compared first: `torch.load` itself would take flipped bits for weights.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            if archive.testzip() is not None:
                return None
        state: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
    except Exception:  # noqa: BLE001 - a damaged file raises anything; the one before it serves
        return None
    return state


def complete(
    spec: RunSpec,
    home: Path,
    read_dataset: Callable[[], Dataset],
    study: str,
    progress: Callable[[int, dict[str, float]], None] = lambda _epoch, _row: None,
) -> RunResult:
    """Train a run to its end in this process; return at once what is already recorded.

    Args:
        spec: what is trained.
        home: folder that holds `runs/`.
        read_dataset: called only if there is something left to train.
        study: name of the study that asks for it.
        progress: called with (epochs done, latest row) after each epoch.

    Raises:
        UserError: see `Running`.
    """
    with Running(spec, home, read_dataset, study) as running:
        progress(running.epoch, running.latest)
        while running.advance() is None:
            progress(running.epoch, running.latest)
        progress(running.epoch, running.latest)
        assert running.result is not None  # noqa: S101 - what ends the loop
        return running.result
