"""Recorded runs that are to be trained again, with the runs that they need."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from trainables.errors import RecordError, UserError
from trainables.reproduction.environment import recorded_environment
from trainables.run.record import Record
from trainables.run.result import RunResult, Status
from trainables.run.spec import REVISION, RunSpec

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from pathlib import Path


@dataclass(frozen=True, slots=True)
class RecordedRun:
    """A recorded run.

    Attributes:
        result: recorded result of the run.
        is_altered: whether the record was altered after it was written, by its checksum.
        environment: environment of the run, as far as it is recorded.
        is_need: whether it is trained again only because another run needs it.
    """

    result: RunResult
    is_altered: bool
    environment: Mapping[str, str]
    is_need: bool

    @property
    def spec(self) -> RunSpec:
        """Specification of the run."""
        return self.result.spec

    @property
    def digest(self) -> str:
        """Digest of the run's spec."""
        return self.result.digest

    @property
    def uses_gpu(self) -> bool:
        """Whether the run was trained on a GPU, at least in part."""
        return "cuda" in self.environment.get("device", "")

    @property
    def recorded_epochs(self) -> int:
        """Number of epochs that show what is recorded.

        A run that diverged did so in the epoch after the last recorded one. A run that was stopped
        or lacked memory is compared as far as it came.
        """
        is_diverged = self.result.status is Status.DIVERGED
        return min(len(self.result.trace) + is_diverged, self.spec.recipe.epochs)

    def compared_epochs(self, epochs: int | None) -> int:
        """Return the number of epochs that are trained again.

        Args:
            epochs: number of epochs that the user has asked for; None for all. A needed run is
                always trained to its end.
        """
        is_limited = epochs is not None and not self.is_need
        return min(self.recorded_epochs, epochs) if is_limited and epochs else self.recorded_epochs

    def recorded_seconds(self, epochs: int | None) -> float:
        """Return how long the epochs that are trained again took when they were recorded."""
        return sum(self.result.seconds[: self.compared_epochs(epochs)])


def read_with_needs(home: Path, digests: Iterable[str]) -> list[RecordedRun]:
    """Return recorded runs and all runs that they need, each after those that it needs.

    Args:
        home: home folder with the records, which is only read.
        digests: digests of the runs.

    Raises:
        UserError: if a run has no result, its record cannot be read, or it belongs to another
            revision of the training code.
        HomeError: if the folder cannot be read.
    """
    digests = list(digests)
    runs: dict[str, RecordedRun] = {}
    for digest in digests:
        _add_with_needs(home, digest, digests, runs, "")
    return list(runs.values())


def _add_with_needs(
    home: Path, digest: str, digests: list[str], runs: dict[str, RecordedRun], dependent: str
) -> None:
    """Add a run to `runs`, after the runs that it needs.

    Args:
        home: home folder with the records.
        digest: digest of the run.
        digests: digests of the runs that the user has named.
        runs: runs that were added before, by digest.
        dependent: digest of the run that needs this one; "" for none.
    """
    if digest in runs:
        return
    result, is_altered = _read_result(home, digest, dependent)
    for need in result.spec.needs.values():
        _add_with_needs(home, str(need), digests, runs, digest)
    environment = recorded_environment(home, result.provenance)
    runs[digest] = RecordedRun(result, is_altered, environment, digest not in digests)


def _read_result(home: Path, digest: str, dependent: str) -> tuple[RunResult, bool]:
    """Return the result of a run, and whether it was altered after it was written."""
    subject = f"run {digest[:12]}" + (f", which run {dependent[:12]} needs," if dependent else "")
    try:
        result, is_altered = Record(home, digest).read_altered_result()
    except RecordError as error:
        raise UserError(str(error)) from error
    if result is None:
        raise UserError(
            f"{subject} has no result in {home}: it has not ended there, so that there is nothing "
            "to compare; type its command again to continue it"
        )
    if result.spec.revision != REVISION:
        commit = result.provenance.get("commit", "")
        version = f"commit {commit[:12]}" if commit else "the version that made it"
        raise UserError(
            f"{subject} was recorded with revision {result.spec.revision} of the training code, "
            f"but revision {REVISION} is installed, which gives other bits: install {version} to "
            "train it again"
        )
    if not (result.is_final or result.trace):
        raise UserError(
            f"{subject} is {result.status} {result.reason}: no epoch is recorded that could be "
            "compared"
        )
    if dependent and not result.is_final:
        raise UserError(
            f"{subject} is {result.status} {result.reason}: type its command again to train it to "
            "its end"
        )
    return result, is_altered


def check_epochs(runs: Iterable[RecordedRun], epochs: int | None) -> None:
    """Check the number of epochs that a user wants to compare.

    Args:
        runs: recorded runs, with those that they need.
        epochs: number of epochs; None for all.

    Raises:
        UserError: if it is below 1, or above the number of epochs of a run.
    """
    if epochs is None:
        return
    for run in runs:
        if not run.is_need and not 1 <= epochs <= run.spec.recipe.epochs:
            raise UserError(
                f"--epochs: run {run.digest[:12]} has {run.spec.recipe.epochs} epochs, of which "
                f"{epochs} cannot be compared: choose a number from 1 to {run.spec.recipe.epochs}"
            )
