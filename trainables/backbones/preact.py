"""Two pre-activation ResNets for 32×32 images: one of the NAL paper, one of its public code."""

from __future__ import annotations

from typing import TYPE_CHECKING

from trainables.backbones.base import Backbone, Body, FrozenMap, initialise_convolutions
from trainables.lazy import LazyModule, nn

if TYPE_CHECKING:
    from trainables.backbones import preact_layers
else:
    preact_layers = LazyModule("trainables.backbones.preact_layers")

WIDTHS = (64, 128, 256, 512)
"""Number of channels of the blocks in each of the four groups of blocks (stages)."""


def _build_blocks(
    block_counts: tuple[int, int, int, int], *, shortcut_after_activation: bool
) -> list[nn.Module]:
    """Build the residual blocks of all four stages; stages 2 to 4 each halve height and width.

    Args:
        block_counts: number of blocks in each stage.
        shortcut_after_activation: where shortcuts start; see `PreActivationBlock`.
    """
    blocks: list[nn.Module] = []
    in_channels = WIDTHS[0]
    for out_channels, block_count in zip(WIDTHS, block_counts, strict=True):
        for _ in range(block_count):
            stride = 1 if out_channels == in_channels else 2
            blocks.append(
                preact_layers.PreActivationBlock(
                    in_channels,
                    out_channels,
                    stride,
                    shortcut_after_activation=shortcut_after_activation,
                )
            )
            in_channels = out_channels
    return blocks


def _build_body(layers: list[nn.Module]) -> Body:
    """Return a network of the given layers, followed by global average pooling."""
    body = nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten())
    return Body(body, nn.Identity, WIDTHS[-1])


class PreAct34(Backbone):
    """Pre-activation ResNet-34, the network of the NAL paper for PMD noise."""

    name = "preact34"
    title = "PreAct ResNet-34 (32×32)"
    source = (
        "He et al., ECCV 2016, with the stages [3, 4, 6, 3] and a 3×3 stem: what the paper "
        "names for PMD noise; the paper leaves the initial weights open: those of He et al., "
        "N(0, 2 / fan-out)"
    )
    image_shape = (3, 32, 32)

    def build(self, parameters: FrozenMap, image_shape: tuple[int, int, int]) -> Body:  # noqa: ARG002
        """Build a 3×3 convolution, stages of 3, 4, 6 and 3 blocks, a normalisation and a ReLU."""
        stem = nn.Conv2d(3, WIDTHS[0], 3, padding=1, bias=False)
        final_layers = [nn.BatchNorm2d(WIDTHS[-1]), nn.ReLU(inplace=True)]
        body = _build_body(
            [stem, *_build_blocks((3, 4, 6, 3), shortcut_after_activation=False), *final_layers]
        )
        initialise_convolutions(body.features)
        return body


class PreAct18(Backbone):
    """Pre-activation ResNet-18, which NAL's public code builds under the name PreResNet34."""

    name = "preact18"
    title = "PreAct ResNet-18 (32×32)"
    source = (
        "public code, resnet.py, PreResNet34: 18 layers in spite of its name, without a last "
        "normalisation and ReLU, initial weights of PyTorch's layers"
    )
    image_shape = (3, 32, 32)

    def build(self, parameters: FrozenMap, image_shape: tuple[int, int, int]) -> Body:  # noqa: ARG002
        """Build the 18 layers of NAL's public code.

        The first convolution is followed by a normalisation and a ReLU, then by four stages of 2
        blocks. All shortcuts start after the first activation of their block, so that none is the
        identity. The output of the last stage is pooled without normalisation or activation.
        """
        stem = [nn.Conv2d(3, WIDTHS[0], 3, padding=1, bias=False), nn.BatchNorm2d(WIDTHS[0])]
        return _build_body(
            [
                *stem,
                nn.ReLU(inplace=True),
                *_build_blocks((2, 2, 2, 2), shortcut_after_activation=True),
            ]
        )
