"""Residual block of pre-activation ResNets.

This module imports torch, so other modules must import it by `LazyModule`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from torch import nn

if TYPE_CHECKING:
    import torch


class PreActivationBlock(nn.Module):
    """Pre-activation residual block of two 3×3 convolutions (He et al., ECCV 2016, figure 1b).

    Each convolution is preceded by a batch normalisation and a ReLU.
    """

    def __init__(
        self, in_channels: int, out_channels: int, stride: int, *, shortcut_after_activation: bool
    ) -> None:
        """Create the layers of the block.

        Args:
            in_channels: number of input channels.
            out_channels: number of output channels.
            stride: stride of the first convolution and of the shortcut.
            shortcut_after_activation: whether a shortcut that keeps the shape starts after the
                first activation, as in the public code of NAL. If false, this shortcut is the
                identity, as in He et al. In both cases, a shortcut that changes the shape is a 1×1
                convolution after the first activation.
        """
        super().__init__()
        self.norm1 = nn.BatchNorm2d(in_channels)
        self.conv1 = nn.Conv2d(in_channels, out_channels, 3, stride=stride, padding=1, bias=False)
        self.norm2 = nn.BatchNorm2d(out_channels)
        self.conv2 = nn.Conv2d(out_channels, out_channels, 3, padding=1, bias=False)
        self.projection: nn.Module | None = None
        if stride != 1 or in_channels != out_channels:
            self.projection = nn.Conv2d(in_channels, out_channels, 1, stride=stride, bias=False)
        self.shortcut_after_activation = shortcut_after_activation

    def forward(self, maps: torch.Tensor) -> torch.Tensor:
        """Map feature maps (b, in_channels, H, W) to (b, out_channels, H / stride, W / stride)."""
        activation = nn.functional.relu(self.norm1(maps))
        residual = self.conv2(nn.functional.relu(self.norm2(self.conv1(activation))))
        if self.projection is not None:
            shortcut = self.projection(activation)
        else:
            shortcut = activation if self.shortcut_after_activation else maps
        output: torch.Tensor = residual + shortcut
        return output
