"""Numbers and values as sentences have them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from trainables.extensions import without_hash

if TYPE_CHECKING:
    from collections.abc import Mapping

    from trainables.run.parameters import Value

LETTERS = {"lambda": "λ", "alpha": "α", "beta": "β"}
"""The paper's letters for the names that studies use."""


def point(values: Mapping[str, Value]) -> str:
    """Write hyperparameter values for people: "λ = 1.2, α = 0.9"."""
    shown = {n: f"{v:.4g}" if isinstance(v, float) else str(v) for n, v in values.items()}
    names = sorted(shown, key=lambda name: name not in LETTERS)
    return ", ".join(f"{LETTERS.get(name, name)} = {shown[name]}" for name in names)


def counted(count: int, thing: str, things: str = "") -> str:
    """Write a number of things: "1 seed", "3 seeds"."""
    return f"{count} {thing if count == 1 else things or thing + 's'}"


def code_text(name: str, sha256: object) -> str:
    """Return the text for an extension: "LabelSmoothing, SHA-256 1f3c9a2b7d4e"."""
    return f"{without_hash(name)}, SHA-256 {str(sha256)[:12]}"
