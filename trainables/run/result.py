"""What a run leaves behind: its metric trace, how it ended, and where it ran."""

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
from trainables.run.spec import RunSpec

if TYPE_CHECKING:
    from collections.abc import Mapping

    from trainables.run_data.realisation import Realisation


THEN = ", then "
"""Stands in a run's provenance between the places where it was trained one after the other."""
SAME_BITS = ("device", "torch")
"""What of a run's provenance may change its bits, beside its spec."""


class Status(StrEnum):
    """How a run ended. A run that has not ended has no result."""

    FINISHED = "finished"
    DIVERGED = "diverged"
    OUT_OF_MEMORY = "out of memory"
    """The device's doing, not the spec's: such a run is tried again when it is next asked for."""
    STOPPED = "stopped"
    """The sweep's doing: such a run goes on from its checkpoint when it is next asked for."""


@dataclass(frozen=True, slots=True)
class LabelFacts:
    """The noisy labels of a run, as recorded.

    Attributes:
        sha256: of the vector, little-endian int64.
        count: its length.
        flip_rate: fraction that differs from the true labels; None where those are not known.
        transition: observed P(noisy = j | i in the dataset), K × K.
        nominal_rate: what the scenario's name says; None if it says no rate.
    """

    sha256: str
    count: int
    flip_rate: float | None
    transition: list[list[float]]
    nominal_rate: float | None = None

    @classmethod
    def of(cls, labels: Realisation, scenario: str) -> LabelFacts:
        """Take them from a realisation of a scenario."""
        return cls(
            labels.digest,
            len(labels.noisy),
            labels.flip_rate if labels.truth_known else None,
            labels.transition,
            noise_of(scenario).nominal_rate,
        )


@dataclass(frozen=True, slots=True)
class RunResult:
    """A run that ended.

    Attributes:
        spec: what was trained.
        status: how it ended.
        trace: one row per epoch, the same for equal specs on equal devices: "epoch" and metrics
            such as "train/loss", "val/accuracy"; accuracies are fractions.
        seconds: wall time of each epoch; not part of what is reproduced.
        peak_memory_mb: largest memory of the device (CUDA) or process (CPU), in 10^6 bytes.
        labels: facts of the noisy labels.
        parameters: number of trained parameters of the network.
        provenance: device, host, versions, commit, whether the tree was dirty.
        reason: of a divergence or a lack of memory: the step or epoch, what was seen, and the last
            good epoch; of a run that was stopped: after which epoch.
        attempts: how often it was begun or gone on with; above 1 where it was interrupted.
        split: SHA-256 of the positions in the training split that were trained on, little-endian
            int64; "" where the training never began.
        skipped: training pictures that were left out, since they could not be decoded.
        diagnostics: series over the epochs that diagnostics were collected in, "epoch" and others;
            empty where none were. The arrays behind them are in a file of their own.
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
        """Whether there is nothing left to train."""
        return self.status not in (Status.OUT_OF_MEMORY, Status.STOPPED)

    @property
    def converged(self) -> bool:
        """Whether the training got anywhere; where not, tables print the paper's ⊖.

        It did not if it diverged, or if in its last epoch fewer than a fraction 2 / K of the
        training samples were predicted right, twice what guessing gives. Right by the true labels
        where they are known: at high noise rates a network that has learned agrees with few of the
        given ones. With fewer than 4 classes 2 / K tells nothing, and only a divergence counts.
        """
        if self.status is Status.DIVERGED:
            return False
        accuracy = self.last(TRAIN_ACCURACY_TRUE)
        if accuracy is None:
            accuracy = self.last(TRAIN_ACCURACY)
        classes = len(self.labels.transition)
        return accuracy is None or classes < 4 or accuracy >= 2 / classes

    def curve(self, metric: str) -> list[tuple[int, float]]:
        """Return (epoch, value) wherever the metric was taken."""
        return [(int(row["epoch"]), row[metric]) for row in self.trace if metric in row]

    def last(self, metric: str) -> float | None:
        """Return the last value of a metric; None if it was never taken or the run diverged."""
        curve = self.curve(metric)
        return curve[-1][1] if curve and self.status is Status.FINISHED else None

    def mean_last(self, metric: str) -> float | None:
        """Return a metric's mean over the last `recipe.window` epochs; None as for `last`."""
        first = self.spec.recipe.epochs - self.spec.recipe.window
        values = [value for epoch, value in self.curve(metric) if epoch > first]
        finished = values and self.status is Status.FINISHED
        return sum(values) / len(values) if finished else None

    def at_best(self, metric: str, chooser: str) -> float | None:
        """Return a metric at the (first) epoch where another is highest; None as for `last`."""
        chosen = self.curve(chooser)
        if not chosen or self.status is not Status.FINISHED:
            return None
        best = max(chosen, key=lambda point: point[1])[0]
        return dict(self.curve(metric)).get(best)

    def summary(self) -> dict[str, float]:
        """Return the numbers that tables and MLflow's list of runs show, where they exist."""
        numbers = {
            VAL_MEAN_LAST: self.mean_last(VAL),
            TEST_LAST: self.last(TEST),
            TEST_MEAN_LAST: self.mean_last(TEST),
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
        """Read a result back from its JSON values.

        Raises:
            RecordError: it is not of this version, or its digest is not that of its spec.
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
