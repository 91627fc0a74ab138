"""Formatting of numbers and hyperparameter values in sentences."""

from __future__ import annotations

from typing import TYPE_CHECKING

from trainables.extensions import without_hash

if TYPE_CHECKING:
    from collections.abc import Mapping

    from trainables.run.parameters import Value

GREEK_LETTERS = {"lambda": "λ", "alpha": "α", "beta": "β"}
"""Greek letters that the NAL paper uses for hyperparameters, by name."""


def format_values(values: Mapping[str, Value]) -> str:
    """Format hyperparameter values, for example "λ = 1.2, α = 0.9"."""
    texts = {n: f"{v:.4g}" if isinstance(v, float) else str(v) for n, v in values.items()}
    names = sorted(texts, key=lambda name: name not in GREEK_LETTERS)
    return ", ".join(f"{GREEK_LETTERS.get(name, name)} = {texts[name]}" for name in names)


def format_count(count: int, noun: str, plural: str = "") -> str:
    """Format a number with a noun, for example "1 seed" or "3 seeds"."""
    return f"{count} {noun if count == 1 else plural or noun + 's'}"


def code_text(name: str, sha256: object) -> str:
    """Return the text for an extension: "LabelSmoothing, SHA-256 1f3c9a2b7d4e"."""
    return f"{without_hash(name)}, SHA-256 {str(sha256)[:12]}"
