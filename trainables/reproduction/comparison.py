"""Comparison of a run that was trained again with its record, and the verdict."""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

from trainables.reproduction.environment import (
    ROUNDING_NAMES,
    EnvironmentDifference,
    environment_differences,
)
from trainables.run.metrics import TRAIN_LOSS
from trainables.run.protocols import protocol_of
from trainables.run.result import Status

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from trainables.reproduction.recorded import RecordedRun
    from trainables.run.result import RunResult

TOLERANCE_POINTS = 0.5
"""Largest difference of a mean accuracy, in percentage points, that is within tolerance.

It is the margin within which a published accuracy counts as reproduced."""

Row = dict[str, float]
"""Metrics after one epoch of a run, by name."""
NO_ACCURACIES = frozenset({"epoch", "learning_rate", TRAIN_LOSS})
"""Entries of a row that are no accuracies."""
MAX_SHOWN_DIFFERENCES = 3
"""Largest number of differences of an epoch that are printed."""


class Verdict(StrEnum):
    """How a run that was trained again compares with its record."""

    IDENTICAL = "identical"
    """Every number that was compared is the same, bit for bit."""
    WITHIN_TOLERANCE = "within tolerance"
    """Another device, processor or library rounds otherwise, and mean accuracies are close."""
    DIFFERS = "differs"
    ALTERED = "altered"
    """Every number that was compared is the same, but the record was altered elsewhere."""

    @property
    def exit_code(self) -> int:
        """Exit code of a command with this verdict; 1 and 2 are those of errors."""
        return {
            Verdict.IDENTICAL: 0,
            Verdict.WITHIN_TOLERANCE: 3,
            Verdict.DIFFERS: 4,
            Verdict.ALTERED: 5,
        }[self]


def overall_verdict(verdicts: Iterable[Verdict]) -> Verdict:
    """Return the worst of some verdicts."""
    return max(verdicts, key=lambda verdict: verdict.exit_code)


@dataclass(frozen=True, slots=True)
class Difference:
    """A value that is not the same in the record and in the run that was trained again.

    Attributes:
        epoch: number of the epoch, from which on the runs differ; 0 for what a run starts with.
        name: name of the value, such as "train/loss".
        recorded: recorded value, as text with all digits.
        repeated: value of the run that was trained again.
    """

    epoch: int
    name: str
    recorded: str
    repeated: str

    def __str__(self) -> str:
        return f"{self.name} {self.recorded} recorded, {self.repeated} now"


@dataclass(frozen=True, slots=True)
class Comparison:
    """Comparison of a run that was trained again with its record.

    Attributes:
        digest: digest of the run.
        title: title of the run, such as "nal on symmetric-0.4, seed 0".
        is_need: whether the run was trained again only because another run needs it.
        is_altered: whether the record was altered after it was written, by its checksum.
        verdict: how the runs compare.
        epochs: number of epochs that were compared.
        compared: what was compared besides the trace, such as "weights".
        differences: differences in the first epoch that differs; empty if there is none.
        environment: differences of the environment.
        largest_points: largest difference of a mean accuracy, in percentage points; None if the
            accuracies are not comparable.
    """

    digest: str
    title: str
    is_need: bool
    is_altered: bool
    verdict: Verdict
    epochs: int
    compared: tuple[str, ...]
    differences: tuple[Difference, ...]
    environment: tuple[EnvironmentDifference, ...]
    largest_points: float | None

    @property
    def first_epoch(self) -> int | None:
        """Number of the first epoch that differs; None if there is none."""
        return self.differences[0].epoch if self.differences else None

    def lines(self) -> Iterator[str]:
        """Yield the lines that state the verdict and its reasons."""
        need = ", a run that another needs" if self.is_need else ""
        yield f"{self.title} ({self.digest[:12]}{need}): {self._verdict_text()}"
        if self.is_altered:
            yield (
                "  the record was altered after it was written: its checksum does not match its "
                "content"
            )
        if not self.differences:
            return
        hidden_count = len(self.differences) - MAX_SHOWN_DIFFERENCES
        more = f"; and {hidden_count} more" if hidden_count > 0 else ""
        shown = "; ".join(map(str, self.differences[:MAX_SHOWN_DIFFERENCES]))
        yield f"  {shown}{more}"
        if self.environment:
            yield f"  may explain it: {'; '.join(map(str, self.environment))}"
        else:
            yield "  nothing that is recorded about the environment differs"

    def _verdict_text(self) -> str:
        epochs = "1 epoch" if self.epochs == 1 else f"{self.epochs} epochs"
        compared = ", ".join((epochs, *self.compared))
        if self.verdict is Verdict.IDENTICAL:
            return f"{self.verdict} ({compared})"
        if self.verdict is Verdict.ALTERED:
            return f"{self.verdict}, but not in what was compared ({compared})"
        start = f"from epoch {self.first_epoch}" if self.first_epoch else "before epoch 1"
        if self.verdict is Verdict.DIFFERS:
            return f"{self.verdict} {start}"
        return (
            f"{self.verdict} (differs {start}, but mean accuracies by at most "
            f"{self.largest_points:.2f} points; {TOLERANCE_POINTS} are allowed)"
        )


