"""Text for numbers, hyperparameter values and extensions in tables and messages."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

from trainables.extensions import without_hash
from trainables.run.parameters import Space, format_value

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from trainables.run.parameters import AnySpace, Value

T = TypeVar("T")

GREEK_LETTERS = {"lambda": "λ", "alpha": "α", "beta": "β"}
"""Greek letters by which the NAL paper denotes hyperparameters, by hyperparameter name."""


def shortened_list(names: Sequence[str], count: int) -> str:
    """Return the first names of a list, separated by commas, and "…" if others are left out.

    Args:
        names: names in the list.
        count: largest number of names to return.
    """
    return ", ".join([*names[:count], *(["…"] if len(names) > count else [])])


def format_values(values: Mapping[str, Value | None]) -> str:
    """Format hyperparameter values, for example "λ = 1.2, α = 0.9"."""
    texts = {
        name: f"{value:.4g}"
        if isinstance(value, float)
        else "none"
        if value is None
        else str(value).lower()
        if isinstance(value, bool)
        else str(value)
        for name, value in values.items()
    }
    return ", ".join(
        f"{GREEK_LETTERS.get(name, name)} = {text}" for name, text in in_order(texts).items()
    )


def in_order(values: Mapping[str, T]) -> dict[str, T]:
    """Return values by hyperparameter in the order of tables: λ, α, β, then the others."""
    order = list(GREEK_LETTERS)
    names = sorted(
        values, key=lambda name: order.index(name) if name in GREEK_LETTERS else len(order)
    )
    return {name: values[name] for name in names}


def printable(text: str) -> str:
    """Return a text without control and formatting characters, with a space for a line break."""
    if text.isprintable():
        return text
    return "".join(
        character if character.isprintable() else " " if character.isspace() else ""
        for character in text
    )


NO_NUMBER = "–"
"""Text in the place of a number that does not exist."""


def format_accuracy(mean: float | None, spread: float | None, *, one_run: bool = False) -> str:
    """Format an accuracy in percent, for example "93.49 ± 0.07", or "–" if there is none.

    Args:
        mean: mean accuracy.
        spread: number to print after ±; None if it is unknown.
        one_run: whether the accuracy is that of a single run, which has no ±: "93.49 ± –".
    """
    if mean is None:
        return NO_NUMBER
    if spread is None:
        return f"{mean:.2f} ± {NO_NUMBER}" if one_run else f"{mean:.2f}"
    return f"{mean:.2f} ± {spread:.2f}"


def format_space(name: str, space: AnySpace) -> str:
    """Format the search space of a hyperparameter, for example "λ in [0.05, 20], log".

    Conditions follow: "targets in {hard, soft}, where clamps is true".
    """
    texts = [f"{GREEK_LETTERS.get(name, name)} in {space}"]
    if isinstance(space, Space):
        texts += ["integers"] * space.integer + ["log"] * space.log
        if space.prior is not None:
            texts.append(f"prior of width {space.prior.width:g}")
    if space.when is not None:
        conditions = (
            f"{GREEK_LETTERS.get(other, other)} is {' or '.join(map(format_value, values))}"
            for other, values in space.when.items()
        )
        texts.append(f"where {' and '.join(conditions)}")
    return ", ".join(texts)


def format_p_value(p_value: float) -> str:
    """Format a p-value, such as "0.012" or "< 0.001"."""
    return "< 0.001" if p_value < 0.0005 else f"{p_value:.3f}"


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
