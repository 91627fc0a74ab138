"""ResNets of torchvision's blocks, for 32×32 images and for large ones."""

from __future__ import annotations

from trainables.backbones.base import (
    Backbone,
    Body,
    FrozenMap,
    TextParameter,
    initialise_convolutions,
)
from trainables.backbones.weights import load_weights
from trainables.errors import DataError
from trainables.lazy import nn, resnet

WIDTHS = (16, 32, 64)
"""Number of channels in each of the three stages of the ResNet-20."""


class ResNet34(Backbone):
    """ResNet-34 whose first convolution suits 32×32 images: 3×3, stride 1, no max-pooling."""

    name = "resnet34"
    title = "ResNet-34 (32×32)"
    source = "paper, section 5.1; stem of the public code: 3×3, stride 1, no max-pooling"
    image = (3, 32, 32)

    def build(self, parameters: FrozenMap, image: tuple[int, int, int]) -> Body:  # noqa: ARG002
        """Build a 3×3 convolution of stride 1 and stages of 3, 4, 6 and 3 blocks."""
        body = resnet.ResNet(resnet.BasicBlock, [3, 4, 6, 3])
        body.conv1 = nn.Conv2d(image[0], 64, kernel_size=3, stride=1, padding=1, bias=False)
        initialise_convolutions(body.conv1)
        body.maxpool = nn.Identity()
        width = body.fc.in_features
        body.fc = nn.Identity()
        return Body(body, nn.Identity, width)


class ResNetW16(Backbone):
    """ResNet-20 for 32×32 images, with 16, 32 and 64 channels (He et al., CVPR 2016)."""

    name = "resnet-w16"
    title = "ResNet-20 (32×32)"
    source = "He et al., CVPR 2016, section 4.2: n = 3; shortcuts by projection where shapes change"
    image = (3, 32, 32)

    def build(self, parameters: FrozenMap, image: tuple[int, int, int]) -> Body:  # noqa: ARG002
        """Build a 3×3 convolution with 16 channels and three stages of three blocks."""
        layers: list[nn.Module] = [_convolution(3, WIDTHS[0], 3, 1), nn.BatchNorm2d(WIDTHS[0])]
        layers.append(nn.ReLU(inplace=True))
        inputs = WIDTHS[0]
        for width in WIDTHS:
            for stride in (1 if width == inputs else 2, 1, 1):
                layers.append(_basic_block(inputs, width, stride))
                inputs = width
        body = nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten())
        initialise_convolutions(body)
        return Body(body, nn.Identity, inputs)


class ResNet50(Backbone):
    """ResNet-50 of torchvision, with random initial weights or weights from a user's file."""

    name = "resnet50"
    title = "ResNet-50"
    source = "paper, section 5.1 (Clothing1M): from scratch, 224×224"
    parameters = (
        TextParameter(
            "weights",
            default="",
            help="absolute path of a state dict of torchvision's resnet50 to start from, whose "
            "classifier is left out; '' starts from scratch, as the paper does",
        ),
        TextParameter(
            "weights_sha256",
            default="",
            help="SHA-256 of that file: what a run starts from is part of its spec",
        ),
    )
    min_image_size = 64

    def build(self, parameters: FrozenMap, image: tuple[int, int, int]) -> Body:  # noqa: ARG002
        """Build the network of torchvision without its classifier.

        Raises:
            DataError: if the file with the initial weights cannot be used.
        """
        weights, digest = str(parameters["weights"]), str(parameters["weights_sha256"])
        if digest and not weights:
            raise DataError(
                "weights_sha256 is set, but weights is not: "
                "set weights to a file, or remove weights_sha256"
            )
        body = resnet.resnet50(weights=None)
        width = body.fc.in_features
        body.fc = nn.Identity()
        if weights:
            load_weights(body, weights, digest, head="fc.")
        return Body(body, nn.Identity, width)


def _convolution(inputs: int, outputs: int, size: int, stride: int) -> nn.Conv2d:
    """Create a convolution without bias whose padding keeps the size at stride 1."""
    return nn.Conv2d(inputs, outputs, size, stride=stride, padding=size // 2, bias=False)


def _basic_block(inputs: int, width: int, stride: int) -> nn.Module:
    """Build a residual block; if it changes the shape, its shortcut is a projection."""
    projection = None
    if inputs != width:
        projection = nn.Sequential(_convolution(inputs, width, 1, stride), nn.BatchNorm2d(width))
    block: nn.Module = resnet.BasicBlock(inputs, width, stride, projection)
    return block
