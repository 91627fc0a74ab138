"""Label noise of human annotators, in the datasets CIFAR-10N and CIFAR-100N."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Self

from trainables.errors import FieldError, suggest
from trainables.noise.base import FixedLabels

if TYPE_CHECKING:
    from trainables.datasets.base import Source

_PREFIX = "human-"


@dataclass(frozen=True, slots=True)
class HumanLabels(FixedLabels):
    """Noisy labels from human annotators: a label set that is part of the dataset.

    Attributes:
        name: name of the label set, such as "worse" in CIFAR-10N.
    """

    name: str

    name_forms: ClassVar[tuple[str, ...]] = ("human-SET",)

    @classmethod
    def parse(cls, scenario: str) -> Self | None:
        """Return the noise of a scenario such as `human-worse`; None for other kinds of noise."""
        name = scenario.removeprefix(_PREFIX)
        return cls(name) if name and scenario.startswith(_PREFIX) else None

    @property
    def title(self) -> str:
        """Title of the scenario in tables."""
        return f"human, {self.name}"

    @property
    def annotation(self) -> str:
        """Name of the label set in `NoiseContext.annotations`."""
        return self.name

    def check(self, source: Source) -> None:
        """Raise `FieldError` if the dataset does not have the label set."""
        if self.name in source.annotation_names:
            return
        if not source.annotation_names:
            raise FieldError(
                "scenario",
                f"scenario 'human-{self.name}': dataset '{source.name}' has no human labels: "
                "use cifar10n or cifar100n",
            )
        known_scenarios = [f"{_PREFIX}{name}" for name in source.annotation_names]
        scenario = f"{_PREFIX}{self.name}"
        raise FieldError(
            "scenario", f"unknown scenario '{scenario}': {suggest(scenario, known_scenarios)}"
        )
