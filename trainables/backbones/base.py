"""Base class of backbones, and the other names that a backbone's file imports.

This module does not import torch, since the command line reads the declarations of all backbones.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from trainables.errors import FieldError
from trainables.lazy import nn
from trainables.run.parameters import FrozenMap, Parameter, Value

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = [
    "ATTENTION_BRANCH",
    "Backbone",
    "Body",
    "FrozenMap",
    "Parameter",
    "TextParameter",
    "initialise_convolutions",
]


@dataclass(frozen=True, slots=True)
class TextParameter(Parameter):
    """Setting of a backbone whose value is a text, such as a file name."""

    @property
    def allowed(self) -> str:
        """Description of the allowed values, for error messages."""
        return "a text"

    def _convert(self, value: object) -> Value | None:
        """Return the value; None if it is not a text."""
        return value if isinstance(value, str) else None


ATTENTION_BRANCH = Parameter(
    "attention",
    default="linear",
    choices=("linear", "mlp"),
    help="attention branch: one linear layer on the shared representation (paper, section 3.1), or "
    "a second MLP beside the classifier's (public code, vgg.py)",
)
"""Setting of backbones with an MLP before the classifier: the form of the attention branch."""


@dataclass(frozen=True, slots=True)
class Body:
    """Network without its classifier and its attention branch.

    Attributes:
        features: module that maps images (b, C, H, W) to features (b, F).
        representation: function that builds a new module from features to representations (b, M):
            the MLP before the classifier, or an identity.
        width: number M of values in a representation.
    """

    features: nn.Module
    representation: Callable[[], nn.Module]
    width: int


class Backbone(ABC):
    """Base class of network architectures, without the classifier and the attention branch.

    To add a backbone, write a subclass that declares `name`, `title` and `source`, and whose
    `build` returns the network. `docs/adding-a-backbone.md` shows a complete file. Import torch
    from `trainables.lazy`, so that the command line can read the declarations without it:

        class LeNet(Backbone):
            name = "lenet"
            title = "LeNet"
            source = "after LeCun et al., 1998"

            def build(self, parameters: FrozenMap, image: tuple[int, int, int]) -> Body:
                ...
    """

    name: ClassVar[str]
    """Name of the backbone in studies: `backbone: {name: lenet}`."""
    title: ClassVar[str]
    """Name of the backbone in tables."""
    source: ClassVar[str]
    """Publication or public code that defines the architecture."""
    parameters: ClassVar[tuple[Parameter, ...]] = ()
    """Settings of the architecture that studies can change (not its weights). If `ATTENTION_BRANCH`
    is one of them, the attention branch can have its own MLP."""
    image: ClassVar[tuple[int, int, int] | None] = None
    """Shape (C, H, W) of the images that the backbone accepts; None if it accepts several."""
    min_image_size: ClassVar[int] = 0
    """Smallest height and width of accepted images, which must have 3 channels. It applies if
    `image` is None; at 0, images of every shape are accepted."""

    @abstractmethod
    def build(self, parameters: FrozenMap, image: tuple[int, int, int]) -> Body:
        """Build the network, with newly drawn weights, on the CPU.

        Weights must be drawn from torch's default generator, which is seeded by the caller.

        Args:
            parameters: value of each setting of the backbone (not its weights).
            image: shape (C, H, W) of the images, which `check` has accepted.
        """

    def check(self, image: tuple[int, int, int]) -> None:
        """Check that the backbone accepts images of a shape.

        Args:
            image: shape (C, H, W) of the images.

        Raises:
            FieldError: if the shape is not accepted; the message names those that are.
        """
        accepted = ""
        if self.image is not None and image != self.image:
            accepted = _format_shape(self.image)
        elif self.min_image_size and (image[0] != 3 or min(image[1:]) < self.min_image_size):
            accepted = f"at least {_format_shape((3, self.min_image_size, self.min_image_size))}"
        if accepted:
            raise FieldError(
                "backbone",
                f"backbone {self.name} takes images of {accepted}, got {_format_shape(image)}: "
                "choose another backbone",
            )


def _format_shape(image: tuple[int, int, int]) -> str:
    """Return a shape as text, such as "3×32×32"."""
    return "×".join(map(str, image))


def initialise_convolutions(body: nn.Module) -> None:
    """Draw the weights of all convolutions of a module from N(0, 2 / fan-out); set biases to 0.

    Source: He et al., ICCV 2015, as implemented in torchvision. Batch normalisations are not
    changed.
    """
    for module in body.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
            if module.bias is not None:
                nn.init.zeros_(module.bias)
