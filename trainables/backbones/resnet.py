"""ResNets for 32×32 images: torchvision's, with the stem that the CIFAR literature uses."""

from __future__ import annotations

from typing import TYPE_CHECKING

from trainables.backbones.base import Backbone, Body
from trainables.lazy import LazyModule

if TYPE_CHECKING:
    from torch import nn
    from torchvision.models import resnet

    from trainables.parameters import FrozenMap
else:
    nn = LazyModule("torch.nn")
    resnet = LazyModule("torchvision.models.resnet")


def _build_resnet34(_parameters: FrozenMap, image: tuple[int, int, int]) -> Body:
    """A 3×3 stem of stride 1 without max-pooling, then the stages [3, 4, 6, 3] of ResNet-34."""
    body = resnet.ResNet(resnet.BasicBlock, [3, 4, 6, 3])
    body.conv1 = nn.Conv2d(image[0], 64, kernel_size=3, stride=1, padding=1, bias=False)
    body.maxpool = nn.Identity()
    width = body.fc.in_features
    body.fc = nn.Identity()
    return Body(body, nn.Identity, width)


RESNET34 = Backbone(
    name="resnet34",
    title="ResNet-34 (32×32)",
    source="paper, section 5.1; stem of the public code: 3×3, stride 1, no max-pooling",
    build=_build_resnet34,
    image=(3, 32, 32),
)
