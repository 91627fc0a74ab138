"""Base class of backbones, and everything that the file of a backbone needs.

Nothing here imports torch: the command line reads the declarations.
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
    """Parameter whose value is any text."""

    @property
    def allowed(self) -> str:
        """Description of the allowed values, for messages."""
        return "a text"

    def _convert(self, value: object) -> Value | None:
        return value if isinstance(value, str) else None


ATTENTION_BRANCH = Parameter(
    "attention",
    default="linear",
    choices=("linear", "mlp"),
    help="attention branch: one linear layer on the shared representation (paper, section 3.1), or "
    "a second MLP beside the classifier's (public code, vgg.py)",
)
"""Parameter of backbones whose representation is computed by an MLP."""


@dataclass(frozen=True, slots=True)
class Body:
    """Network without its heads.

    Attributes:
        features: module that maps images (b, C, H, W) to features (b, F).
        representation: function that builds a new module, which maps features to representations
            (b, M): the MLP before the classifier, or an identity.
        width: width M of the representation.
    """

    features: nn.Module
    representation: Callable[[], nn.Module]
    width: int


class Backbone(ABC):
    """An architecture up to its representation, on which the project puts both branches.

    To add a backbone, write a subclass that declares `name`, `title` and `source` and builds its
    body in `build`. `docs/adding-a-backbone.md` shows a whole file. Import torch from
    `trainables.lazy`, so that the command line can read the declarations without it:

        class LeNet(Backbone):
            name = "lenet"
            title = "LeNet"
            source = "after LeCun et al., 1998"

            def build(self, parameters: FrozenMap, image: tuple[int, int, int]) -> Body:
                ...
    """

    name: ClassVar[str]
    """Name in studies: `backbone: {name: lenet}`."""
    title: ClassVar[str]
    """Name in tables."""
    source: ClassVar[str]
    """Publication or public code that defines the architecture."""
    parameters: ClassVar[tuple[Parameter, ...]] = ()
    """Settings of the architecture that studies can change (not its weights). If `ATTENTION_BRANCH`
    is one of them, the attention branch can have its own MLP."""
    image: ClassVar[tuple[int, int, int] | None] = None
    """Only input shape (C, H, W) that the backbone accepts; None if it accepts several."""
    min_image_size: ClassVar[int] = 0
    """Smallest height and width of images with 3 channels, where `image` is None; 0 accepts images
    of every shape."""

    @abstractmethod
    def build(self, parameters: FrozenMap, image: tuple[int, int, int]) -> Body:
        """Build the body with freshly drawn weights, on the CPU.

        Torch's generator has been seeded from the run's seed; draw from no other one.

        Args:
            parameters: complete values of `parameters`.
            image: input shape (C, H, W), which `check` has accepted.
        """

    def check(self, image: tuple[int, int, int]) -> None:
        """Check that the backbone accepts images of a shape.

        Args:
            image: input shape (C, H, W).

        Raises:
            FieldError: if it does not; the message names the accepted shapes.
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
    return "×".join(map(str, image))


def initialise_convolutions(body: nn.Module) -> None:
    """Draw the weights of every convolution from N(0, 2 / fan-out) and set biases to 0.

    Source: He et al., ICCV 2015, as implemented in torchvision. Batch normalisations keep their
    default scale 1 and shift 0.
    """
    for module in body.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
            if module.bias is not None:
                nn.init.zeros_(module.bias)
