"""The result of a run: status, metrics of every epoch, label statistics and provenance."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING, Any

from trainables.errors import RecordError
from trainables.noise import noise_of
from trainables.run.metrics import (
    CLEAN_VAL_ACCURACY,
    LAST_SUFFIX,
    PEAK_MEMORY_MB,
    SECONDS_PER_EPOCH,
    TEST_ACCURACY,
    TEST_BEST_CLEAN_VAL,
    TEST_BEST_VAL,
    TEST_LAST,
    TEST_MEAN_LAST,
    TRAIN_ACCURACY,
    TRAIN_ACCURACY_TRUE,
    VAL_ACCURACY,
    VAL_MEAN_LAST,
)
from trainables.run.protocols import protocol_of
from trainables.run.spec import RunSpec

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping

    from trainables.run.protocols import Protocol
    from trainables.run_data.realisation import Realisation


HISTORY_SEPARATOR = ", then "
"""Separator of the successive values of a provenance entry, such as the device, of a run that was
continued under changed conditions."""
MAX_EXACT_INTEGER = 2**53
"""Largest integer up to which a `float` holds every integer exactly."""
BIT_RELEVANT_KEYS = ("device", "torch")
"""Keys of the provenance entries that, besides the spec, may affect the bits of a result."""


class Status(StrEnum):
    """How a run ended; a run that has not ended has no status."""

    FINISHED = "finished"
    DIVERGED = "diverged"
    OUT_OF_MEMORY = "out of memory"
    """The device had too little memory. A sweep that needs the run later tries again."""
    STOPPED = "stopped"
    """A sweep stopped the run early. A later sweep that needs the run continues it from its
    checkpoint."""


@dataclass(frozen=True, slots=True)
class LabelStatistics:
    """Statistics of the noisy labels of a run.

    Attributes:
        sha256: SHA-256 of the noisy labels as a little-endian int64 vector.
        count: number of noisy labels.
        flip_rate: fraction of the noisy labels that differ from the true labels; None if the true
            labels are unknown.
        transition: observed transition matrix, K × K: entry (i, j) is the fraction of the samples
            with label i in the dataset that have the noisy label j.
        nominal_rate: noise rate in the name of the scenario; None if the name contains no rate.
    """

    sha256: str
    count: int
    flip_rate: float | None
    transition: list[list[float]]
    nominal_rate: float | None = None

    @classmethod
    def from_realisation(cls, labels: Realisation, scenario: str) -> LabelStatistics:
        """Compute the statistics of the labels that were drawn for a scenario."""
        return cls(
            labels.digest,
            len(labels.noisy_labels),
            labels.flip_rate if labels.true_labels_known else None,
            labels.transition,
            noise_of(scenario).nominal_rate,
        )


@dataclass(frozen=True, slots=True)
class RunResult:
    """Result of a run that has ended.

    Attributes:
        spec: specification of the run.
        status: how the run ended.
        trace: one row per epoch, with the number of the epoch and metrics such as "train/loss" and
            "val/accuracy" (a fraction); equal specs on equal devices give equal traces.
        seconds: wall time of each epoch in seconds.
        peak_memory_mb: peak memory of the device (CUDA) or the process (CPU), in MB (10^6 bytes).
        labels: statistics of the noisy labels.
        parameters: number of trained parameters of the network.
        provenance: device, host, versions, commit, and whether uncommitted changes existed.
        reason: explanation of a status other than "finished", such as the step of a divergence or
            the epoch at which the run was stopped; "" for a finished run.
        attempts: number of times the run was started or continued; above 1 after an interruption.
        split: SHA-256 of the positions of the used training samples in the dataset's training
            split, as little-endian int64; "" if training never started.
        skipped: number of training pictures left out because they could not be decoded.
        diagnostics: scalar diagnostics by name, each with one value per collected epoch; the
            numbers of these epochs are under "epoch". Empty if no epoch was collected. Diagnostics
            of single samples are in the file `diagnostics.npz`.
        class_names: names of the classes, in the order of the network's outputs; empty in records
            of versions that did not store them, as are `mean` and `std`.
        mean: mean of each channel that was subtracted from the pixels, scaled to [0, 1], before the
            network saw them; empty if training never started.
        std: standard deviation of each channel by which the difference was divided.
        input_shape: shape (C, H, W) of the network's input images; empty if training never started,
            and in records of versions that did not store it, as `short_side` is None there.
        short_side: length in pixels to which the short side of a picture file was resized before a
            square was cut out; None if it kept its length, or the images are no files.
        system_metrics: one row per measured epoch, with the number of the epoch and MLflow's system
            metrics without their prefix "system/"; empty if nobody asked for them.
        recovery: explanation if a damaged checkpoint was found, and the run was continued from the
            one before or trained anew; "" if none was.
        weights: SHA-256 of the network after the last epoch; "" if the run did not finish, and in
            records of versions that did not store it.
        digest: digest of the spec.
    """

    spec: RunSpec
    status: Status
    trace: list[dict[str, float]]
    seconds: list[float]
    peak_memory_mb: float
    labels: LabelStatistics
    parameters: int
    provenance: dict[str, str]
    reason: str = ""
    attempts: int = 1
    diagnostics: dict[str, list[float]] = field(default_factory=dict)
    skipped: int = 0
    split: str = ""
    class_names: tuple[str, ...] = ()
    mean: tuple[float, ...] = ()
    std: tuple[float, ...] = ()
    input_shape: tuple[int, ...] = ()
    short_side: int | None = None
    system_metrics: list[dict[str, float]] = field(default_factory=list)
    recovery: str = ""
    weights: str = ""
    digest: str = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "digest", self.spec.digest)

    def check_values(self) -> None:
        """Check the kinds of values in a result whose checksum does not vouch for them.

        Raises:
            RecordError: if a value has another kind than those that `to_dict` returns.
        """
        rows_are_valid = all(
            isinstance(row, dict) and all(map(_is_number, row.values())) for row in self.trace
        )
        seconds_are_valid = all(_is_number(each) and 0 <= each < math.inf for each in self.seconds)
        texts = [*self.provenance.values(), self.reason, self.labels.sha256]
        texts_are_valid = all(isinstance(text, str) for text in texts)
        if not (rows_are_valid and seconds_are_valid and texts_are_valid):
            raise RecordError("not a run result of this version of the project: impossible values")

    @property
    def is_final(self) -> bool:
        """Whether the run finished or diverged; runs with another status can be continued."""
        return self.status not in (Status.OUT_OF_MEMORY, Status.STOPPED)

    @property
    def converged(self) -> bool:
        """Whether the run converged; if not, tables print ⊖ as in the NAL paper.

        A run failed to converge if it diverged, or if the training accuracy of the last epoch is
        below 2 / K, twice the chance level. The accuracy refers to the true labels if these are
        known, since at high noise rates even a trained network disagrees with most of the noisy
        labels. With fewer than 4 classes, every run that has not diverged counts as converged.
        """
        if self.status is Status.DIVERGED:
            return False
        accuracy = self.last_value(TRAIN_ACCURACY_TRUE)
        if accuracy is None:
            accuracy = self.last_value(TRAIN_ACCURACY)
        class_count = len(self.labels.transition)
        return accuracy is None or class_count < 4 or accuracy >= 2 / class_count

    def curve(self, metric: str) -> list[tuple[int, float]]:
        """Return the values of a metric as pairs (epoch, value), in the order of epochs."""
        return [(int(row["epoch"]), row[metric]) for row in self.trace if metric in row]

    def last_value(self, metric: str) -> float | None:
        """Return the last value of a metric; None if not measured or the run is not finished."""
        curve = self.curve(metric)
        return curve[-1][1] if curve and self.status is Status.FINISHED else None

    def mean_value(self, metric: str, protocol: Protocol) -> float | None:
        """Return the mean of a metric over the epochs that a protocol averages.

        The result is None if the metric was not measured or the run is not finished.
        """
        if self.status is not Status.FINISHED:
            return None
        return mean_over_epochs(self.trace, metric, protocol.averaged_epochs(self.spec.recipe))

    def value_at_best(self, metric: str, selection_metric: str) -> float | None:
        """Return the value of a metric in the first epoch in which another metric is highest.

        The result is None if one of the metrics was not measured or the run is not finished.

        Args:
            metric: name of the metric to return.
            selection_metric: name of the metric that chooses the epoch.
        """
        points = self.curve(selection_metric)
        if not points or self.status is not Status.FINISHED:
            return None
        best_epoch = max(points, key=lambda point: point[1])[0]
        return dict(self.curve(metric)).get(best_epoch)

    def summary(self, protocol: Protocol | None = None) -> dict[str, float]:
        """Return the summary numbers of the run for tables and MLflow, by name.

        Numbers that cannot be computed are omitted.

        Args:
            protocol: protocol that defines the averaged epochs; None for the default protocol of
                the run's schedule.
        """
        protocol = protocol or protocol_of(self.spec.recipe)
        numbers = {
            VAL_MEAN_LAST: self.mean_value(VAL_ACCURACY, protocol),
            TEST_LAST: self.last_value(TEST_ACCURACY),
            TEST_MEAN_LAST: self.mean_value(TEST_ACCURACY, protocol),
            TEST_BEST_VAL: self.value_at_best(TEST_ACCURACY, VAL_ACCURACY),
            TEST_BEST_CLEAN_VAL: self.value_at_best(TEST_ACCURACY, CLEAN_VAL_ACCURACY),
            SECONDS_PER_EPOCH: sum(self.seconds) / len(self.seconds) if self.seconds else None,
            PEAK_MEMORY_MB: self.peak_memory_mb,
        }
        test_metrics = {name for row in self.trace for name in row if name.startswith("test/")}
        for name in sorted(test_metrics - {TEST_ACCURACY}):
            numbers[f"{name}{LAST_SUFFIX}"] = self.last_value(name)
        return {name: value for name, value in numbers.items() if value is not None}

    def to_dict(self) -> dict[str, Any]:
        """Return the result as a JSON object, which `from_dict` reads."""
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
            "class_names": list(self.class_names),
            "mean": list(self.mean),
            "std": list(self.std),
            "input_shape": list(self.input_shape),
            "short_side": self.short_side,
            "system_metrics": self.system_metrics,
            "recovery": self.recovery,
            "weights": self.weights,
        }

    @classmethod
    def from_dict(cls, json_object: Mapping[str, Any]) -> RunResult:
        """Return the result that a JSON object from `to_dict` describes.

        Raises:
            RecordError: if the object has another format or contradicts the recorded digest.
        """
        try:
            result = cls(
                spec=RunSpec.from_dict(json_object["spec"]),
                status=Status(json_object["status"]),
                trace=list(json_object["trace"]),
                seconds=list(json_object["seconds"]),
                peak_memory_mb=float(json_object["peak_memory_mb"]),
                labels=LabelStatistics(**json_object["labels"]),
                parameters=int(json_object["parameters"]),
                provenance=dict(json_object["provenance"]),
                reason=json_object["reason"],
                attempts=int(json_object["attempts"]),
                diagnostics=dict(json_object["diagnostics"]),
                skipped=int(json_object["skipped"]),
                split=str(json_object["split"]),
                class_names=tuple(json_object.get("class_names", ())),
                mean=tuple(json_object.get("mean", ())),
                std=tuple(json_object.get("std", ())),
                input_shape=tuple(json_object.get("input_shape", ())),
                short_side=json_object.get("short_side"),
                system_metrics=list(json_object.get("system_metrics", [])),
                recovery=str(json_object.get("recovery", "")),
                weights=str(json_object.get("weights", "")),
            )
        except (KeyError, TypeError, ValueError) as error:
            raise RecordError(
                f"not a run result of this version of the project: {error}"
            ) from error
        if result.digest != json_object["digest"]:
            raise RecordError(
                f"result {json_object['digest'][:12]} contains the spec of another run"
            )
        return result


def _is_number(value: object) -> bool:
    """Return whether a value is a number that a `float` can hold."""
    return isinstance(value, float) or (isinstance(value, int) and abs(value) <= MAX_EXACT_INTEGER)


def mean_over_epochs(
    rows: Iterable[Mapping[str, float]], metric: str, epochs: Collection[int]
) -> float | None:
    """Return the mean of a metric over some epochs; None if it was measured in none of them.

    Args:
        rows: metrics after each epoch, with the number of the epoch.
        metric: name of the metric.
        epochs: numbers of the averaged epochs.
    """
    values = [row[metric] for row in rows if row["epoch"] in epochs and metric in row]
    return sum(values) / len(values) if values else None
