"""What every backbone offers, and what several share. Nothing here imports torch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from trainables.errors import FieldError
from trainables.lazy import nn
from trainables.run.parameters import FrozenMap, Parameter, Value

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = [
    "HEAD",
    "Backbone",
    "Body",
    "FrozenMap",
    "Parameter",
    "Text",
    "initialise_convolutions",
]


@dataclass(frozen=True, slots=True)
class Text(Parameter):
    """A parameter that takes any text."""

    @property
    def allowed(self) -> str:
        """Say which values are allowed, for people."""
        return "a text"

    def _convert(self, value: object) -> Value | None:
        return value if isinstance(value, str) else None


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
    """An architecture up to its representation, on which `training.network` puts the heads.

    Attributes:
        name: the word used in studies.
        title: as tables print it.
        source: where it is defined.
        build: from (parameters, input shape (C, H, W)) to the body.
        parameters: what it can be told; `HEAD` among them if it has a choice of attention branch.
        image: the input shape (C, H, W) it takes; None for more than one.
        smallest: least height and width where `image` is None, of pictures with 3 channels; 0 for
            images of any shape.
    """

    name: str
    title: str
    source: str
    build: Callable[[FrozenMap, tuple[int, int, int]], Body]
    parameters: tuple[Parameter, ...] = ()
    image: tuple[int, int, int] | None = None
    smallest: int = 0

    def check(self, image: tuple[int, int, int]) -> None:
        """Refuse images that the backbone was not made for.

        Args:
            image: input shape (C, H, W).

        Raises:
            FieldError: says which it takes.
        """
        takes = ""
        if self.image is not None and image != self.image:
            takes = _shape(self.image)
        elif self.smallest and (image[0] != 3 or min(image[1:]) < self.smallest):
            takes = f"at least {_shape((3, self.smallest, self.smallest))}"
        if takes:
            raise FieldError(
                "backbone",
                f"backbone {self.name} takes images of {takes}, got {_shape(image)}: "
                "choose another backbone",
            )


def _shape(image: tuple[int, int, int]) -> str:
    return "×".join(map(str, image))


def initialise_convolutions(body: nn.Module) -> None:
    """Draw every convolution from N(0, 2 / fan-out) and set its bias to 0.

    He et al., ICCV 2015, as torchvision has it. Batch normalisations keep the scale 1 and the
    shift 0 that they are made with.
    """
    for module in body.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
            if module.bias is not None:
                nn.init.zeros_(module.bias)
