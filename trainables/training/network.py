"""A backbone with the two branches of NAL on its representation."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import nn

from trainables.backbones import backbone_of
from trainables.backbones.base import HEAD, Body
from trainables.run.seeds import derive

if TYPE_CHECKING:
    from trainables.run.parameters import FrozenMap


class Network(nn.Module):
    """Prediction and attention branch on a backbone (section 3.1).

    Every method trains the same network; one that ignores the attention branch leaves it as it
    was initialised.
    """

    def __init__(self, body: Body, outputs: int, *, parallel: bool) -> None:
        """Put the heads on a body.

        Args:
            body: of the backbone.
            outputs: of the prediction branch.
            parallel: whether the attention branch has an MLP of its own on the features, as in
                the public code for ANIMAL-10N, or shares the representation, as in the paper.
        """
        super().__init__()
        self.features = body.features
        self.representation = body.representation()
        self.prediction = nn.Linear(body.width, outputs)
        self.parallel = body.representation() if parallel else None
        self.attention = nn.Linear(body.width, 1)

    def forward(self, images: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Map images (b, C, H, W) to logits (b, outputs) and attention logits (b,)."""
        features = self.features(images)
        representation = self.representation(features)
        own = representation if self.parallel is None else self.parallel(features)
        return self.prediction(representation), self.attention(own).squeeze(1)


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

    Raises:
        FieldError: the backbone was not made for such images.
    """
    chosen = backbone_of(backbone)
    chosen.check(image)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(derive("init", seed) % 2**63)
        body = chosen.build(parameters, image)
        return Network(body, outputs, parallel=parameters.get(HEAD.name) == "mlp")
