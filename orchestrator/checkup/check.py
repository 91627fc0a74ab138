"""Result of one check of the machine or the home folder."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Level = Literal["ok", "warning", "problem"]
"""How serious a result is: with a problem, sweeps cannot be carried out or trusted."""


@dataclass(frozen=True, slots=True)
class Check:
    """Result of one check.

    Attributes:
        name: what was checked, in a word or two.
        level: how serious the result is.
        text: what was seen.
        advice: what to do next; "" if there is nothing to do.
    """

    name: str
    level: Level
    text: str
    advice: str = ""
