"""VGG-19 with batch normalisation, for the 64×64 images of ANIMAL-10N."""

from __future__ import annotations

from typing import TYPE_CHECKING

from trainables.backbones.base import (
    ATTENTION_BRANCH,
    Backbone,
    Body,
    FrozenMap,
    initialise_convolutions,
)
from trainables.lazy import LazyModule, nn, vgg

if TYPE_CHECKING:
    from trainables.backbones import pooling
else:
    pooling = LazyModule("trainables.backbones.pooling")

LAST_CHANNELS = 512
"""Number of channels of the last convolution of VGG-19."""
POOLED_SIZE = 7
"""Height and width of the feature maps after average pooling, before the MLP."""
HIDDEN_WIDTH = 4096
"""Width of both hidden layers of the MLP before the classifier."""
MAX_POOLING_COUNT = 5
"""Number of max-pooling layers, each of which halves height and width."""


class VGG19(Backbone):
    """VGG-19 with batch normalisation, for 64×64 images."""

    name = "vgg19-bn"
    title = "VGG-19 BN (64×64)"
    source = (
        "paper, section 5.1 (ANIMAL-10N); public code, vgg.py: torchvision's layers and initial "
        "weights, dropout 0.5"
    )
    parameters = (ATTENTION_BRANCH,)
    image_shape = (3, 64, 64)

    def build(self, parameters: FrozenMap, image_shape: tuple[int, int, int]) -> Body:  # noqa: ARG002
        """Build torchvision's convolutions, deterministic average pooling and torchvision's MLP."""
        map_size = (image_shape[1] >> MAX_POOLING_COUNT, image_shape[2] >> MAX_POOLING_COUNT)
        features = nn.Sequential(
            vgg.make_layers(vgg.cfgs["E"], batch_norm=True),
            pooling.AveragePool(map_size, (POOLED_SIZE, POOLED_SIZE)),
            nn.Flatten(),
        )
        initialise_convolutions(features)
        return Body(features, _build_representation, HIDDEN_WIDTH, _build_linear)


def _build_representation() -> nn.Module:
    """Build the MLP before the classifier, with dropout 0.5."""
    layers: list[nn.Module] = []
    for in_features in (LAST_CHANNELS * POOLED_SIZE**2, HIDDEN_WIDTH):
        linear = _build_linear(in_features, HIDDEN_WIDTH)
        layers += [linear, nn.ReLU(inplace=True), nn.Dropout(0.5)]
    return nn.Sequential(*layers)


def _build_linear(in_features: int, out_features: int) -> nn.Linear:
    """Build a linear layer with weights from N(0, 0.01²) and biases 0."""
    linear = nn.Linear(in_features, out_features)
    nn.init.normal_(linear.weight, 0, 0.01)
    nn.init.zeros_(linear.bias)
    return linear
