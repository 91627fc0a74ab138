"""What a run leaves to the runs that need it: an array, frozen as a file beside its result.

A spec names the runs it needs by their digests. Since a run is a pure function of its spec, the
digest stands for the outcome before there is one; the SHA-256 of the file that was taken is
recorded with the run that took it.
"""

from __future__ import annotations

import hashlib
import io
from typing import TYPE_CHECKING

import numpy as np
import torch

from trainables.errors import DataError, RecordError
from trainables.frozen_labels import labels_of
from trainables.methods import method_of
from trainables.record import Record, write_atomically
from trainables.result import Status
from trainables.trainer import Trainer

if TYPE_CHECKING:
    from pathlib import Path

    from trainables.datasets.base import Dataset
    from trainables.result import RunResult
    from trainables.spec import RunSpec


class NeedDivergedError(ArithmeticError):
    """A needed run diverged, and with it the one that needs it."""

    def __init__(self, need: RunResult) -> None:
        super().__init__(
            f"the run it needs, {need.spec.method} {need.digest[:12]}, diverged: {need.reason}"
        )
        self.need = need


def take_inputs(
    spec: RunSpec, home: Path, dataset: Dataset, device: torch.device
) -> tuple[dict[str, torch.Tensor], dict[str, str]]:
    """Return the outcomes of the runs that a spec needs, and their SHA-256, both by role.

    Raises:
        DataError: a needed run has not been trained, or its outcome cannot be had any more.
        NeedDivergedError: a needed run diverged.
    """
    inputs, hashes = {}, {}
    for stage in method_of(spec.method).stages:
        digest = str(spec.needs.get(stage.role, ""))
        path = _frozen(digest, stage.outcome, stage.role, home, dataset, device)
        content = path.read_bytes()
        inputs[stage.role] = torch.from_numpy(np.load(io.BytesIO(content), allow_pickle=False))
        hashes[stage.role] = hashlib.sha256(content).hexdigest()
    return inputs, hashes


def _frozen(
    digest: str, outcome: str, role: str, home: Path, dataset: Dataset, device: torch.device
) -> Path:
    record = Record(home, digest)
    result = record.result() if digest else None
    if result is None or not result.final:
        raise DataError(
            f"the run {digest[:12] or '?'} that gives the {role} has not been trained under "
            f"{home}: train it first"
        )
    if result.status is Status.DIVERGED:
        raise NeedDivergedError(result)
    path = outcome_path(record, outcome)
    if not path.exists():
        with record.claimed():
            freeze_outcome(record, result.spec, outcome, home, dataset, device)
    return path


def outcome_path(record: Record, outcome: str) -> Path:
    """Return the file that holds what a run leaves."""
    return record.folder / f"{outcome}.npy"


def freeze_outcome(
    record: Record, spec: RunSpec, outcome: str, home: Path, dataset: Dataset, device: torch.device
) -> None:
    """Write what a finished run leaves, if it is not written yet; its record must be claimed.

    Raises:
        RecordError: its last checkpoint is missing or damaged.
    """
    path = outcome_path(record, outcome)
    if path.exists():
        return
    array = _compute(record, spec, outcome, home, dataset, device)
    buffer = io.BytesIO()
    np.save(buffer, array.cpu().numpy(), allow_pickle=False)
    write_atomically(path, buffer.getvalue())


def _compute(
    record: Record,
    spec: RunSpec,
    outcome: str,
    home: Path,
    dataset: Dataset,
    device: torch.device,
) -> torch.Tensor:
    state = record.checkpoint_state()
    if state is None or state["trainer"]["epoch"] != spec.recipe.epochs:
        raise RecordError(
            f"{record.checkpoint} is missing or damaged, and another run needs what it gives: "
            f"delete {record.folder} to train that run again"
        )
    inputs, _ = take_inputs(spec, home, dataset, device)
    trainer = Trainer(spec, dataset, device, inputs, labels_of(spec, dataset, home))
    trainer.load_state_dict(state["trainer"])
    return trainer.method.outcome(outcome, trainer.predict)
