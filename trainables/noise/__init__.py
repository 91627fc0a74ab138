"""Label noise: one file per kind. A scenario's name says all: `clean`, `symmetric-0.4`.

To add a kind, add a file whose `Noise` subclass reads its own names in `parse`, and list the class
in `KINDS`.
"""

from __future__ import annotations

from trainables.errors import FieldError
from trainables.noise.base import Noise
from trainables.noise.clean import Clean
from trainables.noise.symmetric import Symmetric

KINDS: tuple[type[Noise], ...] = (Clean, Symmetric)


def noise_of(scenario: str) -> Noise:
    """Return the noise that a scenario names.

    Raises:
        FieldError: no kind of noise has such a name, or its rate is out of range.
    """
    for kind in KINDS:
        noise = kind.parse(scenario)
        if noise is not None:
            return noise
    forms = ", ".join(form for kind in KINDS for form in kind.forms)
    raise FieldError("scenario", f"unknown scenario '{scenario}'; known: {forms}")


__all__ = ["KINDS", "Noise", "noise_of"]
