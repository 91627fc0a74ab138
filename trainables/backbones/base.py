"""What every backbone offers. Nothing here imports torch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch import nn

    from trainables.parameters import FrozenMap, Parameter


@dataclass(frozen=True, slots=True)
class Backbone:
    """An architecture up to its representation; heads are put on it by `trainables.network`.

    Attributes:
        name: the word used in studies.
        title: as tables print it.
        source: where it is defined.
        build: from (parameters, input shape (C, H, W)) to a module that maps images
            (b, C, H, W) to representations (b, M), and M.
        parameters: what it can be told.
        image: the input shape (C, H, W) it takes; None for any.
    """

    name: str
    title: str
    source: str
    build: Callable[[FrozenMap, tuple[int, int, int]], tuple[nn.Module, int]]
    parameters: tuple[Parameter, ...] = ()
    image: tuple[int, int, int] | None = None
