"""Text for numbers, hyperparameter values and extensions in tables and messages."""

from __future__ import annotations

from typing import TYPE_CHECKING

from trainables.extensions import without_hash

if TYPE_CHECKING:
    from collections.abc import Mapping

    from trainables.run.parameters import Value

GREEK_LETTERS = {"lambda": "λ", "alpha": "α", "beta": "β"}
"""Greek letters by which the NAL paper denotes hyperparameters, by hyperparameter name."""


def format_values(values: Mapping[str, Value]) -> str:
    """Format hyperparameter values, for example "λ = 1.2, α = 0.9"."""
    texts = {
        name: f"{value:.4g}" if isinstance(value, float) else str(value)
        for name, value in values.items()
    }
    names = sorted(texts, key=lambda name: name not in GREEK_LETTERS)
    return ", ".join(f"{GREEK_LETTERS.get(name, name)} = {texts[name]}" for name in names)


def format_accuracy(mean: float | None, std: float | None) -> str:
    """Format an accuracy in percent, for example "93.49 ± 0.07", or "–" if there is none."""
    if mean is None:
        return "–"
    return f"{mean:.2f}" if std is None else f"{mean:.2f} ± {std:.2f}"


def format_count(count: int, noun: str, plural: str = "") -> str:
    """Format a number with its noun, for example "1 seed" or "3 seeds".

    Args:
        count: number to format.
        noun: noun in the singular.
        plural: plural of the noun; "" for the noun with an "s".
    """
    return f"{count} {noun if count == 1 else plural or noun + 's'}"


def format_extension(name: str, sha256: object) -> str:
    """Format the name and hash of an extension, as in "LabelSmoothing, SHA-256 1f3c9a2b7d4e"."""
    return f"{without_hash(name)}, SHA-256 {str(sha256)[:12]}"
