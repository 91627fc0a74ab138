"""Backbones, one file per family of architectures; a new one must be listed in `BACKBONES`."""

from __future__ import annotations

from trainables.backbones.base import Backbone
from trainables.backbones.inception import InceptionResNetV2
from trainables.backbones.mlp import MLP
from trainables.backbones.preact import PreAct18, PreAct34
from trainables.backbones.resnet import ResNet34, ResNet50, ResNetW16
from trainables.backbones.vgg import VGG19
from trainables.errors import FieldError, suggest
from trainables.extensions import announced, extension_class, is_extension

BACKBONES: dict[str, Backbone] = {
    backbone.name: backbone
    for backbone in (
        *(MLP(), ResNetW16(), ResNet34(), ResNet50(), PreAct18(), PreAct34()),
        *(VGG19(), InceptionResNetV2()),
    )
}
"""All backbones of this package, by name."""


def backbone_of(name: str) -> Backbone:
    """Return the backbone with the given name.

    Raises:
        FieldError: if no backbone has the name; the message suggests similar names.
        CodeError: if the backbone comes from outside the package and lacks a required attribute.
    """
    if is_extension(name):
        return extension_class("backbone", name, Backbone)()  # type: ignore[type-abstract]
    if name not in BACKBONES:
        known = [*BACKBONES, *announced("backbone")]
        raise FieldError("backbone", f"unknown backbone '{name}': {suggest(name, known)}")
    return BACKBONES[name]


__all__ = ["BACKBONES", "Backbone", "backbone_of"]
