"""What every backbone offers. Nothing here imports torch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from trainables.parameters import Parameter

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch import nn

    from trainables.parameters import FrozenMap

HEAD = Parameter(
    "attention",
    default="linear",
    choices=("linear", "mlp"),
    help="attention branch: one linear layer on the shared representation (paper, section 3.1), or "
    "a second MLP beside the classifier's (public code, vgg.py)",
)
"""For backbones whose representation is itself made by an MLP."""


@dataclass(frozen=True, slots=True)
class Body:
    """A network without its heads.

    Attributes:
        features: from images (b, C, H, W) to features (b, F).
        representation: makes a new module from features to representations (b, M): the MLP before
            the classifier, or an identity.
        width: M.
    """

    features: nn.Module
    representation: Callable[[], nn.Module]
    width: int


@dataclass(frozen=True, slots=True)
class Backbone:
    """An architecture up to its representation; heads are put on it by `trainables.network`.

    Attributes:
        name: the word used in studies.
        title: as tables print it.
        source: where it is defined.
        build: from (parameters, input shape (C, H, W)) to the body.
        parameters: what it can be told; `HEAD` among them if it has a choice of attention branch.
        image: the input shape (C, H, W) it takes; None for any.
    """

    name: str
    title: str
    source: str
    build: Callable[[FrozenMap, tuple[int, int, int]], Body]
    parameters: tuple[Parameter, ...] = ()
    image: tuple[int, int, int] | None = None
