"""Kinds of label noise, one file each; a scenario's name (`symmetric-0.4`) is its whole definition.

To add a kind, add a file with a `Noise` subclass whose `parse` reads the kind's scenario names, and
list the class in `KINDS`.
"""

from __future__ import annotations

from trainables.errors import FieldError
from trainables.extensions import MARK, class_name_of, extension_class, is_extension
from trainables.noise.asymmetric import Asymmetric
from trainables.noise.base import Noise, NoiseContext
from trainables.noise.clean import Clean
from trainables.noise.combined import SEPARATOR, Combined
from trainables.noise.from_file import FromFile
from trainables.noise.human import Human
from trainables.noise.official import Official
from trainables.noise.pmd import Pmd
from trainables.noise.symmetric import Symmetric

KINDS: tuple[type[Noise], ...] = (Clean, Symmetric, Asymmetric, Official, Pmd, Human, FromFile)
"""All kinds of label noise, except `Combined`."""
SECOND_KINDS = (Symmetric, Asymmetric)
"""Kinds that can be the second noise of `Combined`."""


def noise_of(scenario: str) -> Noise:
    """Return the label noise of a scenario.

    Raises:
        FieldError: if no kind of noise has such a scenario name, or its rate is out of range.
    """
    first, separator, second = scenario.partition(SEPARATOR)
    if separator and not is_extension(scenario):
        return _combined_noise(scenario, _single_noise(first), _single_noise(second))
    return _single_noise(scenario)


def is_shipped_noise(scenario: str) -> bool:
    """Return whether a scenario names label noise of this package, whatever its rate."""
    try:
        return any(kind.parse(scenario.partition(SEPARATOR)[0]) is not None for kind in KINDS)
    except FieldError:
        return True


def _single_noise(scenario: str) -> Noise:
    """Return the label noise of a scenario without a "+".

    Raises:
        FieldError: if no kind of noise has such a scenario name, or its rate is out of range.
    """
    if is_extension(scenario):
        return _outside_noise(scenario)
    for kind in KINDS:
        noise = kind.parse(scenario)
        if noise is not None:
            return noise
    forms = ", ".join(
        [form for kind in KINDS for form in kind.name_forms] + list(Combined.name_forms)
    )
    raise FieldError("scenario", f"unknown scenario '{scenario}'; known: {forms}")


def _outside_noise(scenario: str) -> Noise:
    """Return the label noise of a scenario whose kind is defined outside the package.

    Raises:
        FieldError: if the kind has no such scenario, or its source is not available.
    """
    stem, _, digits = scenario.partition(MARK)
    name = f"{class_name_of(stem)}{MARK}{digits}"
    kind = extension_class("noise", name, Noise)  # type: ignore[type-abstract]
    noise = kind.parse(stem)
    if noise is None:
        forms = ", ".join(kind.name_forms)
        raise FieldError("scenario", f"{kind.__name__} has no scenario '{stem}'; known: {forms}")
    return noise


def _combined_noise(scenario: str, first: Noise, second: Noise) -> Combined:
    """Return the combination of two kinds of noise.

    Raises:
        FieldError: if these kinds cannot be combined.
    """
    excluded = (Clean, Official, *SECOND_KINDS)
    if isinstance(first, excluded) or not isinstance(second, SECOND_KINDS):
        raise FieldError(
            "scenario",
            f"scenario '{scenario}': symmetric or asymmetric noise can be laid over PMD, human or "
            "file labels, nothing else",
        )
    return Combined(first, second)


__all__ = ["KINDS", "Noise", "NoiseContext", "noise_of"]
