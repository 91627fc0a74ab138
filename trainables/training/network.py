"""The network that every method trains: a backbone with a prediction and an attention branch."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

import torch
from torch import nn

from trainables.backbones import backbone_of
from trainables.backbones.base import ATTENTION_BRANCH, Body
from trainables.run.seeds import derive_seed

if TYPE_CHECKING:
    from trainables.run.parameters import FrozenMap


class Network(nn.Module):
    """Backbone with a prediction branch and an attention branch (section 3.1 of the NAL paper).

    Every method trains the same network; methods without attention leave the attention branch at
    its initial weights.
    """

    def __init__(self, body: Body, logit_count: int, *, has_attention_mlp: bool) -> None:
        """Add the prediction and the attention branch to the layers of a backbone.

        Args:
            body: layers of the backbone.
            logit_count: number of logits that the prediction branch outputs.
            has_attention_mlp: whether the attention branch has hidden layers (an MLP) of its own,
                as in NAL's public code for ANIMAL-10N. If not, it shares the hidden layers of the
                prediction branch, as in the NAL paper.
        """
        super().__init__()
        self.features = body.features
        self.representation = body.build_representation()
        self.prediction = body.build_final_layer(body.width, logit_count)
        # The attribute names are keys of checkpoints.
        self.parallel = body.build_representation() if has_attention_mlp else None
        self.attention = body.build_final_layer(body.width, 1)

    def forward(self, images: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Return the class logits and the attention logits of a batch of images.

        Args:
            images: normalised images, shape (b, C, H, W).

        Returns:
            Class logits, shape (b, logit_count), and attention logits, shape (b,).
        """
        features = self.features(images)
        representation = self.representation(features)
        attention_input = representation if self.parallel is None else self.parallel(features)
        return self.prediction(representation), self.attention(attention_input).squeeze(1)


def build_network(
    backbone: str,
    parameters: FrozenMap,
    image_shape: tuple[int, int, int],
    logit_count: int,
    seed: int,
) -> Network:
    """Return a new network on the CPU, whose initial weights depend only on `seed`.

    Args:
        backbone: name of the backbone, such as "resnet34".
        parameters: settings of the backbone by name (not its weights).
        image_shape: shape (C, H, W) of the input images.
        logit_count: number of logits that the prediction branch outputs.
        seed: base seed of the initial weights (seed axis "init").

    Raises:
        FieldError: if the backbone does not support images of this shape.
    """
    architecture = backbone_of(backbone)
    architecture.check(image_shape)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(derive_seed("init", seed) % 2**63)
        body = architecture.build(parameters, image_shape)
        has_attention_mlp = parameters.get(ATTENTION_BRANCH.name) == "mlp"
        return Network(body, logit_count, has_attention_mlp=has_attention_mlp)


def weights_digest(network: nn.Module) -> str:
    """Return the SHA-256 of the names, shapes and bytes of a network's weights and buffers."""
    sha256 = hashlib.sha256()
    for name, tensor in network.state_dict().items():
        sha256.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
        sha256.update(tensor.detach().cpu().reshape(-1).view(torch.uint8).numpy().tobytes())
    return sha256.hexdigest()
