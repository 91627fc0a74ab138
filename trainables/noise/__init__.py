"""Kinds of label noise, one file each. A scenario, such as `symmetric-0.4`, is defined by its name.

To add a kind, write a file with a `Noise` subclass whose `parse` reads the kind's scenario names,
and list the class in `NOISE_KINDS`.
"""

from __future__ import annotations

from trainables.errors import FieldError
from trainables.extensions import MARK, class_name_of, extension_class, is_extension
from trainables.noise.asymmetric import AsymmetricNoise
from trainables.noise.base import Noise, NoiseContext
from trainables.noise.clean import CleanLabels
from trainables.noise.combined import SEPARATOR, CombinedNoise
from trainables.noise.from_file import LabelsFromFile
from trainables.noise.human import HumanLabels
from trainables.noise.official import OfficialNoise
from trainables.noise.pmd import PmdNoise
from trainables.noise.symmetric import SymmetricNoise

NOISE_KINDS: tuple[type[Noise], ...] = (
    CleanLabels,
    SymmetricNoise,
    AsymmetricNoise,
    OfficialNoise,
    PmdNoise,
    HumanLabels,
    LabelsFromFile,
)
"""Classes of all kinds of label noise of this package, except `CombinedNoise`."""
SECOND_NOISE_KINDS = (SymmetricNoise, AsymmetricNoise)
"""Classes of the noise that `CombinedNoise` can apply to labels that are already noisy."""


def noise_of(scenario: str) -> Noise:
    """Return the label noise that a scenario name defines.

    Raises:
        FieldError: if the name is not that of a scenario, or its rate is out of range.
    """
    first_name, separator, second_name = scenario.partition(SEPARATOR)
    if separator and not is_extension(scenario):
        return _combined_noise(scenario, _single_noise(first_name), _single_noise(second_name))
    return _single_noise(scenario)


def is_shipped_noise(scenario: str) -> bool:
    """Return whether a scenario name is of a noise kind of this package, even with a wrong rate."""
    try:
        return any(kind.parse(scenario.partition(SEPARATOR)[0]) is not None for kind in NOISE_KINDS)
    except FieldError:
        return True


def _single_noise(scenario: str) -> Noise:
    """Return the label noise of a scenario name without a "+".

    Raises:
        FieldError: if the name is not that of a scenario, or its rate is out of range.
    """
    if is_extension(scenario):
        return _outside_noise(scenario)
    for kind in NOISE_KINDS:
        noise = kind.parse(scenario)
        if noise is not None:
            return noise
    forms = ", ".join(
        [form for kind in NOISE_KINDS for form in kind.name_forms] + list(CombinedNoise.name_forms)
    )
    raise FieldError("scenario", f"unknown scenario '{scenario}'; known: {forms}")


def _outside_noise(scenario: str) -> Noise:
    """Return the label noise of a scenario whose noise class is defined outside the package.

    Raises:
        FieldError: if the class does not know the scenario, or its code is not available.
    """
    stem, _, digits = scenario.partition(MARK)
    name = f"{class_name_of(stem)}{MARK}{digits}"
    kind = extension_class("noise", name, Noise)  # type: ignore[type-abstract]
    noise = kind.parse(stem)
    if noise is None:
        forms = ", ".join(kind.name_forms)
        raise FieldError("scenario", f"{kind.__name__} has no scenario '{stem}'; known: {forms}")
    return noise


def _combined_noise(scenario: str, first: Noise, second: Noise) -> CombinedNoise:
    """Return the noise that applies `second` to the noisy labels of `first`.

    Raises:
        FieldError: if these two kinds of noise cannot be combined.
    """
    excluded = (CleanLabels, OfficialNoise, *SECOND_NOISE_KINDS)
    if isinstance(first, excluded) or not isinstance(second, SECOND_NOISE_KINDS):
        raise FieldError(
            "scenario",
            f"scenario '{scenario}': after the + comes symmetric or asymmetric noise, before it "
            "PMD noise, human labels or labels from a file",
        )
    return CombinedNoise(first, second)


__all__ = ["NOISE_KINDS", "Noise", "NoiseContext", "noise_of"]
