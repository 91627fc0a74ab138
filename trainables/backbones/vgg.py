"""VGG-19 with batch normalisation, for the 64×64 images of ANIMAL-10N."""

from __future__ import annotations

from typing import TYPE_CHECKING

from trainables.backbones.base import HEAD, Backbone, Body, FrozenMap, initialise_convolutions
from trainables.lazy import LazyModule, nn, vgg

if TYPE_CHECKING:
    from trainables.backbones import pooling
else:
    pooling = LazyModule("trainables.backbones.pooling")

CHANNELS = 512
"""Of the last convolution."""
POOLED = 7
"""Height and width that its map is averaged to, whatever it had."""
WIDTH = 4096
"""Of both hidden layers of the MLP."""
HALVINGS = 5
"""Max-pooling layers: a map of 64×64 becomes one of 2×2."""


def _build(_parameters: FrozenMap, image: tuple[int, int, int]) -> Body:
    """The convolutions and the MLP of torchvision; the pooling between them is a matrix product."""
    size = (image[1] >> HALVINGS, image[2] >> HALVINGS)
    features = nn.Sequential(
        vgg.make_layers(vgg.cfgs["E"], batch_norm=True),
        pooling.AveragePool(size, (POOLED, POOLED)),
        nn.Flatten(),
    )
    initialise_convolutions(features)
    return Body(features, _representation, WIDTH)


def _representation() -> nn.Module:
    """Make the MLP: weights from N(0, 0.01²), biases 0, as torchvision and the public code."""
    layers: list[nn.Module] = []
    for inputs in (CHANNELS * POOLED**2, WIDTH):
        linear = nn.Linear(inputs, WIDTH)
        nn.init.normal_(linear.weight, 0, 0.01)
        nn.init.zeros_(linear.bias)
        layers += [linear, nn.ReLU(inplace=True), nn.Dropout(0.5)]
    return nn.Sequential(*layers)


VGG19_BN = Backbone(
    name="vgg19-bn",
    title="VGG-19 BN (64×64)",
    source="paper, section 5.1 (ANIMAL-10N); public code, vgg.py: torchvision's, dropout 0.5",
    build=_build,
    parameters=(HEAD,),
    image=(3, 64, 64),
)
