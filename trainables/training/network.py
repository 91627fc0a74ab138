"""The network of all methods: a backbone with NAL's prediction and attention branches."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import nn

from trainables.backbones import backbone_of
from trainables.backbones.base import ATTENTION_BRANCH, Body
from trainables.run.seeds import derive

if TYPE_CHECKING:
    from trainables.run.parameters import FrozenMap


class Network(nn.Module):
    """Backbone with a prediction branch and an attention branch (section 3.1 of the paper).

    Every method trains the same network; methods that ignore the attention branch leave it at its
    initial weights.
    """

    def __init__(self, body: Body, outputs: int, *, parallel: bool) -> None:
        """Add the two branches to a body.

        Args:
            body: layers of the backbone.
            outputs: number of outputs of the prediction branch.
            parallel: whether the attention branch has its own MLP on the features, as in the public
                code for ANIMAL-10N, instead of sharing the representation, as in the paper.
        """
        super().__init__()
        self.features = body.features
        self.representation = body.representation()
        self.prediction = nn.Linear(body.width, outputs)
        self.parallel = body.representation() if parallel else None
        self.attention = nn.Linear(body.width, 1)

    def forward(self, images: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Return logits (b, outputs) and attention logits (b,) of images (b, C, H, W)."""
        features = self.features(images)
        representation = self.representation(features)
        attended = representation if self.parallel is None else self.parallel(features)
        return self.prediction(representation), self.attention(attended).squeeze(1)


def build_network(
    backbone: str, parameters: FrozenMap, image: tuple[int, int, int], outputs: int, seed: int
) -> Network:
    """Return a new network on the CPU, initialised from the `init` axis alone.

    Args:
        backbone: name of the architecture.
        parameters: values of all parameters of the backbone.
        image: shape (C, H, W) of the input images.
        outputs: number of outputs of the prediction branch.
        seed: base seed of the `init` axis.

    Raises:
        FieldError: if the backbone does not support images of this shape.
    """
    architecture = backbone_of(backbone)
    architecture.check(image)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(derive("init", seed) % 2**63)
        body = architecture.build(parameters, image)
        return Network(body, outputs, parallel=parameters.get(ATTENTION_BRANCH.name) == "mlp")
