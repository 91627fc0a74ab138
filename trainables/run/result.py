"""The result of a run: its metrics per epoch, its status and its provenance."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING, Any

from trainables.errors import RecordError
from trainables.noise import noise_of
from trainables.run.metrics import (
    CLEAN_VAL,
    LAST,
    PEAK_MEMORY,
    SECONDS_PER_EPOCH,
    TEST,
    TEST_BEST_CLEAN_VAL,
    TEST_BEST_VAL,
    TEST_LAST,
    TEST_MEAN_LAST,
    TRAIN_ACCURACY,
    TRAIN_ACCURACY_TRUE,
    VAL,
    VAL_MEAN_LAST,
)
from trainables.run.protocols import protocol_of
from trainables.run.spec import RunSpec

if TYPE_CHECKING:
    from collections.abc import Mapping

    from trainables.run.protocols import Protocol
    from trainables.run_data.realisation import Realisation


HISTORY_SEPARATOR = ", then "
"""Separator of successive values in the provenance of a run that was continued elsewhere."""
BIT_RELEVANT = ("device", "torch")
"""Keys of the provenance that may change a run's bits although its spec is the same."""


class Status(StrEnum):
    """Status of a run that has ended; a run that has not ended has no result."""

    FINISHED = "finished"
    DIVERGED = "diverged"
    OUT_OF_MEMORY = "out of memory"
    """The device lacked memory: the run is tried again when it is next requested."""
    STOPPED = "stopped"
    """The sweep stopped the run, which continues from its checkpoint when it is next requested."""


@dataclass(frozen=True, slots=True)
class LabelFacts:
    """Recorded facts about the noisy labels of a run.

    Attributes:
        sha256: SHA-256 of the label vector as little-endian int64.
        count: number of labels.
        flip_rate: fraction of the labels that differ from the true ones; None if the true labels
            are unknown.
        transition: observed probabilities of noisy class j given class i of the dataset, K × K.
        nominal_rate: noise rate in the scenario's name; None if the name contains none.
    """

    sha256: str
    count: int
    flip_rate: float | None
    transition: list[list[float]]
    nominal_rate: float | None = None

    @classmethod
    def of(cls, labels: Realisation, scenario: str) -> LabelFacts:
        """Return the facts about a realisation of a scenario."""
        return cls(
            labels.digest,
            len(labels.noisy),
            labels.flip_rate if labels.truth_known else None,
            labels.transition,
            noise_of(scenario).nominal_rate,
        )


