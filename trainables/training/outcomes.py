"""What a run leaves to the runs that need it: an array, frozen as a file beside its result.

A spec names the runs it needs by their digests: "posterior" for the class probabilities that its
labels are drawn from, others for the stages of its method. Since a run is a pure function of its
spec, the digest stands for the outcome before there is one. An outcome is computed from the needed
run's last checkpoint when it is first asked for. Its SHA-256 is pinned under the home when it is
first taken, in `outcomes/`: one that is damaged later, or that another device gave when the run was
trained again, is refused. It is recorded with every run that took it.
"""

from __future__ import annotations

import hashlib
import io
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch

from trainables.errors import DataError, RecordError
from trainables.methods import method_of
from trainables.run.record import Record, write_atomically, write_once
from trainables.run.result import RunResult, Status
from trainables.run.spec import RunSpec, check_revision
from trainables.run_data.labels import POSTERIOR, Posterior, check_posterior, pinned_labels
from trainables.training.trainer import Trainer

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from trainables.datasets.base import Dataset
    from trainables.run_data.realisation import Realisation

OUTCOMES = "outcomes"
PREDICTIONS = "predictions"
"""The outcome that every run leaves: the softmax of all training samples after its last epoch."""


class NeedDivergedError(ArithmeticError):
    """A needed run diverged, and with it the one that needs it."""

    def __init__(self, need: RunResult) -> None:
        super().__init__(
            f"the run it needs, {need.spec.method} {need.digest[:12]}, diverged: {need.reason}"
        )
        self.need = need


@dataclass(frozen=True, eq=False)
class Inputs:
    """What a run takes from the home before its first step.

    Attributes:
        labels: the noisy labels that it sees.
        outcomes: of the runs that its method needs, by role.
        hashes: SHA-256 of everything taken from other runs, by role.
    """

    labels: Realisation
    outcomes: Mapping[str, torch.Tensor]
    hashes: Mapping[str, str]


def take_labels(
    spec: RunSpec, home: Path, dataset: Dataset, device: torch.device
) -> tuple[Realisation, dict[str, str]]:
    """Return the labels that a run sees, and the SHA-256 of what they are drawn from, by role.

    Raises:
        NalError: the run that they are drawn from has not ended well, or they cannot be drawn.
    """
    digest = str(spec.needs.get(POSTERIOR, ""))
    if not digest:
        return pinned_labels(spec, dataset, home), {}
    record = Record(home, digest)
    check_posterior(digest, record.result())
    content, sha256 = _take(digest, PREDICTIONS, POSTERIOR, home, dataset, device)
    posterior = Posterior(content.astype(np.float64), record.folder)
    return pinned_labels(spec, dataset, home, posterior), {POSTERIOR: sha256}


def take_inputs(spec: RunSpec, home: Path, dataset: Dataset, device: torch.device) -> Inputs:
    """Take what a run needs: its labels, and the outcomes of the runs that its method needs.

    Raises:
        NalError: see `take_labels`; or a needed run has not been trained, or its outcome is
            damaged or cannot be computed any more.
        NeedDivergedError: a run that the method needs diverged.
    """
    labels, hashes = take_labels(spec, home, dataset, device)
    outcomes = {}
    for stage in method_of(spec.method).stages:
        digest = str(spec.needs.get(stage.role, ""))
        array, hashes[stage.role] = _take(digest, stage.outcome, stage.role, home, dataset, device)
        outcomes[stage.role] = torch.from_numpy(array)
    return Inputs(labels, outcomes, hashes)


def _take(
    digest: str, outcome: str, role: str, home: Path, dataset: Dataset, device: torch.device
) -> tuple[np.ndarray, str]:
    """Return an outcome of a run and the SHA-256 of its file, which is written first if missing."""
    record = Record(home, digest)
    result = record.result() if digest else None
    if result is None or not result.final:
        raise DataError(
            f"the run {digest[:12] or '?'} that gives the {role} has not been trained under "
            f"{home}: train it first"
        )
    if result.status is Status.DIVERGED:
        raise NeedDivergedError(result)
    path = record.folder / f"{outcome}.npy"
    if not path.exists():
        with record.claimed(math.inf):
            if not path.exists():
                content = _compute(record, result.spec, outcome, home, dataset, device)
                write_atomically(path, content)
    content = path.read_bytes()
    sha256 = hashlib.sha256(content).hexdigest()
    pin = home / OUTCOMES / f"{digest}.{outcome}.sha256"
    first = write_once(pin, sha256.encode()).decode()
    if first != sha256:
        raise DataError(
            f"{path} has SHA-256 {sha256[:12]}, but {first[:12]} when it was first taken ({pin}): "
            "runs that took different ones are not compared; delete it to have it computed again, "
            "and if it differs even so, choose another folder with --home"
        )
    return np.load(io.BytesIO(content), allow_pickle=False), sha256


def _compute(
    record: Record, spec: RunSpec, outcome: str, home: Path, dataset: Dataset, device: torch.device
) -> bytes:
    """Compute an outcome from a run's last checkpoint, as the content of an .npy file."""
    check_revision(spec)
    state = record.checkpoint_state()
    if state is None or state["trainer"]["epoch"] != spec.recipe.epochs:
        raise RecordError(
            f"{record.checkpoint} is missing or damaged, and another run needs what it gives: "
            f"delete {record.folder} to train that run again"
        )
    inputs = take_inputs(spec, home, dataset, device)
    trainer = Trainer(spec, dataset, device, inputs.outcomes, inputs.labels)
    trainer.load_state_dict(state["trainer"])
    buffer = io.BytesIO()
    array = trainer.method.outcome(outcome, trainer.predict)
    np.save(buffer, array.cpu().numpy(), allow_pickle=False)
    return buffer.getvalue()
