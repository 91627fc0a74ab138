"""Label noise: one file per kind. A scenario's name says all: `clean`, `symmetric-0.4`.

To add a kind, add a file whose `Noise` subclass reads its own names in `parse`, and list the class
in `KINDS`.
"""

from __future__ import annotations

from trainables.errors import FieldError
from trainables.noise.asymmetric import Asymmetric
from trainables.noise.base import Noise, NoiseContext
from trainables.noise.clean import Clean
from trainables.noise.combined import JOIN, Combined
from trainables.noise.from_file import FromFile
from trainables.noise.human import Human
from trainables.noise.official import Official
from trainables.noise.pmd import Pmd
from trainables.noise.symmetric import Symmetric

KINDS: tuple[type[Noise], ...] = (Clean, Symmetric, Asymmetric, Official, Pmd, Human, FromFile)
SECOND = (Symmetric, Asymmetric)
"""Kinds that can be laid over another one."""


def noise_of(scenario: str) -> Noise:
    """Return the noise that a scenario names.

    Raises:
        FieldError: no kind of noise has such a name, or its rate is out of range.
    """
    first, join, second = scenario.partition(JOIN)
    if join:
        return _combined(scenario, _simple(first), _simple(second))
    return _simple(scenario)


def _simple(scenario: str) -> Noise:
    for kind in KINDS:
        noise = kind.parse(scenario)
        if noise is not None:
            return noise
    forms = ", ".join([form for kind in KINDS for form in kind.forms] + list(Combined.forms))
    raise FieldError("scenario", f"unknown scenario '{scenario}'; known: {forms}")


def _combined(scenario: str, first: Noise, second: Noise) -> Combined:
    if isinstance(first, (Clean, Official, *SECOND)) or not isinstance(second, SECOND):
        raise FieldError(
            "scenario",
            f"scenario '{scenario}': symmetric or asymmetric noise can be laid over PMD, human or "
            "file labels, nothing else",
        )
    return Combined(first, second)


__all__ = ["KINDS", "Noise", "NoiseContext", "noise_of"]
