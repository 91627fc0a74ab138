"""Pre-activation ResNets for 32×32 images: those of the NAL paper and of NAL's public code."""

from __future__ import annotations

from typing import TYPE_CHECKING

from trainables.backbones.base import Backbone, Body, FrozenMap, initialise_convolutions
from trainables.lazy import LazyModule, nn

if TYPE_CHECKING:
    from trainables.backbones import preact_layers
else:
    preact_layers = LazyModule("trainables.backbones.preact_layers")

WIDTHS = (64, 128, 256, 512)
"""Number of channels in each of the four stages of the network."""


def _stages(
    blocks: tuple[int, int, int, int], *, shortcut_after_activation: bool
) -> list[nn.Module]:
    """Build the blocks of all stages; every stage after the first halves height and width.

    Args:
        blocks: number of blocks in each stage.
        shortcut_after_activation: argument of each `PreActivationBlock`: where shortcuts start.
    """
    layers: list[nn.Module] = []
    inputs = WIDTHS[0]
    for width, count in zip(WIDTHS, blocks, strict=True):
        for _ in range(count):
            stride = 1 if width == inputs else 2
            layers.append(
                preact_layers.PreActivationBlock(
                    inputs, width, stride, shortcut_after_activation=shortcut_after_activation
                )
            )
            inputs = width
    return layers


def _body(layers: list[nn.Module]) -> Body:
    """Append global average pooling to layers and initialise their convolutions."""
    body = nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten())
    initialise_convolutions(body)
    return Body(body, nn.Identity, WIDTHS[-1])


class PreAct34(Backbone):
    """Pre-activation ResNet-34, which the NAL paper names for PMD noise."""

    name = "preact34"
    title = "PreAct ResNet-34 (32×32)"
    source = (
        "He et al., ECCV 2016, with the stages [3, 4, 6, 3] and a 3×3 stem: what the paper "
        "names for PMD noise"
    )
    image = (3, 32, 32)

    def build(self, parameters: FrozenMap, image: tuple[int, int, int]) -> Body:  # noqa: ARG002
        """Build a 3×3 convolution, stages of 3, 4, 6 and 3 blocks, a normalisation and a ReLU."""
        stem = nn.Conv2d(3, WIDTHS[0], 3, padding=1, bias=False)
        last = [nn.BatchNorm2d(WIDTHS[-1]), nn.ReLU(inplace=True)]
        return _body([stem, *_stages((3, 4, 6, 3), shortcut_after_activation=False), *last])


class PreAct18(Backbone):
    """Pre-activation ResNet-18, which NAL's public code builds under the name PreResNet34."""

    name = "preact18"
    title = "PreAct ResNet-18 (32×32)"
    source = (
        "public code, resnet.py, PreResNet34: 18 layers in spite of its name, without a last "
        "normalisation and ReLU"
    )
    image = (3, 32, 32)

    def build(self, parameters: FrozenMap, image: tuple[int, int, int]) -> Body:  # noqa: ARG002
        """Build the 18 layers of NAL's public code.

        There are four stages of 2 blocks. The stem is normalised and activated. All shortcuts start
        after the first activation of their block, so that none is the identity. The output of the
        last stage is pooled without normalisation or activation.
        """
        stem = [nn.Conv2d(3, WIDTHS[0], 3, padding=1, bias=False), nn.BatchNorm2d(WIDTHS[0])]
        return _body(
            [*stem, nn.ReLU(inplace=True), *_stages((2, 2, 2, 2), shortcut_after_activation=True)]
        )
