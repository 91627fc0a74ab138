"""Registry of the kinds of label noise: one file per kind, all classes listed in `NOISE_KINDS`.

The name of a scenario, such as `symmetric-0.4`, defines its label noise. The `parse` method of each
kind reads the names of its scenarios.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from trainables.errors import FieldError, suggest
from trainables.extensions import HASH_SEPARATOR, class_name_of, extension_class, is_extension
from trainables.noise.asymmetric import AsymmetricNoise
from trainables.noise.base import Noise, NoiseContext
from trainables.noise.clean import CleanLabels
from trainables.noise.combined import SEPARATOR, CombinedNoise
from trainables.noise.from_file import LabelsFromFile
from trainables.noise.human import HumanLabels
from trainables.noise.official import OfficialNoise
from trainables.noise.pmd import PmdNoise
from trainables.noise.symmetric import SymmetricNoise

if TYPE_CHECKING:
    from collections.abc import Iterable

NOISE_KINDS: tuple[type[Noise], ...] = (
    CleanLabels,
    SymmetricNoise,
    AsymmetricNoise,
    OfficialNoise,
    PmdNoise,
    HumanLabels,
    LabelsFromFile,
)
"""All kinds of label noise of this package, except `CombinedNoise`."""
SECOND_NOISE_KINDS = (SymmetricNoise, AsymmetricNoise)
"""Kinds of noise that can be applied to noisy labels: those after the "+" of a scenario name."""


def noise_of(scenario: str) -> Noise:
    """Return the label noise that a scenario name defines.

    Raises:
        FieldError: if no kind of noise has such a scenario, or the rate in the name is not allowed.
    """
    first_name, separator, second_name = scenario.partition(SEPARATOR)
    if separator and not is_extension(scenario):
        return _combined_noise(scenario, _single_noise(first_name), _single_noise(second_name))
    return _single_noise(scenario)


def is_shipped_noise(scenario: str) -> bool:
    """Return whether a scenario belongs to a noise kind of this package; its rate may be wrong."""
    try:
        return any(kind.parse(scenario.partition(SEPARATOR)[0]) is not None for kind in NOISE_KINDS)
    except FieldError:
        return True


def _single_noise(scenario: str) -> Noise:
    """Return the label noise of a scenario that is not a combination.

    Raises:
        FieldError: if no kind of noise has such a scenario, or the rate in the name is not allowed.
    """
    if is_extension(scenario):
        return _extension_noise(scenario)
    for kind in NOISE_KINDS:
        noise = kind.parse(scenario)
        if noise is not None:
            return noise
    forms = [form for kind in NOISE_KINDS for form in kind.name_forms]
    forms += CombinedNoise.name_forms
    raise FieldError("scenario", f"unknown scenario '{scenario}': {_suggest_form(scenario, forms)}")


def _extension_noise(scenario: str) -> Noise:
    """Return the label noise of a scenario whose class is defined outside this package.

    Raises:
        FieldError: if the class has no such scenario, or if its code is not available.
    """
    plain_name, _, hash_digits = scenario.partition(HASH_SEPARATOR)
    class_name = f"{class_name_of(plain_name)}{HASH_SEPARATOR}{hash_digits}"
    kind = extension_class("noise", class_name, Noise)  # type: ignore[type-abstract]
    noise = kind.parse(plain_name)
    if noise is None:
        hint = _suggest_form(plain_name, kind.name_forms)
        raise FieldError("scenario", f"{kind.__name__} has no scenario '{plain_name}': {hint}")
    return noise


def _suggest_form(scenario: str, forms: Iterable[str]) -> str:
    """Return the closest form of scenario names, such as `symmetric-RATE`, and a list of all."""
    return suggest(re.sub(r"\d+\.\d+", "RATE", scenario), forms)


def _combined_noise(scenario: str, first: Noise, second: Noise) -> CombinedNoise:
    """Return the combined noise, which applies `second` to the noisy labels of `first`.

    Raises:
        FieldError: if these two kinds of noise cannot be combined.
    """
    excluded_first_kinds = (CleanLabels, OfficialNoise, *SECOND_NOISE_KINDS)
    if isinstance(first, excluded_first_kinds) or not isinstance(second, SECOND_NOISE_KINDS):
        raise FieldError(
            "scenario",
            f"scenario '{scenario}': these two kinds of noise cannot be combined; before the + PMD "
            "noise, human labels and labels from a file are allowed, after the + symmetric and "
            "asymmetric noise",
        )
    return CombinedNoise(first, second)


__all__ = ["NOISE_KINDS", "Noise", "NoiseContext", "noise_of"]