def compare(
    recorded: RecordedRun,
    repeated: RunResult | None,
    labels_sha256: str,
    environment: Mapping[str, str],
    epochs: int | None,
) -> Comparison:
    """Compare a run that was trained again with its record.

    Args:
        recorded: recorded run.
        repeated: result of the run that was trained again; None if it was not, since its labels or
            the end of a run that it needs are others.
        labels_sha256: SHA-256 of the noisy labels that were drawn again; "" if a run that it needs
            ended otherwise.
        environment: environment in which the run was trained again.
        epochs: number of epochs that the user has asked for; None for all.
    """
    result = recorded.result
    count = recorded.compared_epochs(epochs)
    is_whole = count == recorded.recorded_epochs
    compared: list[str] = ["noisy labels"]
    differences: list[Difference] = []
    if not labels_sha256:
        differences.append(Difference(0, "a run that it needs", "usable", "not usable"))
    elif labels_sha256 != result.labels.sha256:
        differences.append(
            Difference(0, "noisy labels", result.labels.sha256[:12], labels_sha256[:12])
        )
    elif repeated is not None:
        before = list(_input_differences(result, repeated))
        compared += [f"{role} of its needed run" for role in _input_roles(result)]
        trace = result.trace if is_whole else result.trace[:count]
        differences = before or _first_trace_differences(trace, repeated.trace)
        if is_whole and result.is_final and not differences:
            differences = list(_end_differences(result, repeated, count))
            if result.status is Status.DIVERGED:
                compared.append("divergence")
            if result.weights:
                compared.append("weights")
    environment_changes = tuple(environment_differences(recorded.environment, environment))
    points = None if repeated is None else _largest_points(result, repeated, count)
    rounds_otherwise = any(change.name in ROUNDING_NAMES for change in environment_changes)
    if not differences:
        verdict = Verdict.ALTERED if recorded.is_altered else Verdict.IDENTICAL
    elif (
        rounds_otherwise
        and not recorded.is_altered
        and labels_sha256 == result.labels.sha256
        and points is not None
        and points <= TOLERANCE_POINTS
    ):
        verdict = Verdict.WITHIN_TOLERANCE
    else:
        verdict = Verdict.DIFFERS
    return Comparison(
        digest=recorded.digest,
        title=recorded.spec.title,
        is_need=recorded.is_need,
        is_altered=recorded.is_altered,
        verdict=verdict,
        epochs=min(count, len(result.trace)),
        compared=tuple(compared),
        differences=tuple(differences),
        environment=environment_changes,
        largest_points=points,
    )


def _input_roles(result: RunResult) -> list[str]:
    """Return the roles of the runs whose outcomes a run has used."""
    return [key.removeprefix("input.") for key in result.provenance if key.startswith("input.")]


def _input_differences(result: RunResult, repeated: RunResult) -> Iterator[Difference]:
    """Yield the differences in what the runs start with, besides the labels."""
    for role in _input_roles(result):
        values = [each.provenance.get(f"input.{role}", "none") for each in (result, repeated)]
        if values[0] != values[1]:
            yield Difference(0, f"{role} of its needed run", *(value[:12] for value in values))
    if result.split and result.split != repeated.split:
        yield Difference(0, "training samples", result.split[:12], repeated.split[:12])


def _first_trace_differences(rows: Sequence[Row], repeated_rows: Sequence[Row]) -> list[Difference]:
    """Return the differences in the first epoch that differs."""
    for epoch, (row, repeated_row) in enumerate(zip(rows, repeated_rows, strict=False), start=1):
        differences = [
            Difference(epoch, name, _text(row.get(name)), _text(repeated_row.get(name)))
            for name in dict.fromkeys((*row, *repeated_row))
            if _text(row.get(name)) != _text(repeated_row.get(name))
        ]
        if differences:
            return differences
    if len(rows) == len(repeated_rows):
        return []
    epoch = min(len(rows), len(repeated_rows)) + 1
    return [Difference(epoch, "epochs", str(len(rows)), str(len(repeated_rows)))]


def _text(value: float | None) -> str:
    """Return a number with all its digits; texts are equal where the bits are."""
    return "none" if value is None else repr(float(value))


def _end_differences(result: RunResult, repeated: RunResult, count: int) -> Iterator[Difference]:
    """Yield the differences in how runs with the same trace have ended."""
    if result.status is not repeated.status:
        yield Difference(count, "status", str(result.status), str(repeated.status))
    elif result.reason != repeated.reason:
        yield Difference(count, "reason", result.reason, repeated.reason)
    if result.weights and result.weights != repeated.weights:
        yield Difference(count, "weights", result.weights[:12], repeated.weights[:12] or "none")


def _largest_points(result: RunResult, repeated: RunResult, count: int) -> float | None:
    """Return the largest difference of a mean accuracy, in percentage points.

    Means are those of tables if the runs are compared to their end, and otherwise over as many of
    the last epochs that are compared. The result is None if the runs did not end alike or have no
    accuracies.
    """
    recipe = result.spec.recipe
    if count == recipe.epochs:
        averaged = set(protocol_of(recipe).averaged_epochs(recipe))
        if result.status is not repeated.status:
            return None
    else:
        averaged = set(range(count - recipe.window + 1, count + 1))
    if Status.DIVERGED in (result.status, repeated.status):
        return None
    means = [_mean_accuracies(each.trace[:count], averaged) for each in (result, repeated)]
    if not means[0] or means[0].keys() != means[1].keys():
        return None
    return max(100 * abs(means[0][name] - means[1][name]) for name in means[0])


def _mean_accuracies(trace: Sequence[Row], averaged_epochs: set[int]) -> dict[str, float]:
    """Return the mean of each accuracy over some epochs, by name."""
    values: dict[str, list[float]] = {}
    for row in trace:
        if row.get("epoch") in averaged_epochs:
            for name in row.keys() - NO_ACCURACIES:
                values.setdefault(name, []).append(row[name])
    return {name: math.fsum(each) / len(each) for name, each in values.items()}
