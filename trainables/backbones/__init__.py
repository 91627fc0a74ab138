"""Backbones, one file per family; list a new one in `BACKBONES`."""

from __future__ import annotations

from trainables.backbones.base import Backbone
from trainables.backbones.inception import INCEPTION_RESNET_V2
from trainables.backbones.mlp import MLP
from trainables.backbones.preact import PREACT18, PREACT34
from trainables.backbones.resnet import RESNET34, RESNET50, RESNET_W16
from trainables.backbones.vgg import VGG19_BN
from trainables.errors import FieldError, suggest

BACKBONES: dict[str, Backbone] = {
    backbone.name: backbone
    for backbone in (
        *(MLP, RESNET_W16, RESNET34, RESNET50, PREACT18, PREACT34),
        *(VGG19_BN, INCEPTION_RESNET_V2),
    )
}


def backbone_of(name: str) -> Backbone:
    """Return the backbone of that name.

    Raises:
        FieldError: there is none; names the nearest.
    """
    if name not in BACKBONES:
        raise FieldError("backbone", f"unknown backbone '{name}': {suggest(name, BACKBONES)}")
    return BACKBONES[name]


__all__ = ["BACKBONES", "Backbone", "backbone_of"]
