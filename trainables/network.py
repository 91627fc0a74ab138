"""A backbone with the two branches of NAL on its representation."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import nn

from trainables.backbones import backbone_of
from trainables.seeds import derive

if TYPE_CHECKING:
    from trainables.parameters import FrozenMap


class Network(nn.Module):
    """Prediction and attention branch share the penultimate representation (section 3.1).

    Every method trains the same network; one that ignores the attention branch leaves it as it
    was initialised.
    """

    def __init__(self, body: nn.Module, width: int, outputs: int) -> None:
        super().__init__()
        self.body = body
        self.prediction = nn.Linear(width, outputs)
        self.attention = nn.Linear(width, 1)

    def forward(self, images: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Map images (b, C, H, W) to logits (b, outputs) and attention logits (b,)."""
        representation = self.body(images)
        return self.prediction(representation), self.attention(representation).squeeze(1)


def build_network(
    backbone: str, parameters: FrozenMap, image: tuple[int, int, int], outputs: int, seed: int
) -> Network:
    """Build a network on the CPU, initialised from the `init` axis alone.

    Args:
        backbone: name of the architecture.
        parameters: its parameters, complete.
        image: input shape (C, H, W).
        outputs: of the prediction branch.
        seed: base seed of the `init` axis.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(derive("init", seed) % 2**63)
        body, width = backbone_of(backbone).build(parameters, image)
        return Network(body, width, outputs)