@dataclass(frozen=True, slots=True)
class RunResult:
    """Result of a run that ended.

    Attributes:
        spec: specification of the run.
        status: status of the run.
        trace: one row per epoch with "epoch" and metrics such as "train/loss" and "val/accuracy",
            accuracies as fractions; equal specs on equal devices give equal traces.
        seconds: wall time of each epoch in seconds, which is not reproducible.
        peak_memory_mb: peak memory of the device (CUDA) or the process (CPU), in 10^6 bytes.
        labels: facts about the noisy labels.
        parameters: number of trained parameters of the network.
        provenance: device, host, versions, commit and whether the working tree was dirty.
        reason: explanation of a status other than "finished": the step or epoch of a divergence or
            of a lack of memory and the last good epoch, or the epoch at which the run was stopped.
        attempts: number of times the run was started or continued; above 1 after an interruption.
        split: SHA-256 of the positions in the training split of the samples that were trained on,
            as little-endian int64; "" if training never started.
        skipped: number of training pictures left out because they could not be decoded.
        diagnostics: values of the diagnostics by name, one per collection, and their "epoch"; empty
            if none were collected. The arrays behind them are stored in a file of their own.
    """

    spec: RunSpec
    status: Status
    trace: list[dict[str, float]]
    seconds: list[float]
    peak_memory_mb: float
    labels: LabelFacts
    parameters: int
    provenance: dict[str, str]
    reason: str = ""
    attempts: int = 1
    diagnostics: dict[str, list[float]] = field(default_factory=dict)
    skipped: int = 0
    split: str = ""
    digest: str = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "digest", self.spec.digest)

    @property
    def final(self) -> bool:
        """Whether the run is over for good, so that it is never continued."""
        return self.status not in (Status.OUT_OF_MEMORY, Status.STOPPED)

    @property
    def converged(self) -> bool:
        """Whether the training converged; tables print the paper's ⊖ if it did not.

        A run failed to converge if it diverged, or if the training accuracy of its last epoch is
        below 2 / K, twice the chance level. Accuracy refers to the true labels if they are known,
        since at high noise rates even a trained network disagrees with most of the noisy labels.
        With fewer than 4 classes the bound is meaningless, and only a divergence counts.
        """
        if self.status is Status.DIVERGED:
            return False
        accuracy = self.last(TRAIN_ACCURACY_TRUE)
        if accuracy is None:
            accuracy = self.last(TRAIN_ACCURACY)
        classes = len(self.labels.transition)
        return accuracy is None or classes < 4 or accuracy >= 2 / classes

    def curve(self, metric: str) -> list[tuple[int, float]]:
        """Return (epoch, value) for every epoch in which a metric was measured."""
        return [(int(row["epoch"]), row[metric]) for row in self.trace if metric in row]

    def last(self, metric: str) -> float | None:
        """Return the last value of a metric, or None if it has none or the run is not finished."""
        curve = self.curve(metric)
        return curve[-1][1] if curve and self.status is Status.FINISHED else None

    def mean(self, metric: str, protocol: Protocol) -> float | None:
        """Return a metric's mean over a protocol's epochs, or None as `last` does."""
        averaged = protocol.epochs(self.spec.recipe)
        values = [value for epoch, value in self.curve(metric) if epoch in averaged]
        finished = values and self.status is Status.FINISHED
        return sum(values) / len(values) if finished else None

    def at_best(self, metric: str, chooser: str) -> float | None:
        """Return a metric at the first epoch that maximises `chooser`, or None as `last` does."""
        points = self.curve(chooser)
        if not points or self.status is not Status.FINISHED:
            return None
        best = max(points, key=lambda point: point[1])[0]
        return dict(self.curve(metric)).get(best)

    def summary(self, protocol: Protocol | None = None) -> dict[str, float]:
        """Return the numbers shown in tables and in MLflow's list of runs, without missing ones.

        Args:
            protocol: protocol whose epochs are averaged; None for that of the run's schedule.
        """
        protocol = protocol or protocol_of(self.spec.recipe)
        numbers = {
            VAL_MEAN_LAST: self.mean(VAL, protocol),
            TEST_LAST: self.last(TEST),
            TEST_MEAN_LAST: self.mean(TEST, protocol),
            TEST_BEST_VAL: self.at_best(TEST, VAL),
            TEST_BEST_CLEAN_VAL: self.at_best(TEST, CLEAN_VAL),
            SECONDS_PER_EPOCH: sum(self.seconds) / len(self.seconds) if self.seconds else None,
            PEAK_MEMORY: self.peak_memory_mb,
        }
        further = {name for row in self.trace for name in row if name.startswith("test/")}
        for name in sorted(further - {TEST}):
            numbers[f"{name}{LAST}"] = self.last(name)
        return {name: value for name, value in numbers.items() if value is not None}

    def to_dict(self) -> dict[str, Any]:
        """Return the result as plain JSON values."""
        return {
            "digest": self.digest,
            "spec": self.spec.to_dict(),
            "status": str(self.status),
            "reason": self.reason,
            "trace": self.trace,
            "seconds": self.seconds,
            "peak_memory_mb": self.peak_memory_mb,
            "labels": asdict(self.labels),
            "parameters": self.parameters,
            "provenance": self.provenance,
            "attempts": self.attempts,
            "diagnostics": self.diagnostics,
            "skipped": self.skipped,
            "split": self.split,
        }

    @classmethod
    def from_dict(cls, plain: Mapping[str, Any]) -> RunResult:
        """Return the result that JSON values describe.

        Raises:
            RecordError: if the values are of another version or contradict the recorded digest.
        """
        try:
            result = cls(
                spec=RunSpec.from_dict(plain["spec"]),
                status=Status(plain["status"]),
                trace=list(plain["trace"]),
                seconds=list(plain["seconds"]),
                peak_memory_mb=float(plain["peak_memory_mb"]),
                labels=LabelFacts(**plain["labels"]),
                parameters=int(plain["parameters"]),
                provenance=dict(plain["provenance"]),
                reason=plain["reason"],
                attempts=int(plain["attempts"]),
                diagnostics=dict(plain["diagnostics"]),
                skipped=int(plain["skipped"]),
                split=str(plain["split"]),
            )
        except (KeyError, TypeError, ValueError) as error:
            raise RecordError(f"not a result of this version: {error}") from error
        if result.digest != plain["digest"]:
            raise RecordError(f"result {plain['digest'][:12]} holds the spec of another run")
        return result
