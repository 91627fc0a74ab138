"""Outcomes: arrays that a run provides to the runs that need it, stored beside its result.

A spec names the runs that it needs by digest: "posterior" for the run whose class probabilities its
labels are drawn from, other roles for the stages of its method. Since a run is a pure function of
its spec, the digest identifies the outcome before it exists. An outcome is computed from the needed
run's last checkpoint at its first use, when its SHA-256 is also pinned under the home, in
`outcomes/`. An outcome that differs later, because the file is damaged or because the run was
trained again on another device, is refused. Every run records the SHA-256 of the outcomes it used.
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
"""Name of the folder under the home that holds the SHA-256 of every outcome."""
PREDICTIONS = "predictions"
"""Name of the outcome of every run: softmax of all training samples after the last epoch."""


class NeedDivergedError(ArithmeticError):
    """A needed run diverged, so that the run that needs it counts as diverged too.

    Attributes:
        need: result of the needed run.
    """

    def __init__(self, need: RunResult) -> None:
        super().__init__(
            f"the run it needs, {need.spec.method} {need.digest[:12]}, diverged: {need.reason}"
        )
        self.need = need


@dataclass(frozen=True, eq=False)
class Inputs:
    """Inputs that a run reads from the home before its first step.

    Attributes:
        labels: noisy labels of the run.
        outcomes: outcomes of the runs that its method needs, by role.
        hashes: SHA-256 of all outcomes of other runs that are used, by role.
    """

    labels: Realisation
    outcomes: Mapping[str, torch.Tensor]
    hashes: Mapping[str, str]


def load_labels(
    spec: RunSpec, home: Path, dataset: Dataset, device: torch.device
) -> tuple[Realisation, dict[str, str]]:
    """Return the noisy labels of a run, and the SHA-256 of the posterior, if any, by its role.

    Args:
        spec: specification of the run.
        home: path of the folder that holds `runs/`.
        dataset: dataset of the run.
        device: device that computes the posterior if it is not stored yet.

    Raises:
        NalError: if the run that gives the posterior is not finished, or the labels cannot be
            drawn.
    """
    digest = str(spec.needs.get(POSTERIOR, ""))
    if not digest:
        return pinned_labels(spec, dataset, home), {}
    record = Record(home, digest)
    check_posterior(digest, record.result())
    content, sha256 = _load_outcome(digest, PREDICTIONS, POSTERIOR, home, dataset, device)
    posterior = Posterior(content.astype(np.float64), record.folder)
    return pinned_labels(spec, dataset, home, posterior), {POSTERIOR: sha256}


def load_inputs(spec: RunSpec, home: Path, dataset: Dataset, device: torch.device) -> Inputs:
    """Return the noisy labels of a run and the outcomes of the runs that its method needs.

    Args:
        spec: specification of the run.
        home: path of the folder that holds `runs/`.
        dataset: dataset of the run.
        device: device that computes outcomes that are not stored yet.

    Raises:
        NalError: if a needed run has not been trained, its outcome is damaged or can no longer be
            computed, or the labels cannot be drawn.
        NeedDivergedError: if a run that the method needs diverged.
    """
    labels, hashes = load_labels(spec, home, dataset, device)
    outcomes = {}
    for stage in method_of(spec.method).stages:
        digest = str(spec.needs.get(stage.role, ""))
        array, hashes[stage.role] = _load_outcome(
            digest, stage.outcome, stage.role, home, dataset, device
        )
        outcomes[stage.role] = torch.from_numpy(array)
    return Inputs(labels, outcomes, hashes)


def _load_outcome(
    digest: str, outcome: str, role: str, home: Path, dataset: Dataset, device: torch.device
) -> tuple[np.ndarray, str]:
    """Return an outcome and the SHA-256 of its file, which is computed if it is missing."""
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
            f"{path} has SHA-256 {sha256[:12]}, but {first[:12]} when it was first used ({pin}): "
            "runs that use different outcomes are not compared; delete it to compute it again, "
            "and if it still differs, choose another folder with --home"
        )
    return np.load(io.BytesIO(content), allow_pickle=False), sha256


def _compute(
    record: Record, spec: RunSpec, outcome: str, home: Path, dataset: Dataset, device: torch.device
) -> bytes:
    """Return an outcome computed from a run's last checkpoint, as the content of an .npy file."""
    check_revision(spec)
    state = record.checkpoint_state()
    if state is None or state["trainer"]["epoch"] != spec.recipe.epochs:
        raise RecordError(
            f"{record.checkpoint}, which another run needs, is missing or damaged: "
            f"delete {record.folder} to train that run again"
        )
    inputs = load_inputs(spec, home, dataset, device)
    trainer = Trainer(spec, dataset, device, inputs.outcomes, inputs.labels)
    trainer.load_state_dict(state["trainer"])
    buffer = io.BytesIO()
    array = trainer.method.outcome(outcome, trainer.predict)
    np.save(buffer, array.cpu().numpy(), allow_pickle=False)
    return buffer.getvalue()
