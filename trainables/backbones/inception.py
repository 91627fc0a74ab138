"""The backbone InceptionResNetV2, for the large pictures of mini-WebVision."""

from __future__ import annotations

from trainables.backbones.base import Backbone, Body, FrozenMap
from trainables.lazy import nn, timm

FEATURE_WIDTH = 1536
"""Number of features: channels of the last convolution, after global average pooling."""


class InceptionResNetV2(Backbone):
    """InceptionResNetV2 as implemented in timm."""

    name = "inception-resnet-v2"
    title = "InceptionResNetV2"
    source = (
        "paper, section 5.1 (mini-WebVision); public code, InceptionResNetV2.py: from scratch, "
        "227×227, initial weights of PyTorch's layers"
    )
    min_image_size = 75

    def build(self, parameters: FrozenMap, image_shape: tuple[int, int, int]) -> Body:  # noqa: ARG002
        """Build timm's network without the classifier, with random initial weights."""
        body = timm.create_model("inception_resnet_v2", pretrained=False, num_classes=0)
        return Body(body, nn.Identity, FEATURE_WIDTH)
