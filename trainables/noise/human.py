"""Labels that people gave: CIFAR-10N and CIFAR-100N."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Self

from trainables.errors import FieldError, suggest
from trainables.noise.base import FixedLabels

if TYPE_CHECKING:
    from trainables.datasets.base import Source

_PREFIX = "human-"


@dataclass(frozen=True, slots=True)
class Human(FixedLabels):
    """What annotators said, one fixed set of labels.

    Attributes:
        name: of the set, as the dataset has it: "worse".
    """

    name: str

    forms: ClassVar[tuple[str, ...]] = ("human-SET",)

    @classmethod
    def parse(cls, scenario: str) -> Self | None:
        """Read `human-worse`."""
        name = scenario.removeprefix(_PREFIX)
        return cls(name) if name and scenario.startswith(_PREFIX) else None

    @property
    def title(self) -> str:
        """The setting as tables head a column with it."""
        return f"human, {self.name}"

    @property
    def annotation(self) -> str:
        """Name of the set."""
        return self.name

    def check(self, source: Source) -> None:
        """Refuse a set that the dataset has not."""
        if self.name in source.annotations:
            return
        if not source.annotations:
            raise FieldError(
                "scenario",
                f"scenario 'human-{self.name}': dataset '{source.name}' has no labels of people, "
                "cifar10n and cifar100n have",
            )
        forms = [f"{_PREFIX}{name}" for name in source.annotations]
        scenario = f"{_PREFIX}{self.name}"
        raise FieldError("scenario", f"unknown scenario '{scenario}': {suggest(scenario, forms)}")
