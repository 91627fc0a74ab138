"""ResNets built from torchvision's blocks, for 32×32 images and for large pictures."""

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
"""Number of channels of the blocks in each of the three groups of blocks (stages) of ResNet-20."""


class ResNet34(Backbone):
    """ResNet-34 whose first convolution suits 32×32 images: 3×3, stride 1, no max-pooling."""

    name = "resnet34"
    title = "ResNet-34 (32×32)"
    source = (
        "paper, section 5.1; public code, resnet.py: 3×3 stem of stride 1, no max-pooling; initial "
        "weights, which the paper leaves open, of PyTorch's layers"
    )
    image_shape = (3, 32, 32)

    def build(self, parameters: FrozenMap, image_shape: tuple[int, int, int]) -> Body:  # noqa: ARG002
        """Build a 3×3 convolution of stride 1, followed by stages of 3, 4, 6 and 3 blocks.

        The initial weights are those of PyTorch's layers, uniform in ±1 / √fan-in, as in the public
        code; the paper does not mention them.
        """
        body = resnet.ResNet(resnet.BasicBlock, [3, 4, 6, 3])
        body.conv1 = nn.Conv2d(image_shape[0], 64, kernel_size=3, stride=1, padding=1, bias=False)
        body.maxpool = nn.Identity()
        for module in body.modules():
            if isinstance(module, nn.Conv2d):  # torchvision draws weights from N(0, 2 / fan-out)
                module.reset_parameters()
        width = body.fc.in_features
        body.fc = nn.Identity()
        return Body(body, nn.Identity, width)


class ResNetW16(Backbone):
    """ResNet-20 for 32×32 images, with 16, 32 and 64 channels (He et al., CVPR 2016).

    As in fb.resnet.torch, shortcuts are projections (type B) where shapes change; those of the
    paper's networks for CIFAR-10 have no weights (type A).
    """

    name = "resnet-w16"
    title = "ResNet-20 (32×32)"
    source = (
        "He et al., CVPR 2016, section 4.2, n = 3; from fb.resnet.torch, models/resnet.lua: "
        "shortcuts by projection where shapes change, convolutions drawn from N(0, 2 / fan-out)"
    )
    image_shape = (3, 32, 32)

    def build(self, parameters: FrozenMap, image_shape: tuple[int, int, int]) -> Body:  # noqa: ARG002
        """Build a 3×3 convolution with 16 channels, followed by three stages of three blocks."""
        layers: list[nn.Module] = [_convolution(3, WIDTHS[0], 3, 1), nn.BatchNorm2d(WIDTHS[0])]
        layers.append(nn.ReLU(inplace=True))
        in_channels = WIDTHS[0]
        for out_channels in WIDTHS:
            for stride in (1 if out_channels == in_channels else 2, 1, 1):
                layers.append(_basic_block(in_channels, out_channels, stride))
                in_channels = out_channels
        body = nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten())
        initialise_convolutions(body)
        return Body(body, nn.Identity, in_channels)


class ResNet50(Backbone):
    """ResNet-50 of torchvision, with random initial weights or weights from a user's file."""

    name = "resnet50"
    title = "ResNet-50"
    source = (
        "paper, section 5.1 (Clothing1M): from scratch, 224×224; public code, "
        "resnet_for_clothing1m.py: torchvision's layers and initial weights"
    )
    parameters = (
        TextParameter(
            "weights",
            default="",
            help="absolute path of a file with initial weights, a state dict of torchvision's "
            "resnet50, whose classifier is left out; '' starts from scratch, as the paper does",
        ),
        TextParameter(
            "weights_sha256",
            default="",
            help="SHA-256 of the file with the initial weights, which is part of the run's spec",
        ),
    )
    min_image_size = 64

    def build(self, parameters: FrozenMap, image_shape: tuple[int, int, int]) -> Body:  # noqa: ARG002
        """Build torchvision's network without the classifier.

        Raises:
            DataError: if the file with the initial weights cannot be used.
        """
        path, sha256 = str(parameters["weights"]), str(parameters["weights_sha256"])
        if sha256 and not path:
            raise DataError(
                "weights_sha256 is set, but weights is not: "
                "set weights to a file, or remove weights_sha256"
            )
        body = resnet.resnet50(weights=None)
        width = body.fc.in_features
        body.fc = nn.Identity()
        if path:
            load_weights(body, path, sha256, classifier_prefix="fc.")
        return Body(body, nn.Identity, width)


def _convolution(in_channels: int, out_channels: int, kernel_size: int, stride: int) -> nn.Conv2d:
    """Create a convolution without bias, padded so that stride 1 keeps height and width."""
    return nn.Conv2d(
        in_channels, out_channels, kernel_size, stride=stride, padding=kernel_size // 2, bias=False
    )


def _basic_block(in_channels: int, out_channels: int, stride: int) -> nn.Module:
    """Create a residual block; a shortcut that changes the channels is a 1×1 convolution."""
    projection = None
    if in_channels != out_channels:
        projection = nn.Sequential(
            _convolution(in_channels, out_channels, 1, stride), nn.BatchNorm2d(out_channels)
        )
    block: nn.Module = resnet.BasicBlock(in_channels, out_channels, stride, projection)
    return block
