"""Schedulers: how a study states the rule that stops trials of its searches early."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal, TypeAlias, cast

from pydantic import PlainSerializer, PlainValidator

from trainables.errors import FieldError, suggest
from trainables.run.parameters import FrozenMap, Parameter, complete_parameters

SchedulerKind: TypeAlias = Literal["none", "asha", "hyperband", "wilcoxon"]
"""Names of the schedulers: train every trial whole; asynchronous successive halving; Hyperband;
Wilcoxon's test over the seeds of the search."""

GRACE, FACTOR, THRESHOLD = "grace", "factor", "threshold"
"""Names of the settings of schedulers."""

_HALVING_SETTINGS = (
    Parameter(
        GRACE,
        default=0,  # stands for the one that `rungs.grace_on` derives
        low=1,
        help="epochs before a trial may be stopped",
    ),
    Parameter(
        FACTOR, default=3, low=2, high=100, help="number of trials of which about one goes on"
    ),
)

SETTINGS: Mapping[str, tuple[Parameter, ...]] = {
    "none": (),
    "asha": _HALVING_SETTINGS,
    "hyperband": _HALVING_SETTINGS,
    "wilcoxon": (
        Parameter(
            THRESHOLD,
            default=0.1,
            low=0,
            high=1,
            low_open=True,
            high_open=True,
            help="p-value below which a trial counts as worse than the best",
        ),
    ),
}
"""Settings of each scheduler, by its name."""


@dataclass(frozen=True, slots=True)
class Scheduler:
    """Rule that stops trials early, as a study states it.

    Attributes:
        kind: name of the scheduler.
        settings: value of each setting; without the grace period if the study does not state it.
    """

    kind: SchedulerKind = "none"
    settings: FrozenMap = field(default_factory=FrozenMap)

    @property
    def compares_epochs(self) -> bool:
        """Whether trials are compared after epochs, the first time after the grace period."""
        return FACTOR in self.settings

    @classmethod
    def read(cls, yaml_value: object) -> Scheduler:
        """Create a scheduler from its entry in a study: a name, or `{kind: asha, grace: 20}`.

        Raises:
            FieldError: if the scheduler or a setting is unknown, or a value is not allowed.
        """
        keys = {"kind": yaml_value} if isinstance(yaml_value, str) else yaml_value
        if not isinstance(keys, Mapping):
            form = "a name such as asha, or a mapping like {kind: asha, grace: 20}"
            raise FieldError("", f"must be {form}, got {yaml_value!r}")
        stated = dict(keys)
        kind = stated.pop("kind", None)
        if kind is None:
            raise FieldError("kind", f"is missing: {suggest('', SETTINGS)}")
        if not isinstance(kind, str) or kind not in SETTINGS:
            raise FieldError(
                "" if isinstance(yaml_value, str) else "kind",
                f"unknown scheduler {kind!r}: {suggest(str(kind), SETTINGS)}",
            )
        values = complete_parameters(f"scheduler {kind}", SETTINGS[kind], stated)
        settings = {name: values[name] for name in values if name != GRACE or name in stated}
        return cls(cast("SchedulerKind", kind), FrozenMap(settings))

    def to_yaml_value(self) -> str | dict[str, Any]:
        """Return the YAML value from which `read` creates the same scheduler."""
        return {"kind": self.kind, **self.settings} if self.settings else self.kind


SchedulerField = Annotated[
    Scheduler,
    PlainValidator(Scheduler.read),
    PlainSerializer(Scheduler.to_yaml_value, return_type=str | dict[str, Any]),
]
