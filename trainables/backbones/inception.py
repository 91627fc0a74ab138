"""InceptionResNetV2, for the large pictures of mini-WebVision."""

from __future__ import annotations

from trainables.backbones.base import Backbone, Body, FrozenMap
from trainables.lazy import nn, timm

WIDTH = 1536
"""Channels of the last convolution, averaged over the map."""


def _build(_parameters: FrozenMap, _image: tuple[int, int, int]) -> Body:
    """The one of timm, initialised by it, without a classifier (batch normalisation: ε = 10⁻³)."""
    body = timm.create_model("inception_resnet_v2", pretrained=False, num_classes=0)
    return Body(body, nn.Identity, WIDTH)


INCEPTION_RESNET_V2 = Backbone(
    name="inception-resnet-v2",
    title="InceptionResNetV2",
    source="paper, section 5.1 (mini-WebVision); public code, InceptionResNetV2.py: from scratch, "
    "227×227",
    build=_build,
    smallest=75,
)
