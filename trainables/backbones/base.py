"""Base class of backbones, and the other names that the file of a backbone imports.

This module does not import torch, so that the command line starts fast.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass, field
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
    """Setting of a backbone whose value is a string, such as a file name."""

    @property
    def allowed(self) -> str:
        """Description of the allowed values, for error messages."""
        return "a text"

    def _convert(self, value: object) -> Value | None:
        """Return the value if it is a string, else None."""
        return value if isinstance(value, str) else None


ATTENTION_BRANCH = Parameter(
    "attention",
    default="linear",
    choices=("linear", "mlp"),
    help="attention branch: one linear layer on the shared representation (paper, section 3.1), or "
    "a second MLP beside the classifier's (public code, vgg.py)",
)
"""Form of the attention branch, a setting of backbones with an MLP before the classifier."""


@dataclass(frozen=True, slots=True)
class Body:
    """Network without the two final layers, the classifier and the attention layer.

    Attributes:
        features: module that maps images, shape (b, C, H, W), to features, shape (b, F).
        build_representation: function that builds a new module, which maps features to
            representations, shape (b, M): the MLP before the classifier, or an identity.
        width: number M of values in a representation.
        build_final_layer: function that builds a final layer from its numbers of inputs and
            outputs, with newly drawn weights.
    """

    features: nn.Module
    build_representation: Callable[[], nn.Module]
    width: int
    build_final_layer: Callable[[int, int], nn.Linear] = field(default_factory=lambda: nn.Linear)


class Backbone(ABC):
    """Base class of backbones: network architectures without classifier and attention layer.

    To add a backbone, write a subclass that declares `name`, `title` and `source`, and whose
    `build` returns the network. `docs/adding-a-backbone.md` shows a complete file. Import torch
    from `trainables.lazy`, so that the command line can read the class without importing torch:

        class LeNet(Backbone):
            name = "lenet"
            title = "LeNet"
            source = "after LeCun et al., 1998"

            def build(self, parameters: FrozenMap, image_shape: tuple[int, int, int]) -> Body:
                ...
    """

    name: ClassVar[str]
    """Name of the backbone in studies: `backbone: {name: lenet}`."""
    title: ClassVar[str]
    """Name of the backbone in tables."""
    source: ClassVar[str]
    """Publication or public code that defines the architecture."""
    parameters: ClassVar[tuple[Parameter, ...]] = ()
    """Settings of the architecture that studies can change (not its weights). With
    `ATTENTION_BRANCH` among them, studies can give the attention branch its own MLP."""
    image_shape: ClassVar[tuple[int, int, int] | None] = None
    """The only accepted image shape (C, H, W); None if the backbone accepts several shapes."""
    min_image_size: ClassVar[int] = 0
    """Smallest accepted height and width of images, which must then have 3 channels; used if
    `image_shape` is None. 0 accepts images of every shape."""

    @abstractmethod
    def build(self, parameters: FrozenMap, image_shape: tuple[int, int, int]) -> Body:
        """Build the network, with newly drawn weights, on the CPU.

        Weights must be drawn from torch's default generator, which is seeded by the caller.

        Args:
            parameters: value of each setting of the backbone, by name (not its weights).
            image_shape: shape (C, H, W) of the images, already accepted by `check`.
        """

    def check(self, image_shape: tuple[int, int, int]) -> None:
        """Check that the backbone accepts images of the given shape.

        Args:
            image_shape: shape (C, H, W) of the images.

        Raises:
            FieldError: if the shape is not accepted; the message names the accepted shapes.
        """
        accepted = ""
        if self.image_shape is not None and image_shape != self.image_shape:
            accepted = _format_shape(self.image_shape)
        elif self.min_image_size and (
            image_shape[0] != 3 or min(image_shape[1:]) < self.min_image_size
        ):
            accepted = f"at least {_format_shape((3, self.min_image_size, self.min_image_size))}"
        if accepted:
            raise FieldError(
                "backbone",
                f"backbone {self.name} takes images of {accepted}, got "
                f"{_format_shape(image_shape)}: "
                "choose another backbone",
            )


def _format_shape(shape: tuple[int, int, int]) -> str:
    """Return a shape as text, such as "3×32×32"."""
    return "×".join(map(str, shape))


def initialise_convolutions(body: nn.Module) -> None:
    """Draw the weights of all convolutions in a module from N(0, 2 / fan-out); set biases to 0.

    Source: He et al., ICCV 2015, as implemented in torchvision. Batch normalisation layers are not
    changed.
    """
    for module in body.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
            if module.bias is not None:
                nn.init.zeros_(module.bias)
