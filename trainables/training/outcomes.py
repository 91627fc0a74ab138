"""Outcomes of runs: arrays, such as predictions, that other runs use as inputs.

The spec of a run contains the digests of the runs whose outcomes the run needs, by role:
"posterior" for the run whose class probabilities noisy labels are drawn from, other roles for the
earlier training stages of the method. Since a run is a pure function of its spec, the digest of a
needed run identifies an outcome before the outcome exists.

An outcome is computed at its first use, from the last checkpoint of the needed run, and stored
beside the result of that run. Its SHA-256 is then recorded in `outcomes/` in the home folder. An
outcome with another SHA-256 is refused later: its file is damaged, or the needed run was trained
again on another device. Every run records the SHA-256 of the outcomes that it used.
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
from trainables.run_data.labels import POSTERIOR_ROLE, Posterior, check_posterior, verified_labels
from trainables.training.trainer import Trainer

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from trainables.datasets.base import Dataset
    from trainables.run_data.realisation import Realisation

OUTCOMES = "outcomes"
"""Name of the subfolder of the home folder with the SHA-256 of every outcome."""
PREDICTIONS = "predictions"
"""Outcome that every run has: class probabilities of all training samples after the last epoch."""


class NeedDivergedError(ArithmeticError):
    """A run cannot be trained, since an earlier run, whose outcome it needs, has diverged.

    The dependent run then counts as diverged, too.

    Attributes:
        result: result of the earlier run.
    """

    def __init__(self, result: RunResult) -> None:
        super().__init__(
            f"the run it needs, {result.spec.method} {result.digest[:12]}, diverged: "
            f"{result.reason}"
        )
        self.result = result


@dataclass(frozen=True, eq=False)
class Inputs:
    """Noisy labels and outcomes of other runs, from which a run is trained.

    Attributes:
        labels: noisy labels of the run.
        outcomes: outcomes of the earlier training stages of the method, by role.
        sha256_by_role: SHA-256 of each outcome used, by the role of the run that produced it;
            includes the class probabilities that noisy labels were drawn from ("posterior").
    """

    labels: Realisation
    outcomes: Mapping[str, torch.Tensor]
    sha256_by_role: Mapping[str, str]


def load_labels(
    spec: RunSpec, home: Path, dataset: Dataset, device: torch.device
) -> tuple[Realisation, dict[str, str]]:
    """Return the noisy labels of a run, and the SHA-256 of the probabilities they are drawn from.

    Args:
        spec: specification of the run.
        home: path of the home folder, which contains `runs/`.
        dataset: dataset of the run.
        device: device that computes the class probabilities if they are not stored yet.

    Returns:
        Noisy labels, and a dictionary with the SHA-256 of the file of class probabilities under
        "posterior". The dictionary is empty if the labels are not drawn from class probabilities.

    Raises:
        NalError: if the run that supplies the class probabilities is not finished, or the labels
            cannot be drawn.
    """
    digest = str(spec.needs.get(POSTERIOR_ROLE, ""))
    if not digest:
        return verified_labels(spec, dataset, home), {}
    record = Record(home, digest)
    check_posterior(digest, record.read_result())
    probabilities, sha256 = _load_outcome(
        digest, PREDICTIONS, POSTERIOR_ROLE, home, dataset, device
    )
    posterior = Posterior(probabilities.astype(np.float64), record.folder)
    return verified_labels(spec, dataset, home, posterior), {POSTERIOR_ROLE: sha256}


def load_inputs(spec: RunSpec, home: Path, dataset: Dataset, device: torch.device) -> Inputs:
    """Return the noisy labels of a run and the outcomes of the earlier stages of its method.

    Args:
        spec: specification of the run.
        home: path of the home folder, which contains `runs/`.
        dataset: dataset of the run.
        device: device that computes outcomes that are not stored yet.

    Raises:
        NalError: if the run of an earlier stage has not been trained, its outcome is damaged or can
            no longer be computed, or the labels cannot be drawn.
        NeedDivergedError: if the run of an earlier stage diverged.
    """
    labels, sha256_by_role = load_labels(spec, home, dataset, device)
    outcomes = {}
    for stage in method_of(spec.method).stages:
        digest = str(spec.needs.get(stage.role, ""))
        array, sha256_by_role[stage.role] = _load_outcome(
            digest, stage.outcome, stage.role, home, dataset, device
        )
        outcomes[stage.role] = torch.from_numpy(array)
    return Inputs(labels, outcomes, sha256_by_role)


def _load_outcome(
    digest: str, outcome: str, role: str, home: Path, dataset: Dataset, device: torch.device
) -> tuple[np.ndarray, str]:
    """Return an outcome of a run, and the SHA-256 of the outcome's file.

    If the file does not exist, the outcome is computed and stored first.

    Args:
        digest: digest of the run that produces the outcome.
        outcome: name of the outcome, such as "predictions".
        role: role of this run for the run that needs the outcome, for messages.
        home: path of the home folder.
        dataset: dataset of the run.
        device: device that computes the outcome if it is not stored yet.
    """
    record = Record(home, digest)
    result = record.read_result() if digest else None
    if result is None or not result.is_final:
        raise DataError(
            f"the run {digest[:12] or '?'} that gives the {role} has not been trained to its end "
            f"in the home folder {home}: train this run first"
        )
    if result.status is Status.DIVERGED:
        raise NeedDivergedError(result)
    path = record.folder / f"{outcome}.npy"
    if not path.exists():
        with record.claimed(math.inf):
            if not path.exists():
                content = _compute_outcome(record, result.spec, outcome, home, dataset, device)
                write_atomically(path, content)
    content = path.read_bytes()
    sha256 = hashlib.sha256(content).hexdigest()
    hash_file = home / OUTCOMES / f"{digest}.{outcome}.sha256"
    first_sha256 = write_once(hash_file, sha256.encode()).decode()
    if first_sha256 != sha256:
        raise DataError(
            f"{path} has SHA-256 {sha256[:12]}, but had {first_sha256[:12]} when it was first used "
            f"(recorded in {hash_file}), and runs that use different outcomes are not comparable: "
            f"delete {path.name} to compute the outcome again; if its SHA-256 still differs, "
            "choose another home folder with --home"
        )
    return np.load(io.BytesIO(content), allow_pickle=False), sha256


def _compute_outcome(
    record: Record, spec: RunSpec, outcome: str, home: Path, dataset: Dataset, device: torch.device
) -> bytes:
    """Compute an outcome from the last checkpoint of a run, and return it as bytes of a .npy file.

    Args:
        record: record of the run.
        spec: specification of the run.
        outcome: name of the outcome, such as "predictions".
        home: path of the home folder.
        dataset: dataset of the run.
        device: device for the computation.
    """
    check_revision(spec)
    state = record.read_latest_checkpoint()
    if state is None or state["trainer"]["epoch"] != spec.recipe.epochs:
        raise RecordError(
            f"the checkpoint {record.checkpoint_path}, which another run needs, is missing or "
            f"damaged: delete the folder {record.folder} to train its run again"
        )
    inputs = load_inputs(spec, home, dataset, device)
    trainer = Trainer(spec, dataset, device, inputs.outcomes, inputs.labels)
    trainer.load_state_dict(state["trainer"])
    buffer = io.BytesIO()
    array = trainer.method.outcome(outcome, trainer.predict)
    np.save(buffer, array.cpu().numpy(), allow_pickle=False)
    return buffer.getvalue()
