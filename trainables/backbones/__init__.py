"""Registry of backbones: one file per family of architectures, each listed in `BACKBONES`."""

from __future__ import annotations

from trainables.backbones.base import Backbone
from trainables.backbones.inception import InceptionResNetV2
from trainables.backbones.mlp import MLP
from trainables.backbones.preact import PreAct18, PreAct34
from trainables.backbones.resnet import ResNet34, ResNet50, ResNetW16
from trainables.backbones.vgg import VGG19
from trainables.errors import FieldError, suggest
from trainables.extensions import entry_points_of, extension_class, is_extension

BACKBONES: dict[str, Backbone] = {
    backbone.name: backbone
    for backbone in (
        *(MLP(), ResNetW16(), ResNet34(), ResNet50(), PreAct18(), PreAct34()),
        *(VGG19(), InceptionResNetV2()),
    )
}
"""All backbones of this package, by the name that studies use."""


def backbone_of(name: str) -> Backbone:
    """Return the backbone with the given name.

    Raises:
        FieldError: if no backbone has this name; the message suggests the nearest name.
        CodeError: if the backbone comes from outside the package and lacks a required attribute.
    """
    if is_extension(name):
        return extension_class("backbone", name, Backbone)()  # type: ignore[type-abstract]
    if name not in BACKBONES:
        known_names = [*BACKBONES, *entry_points_of("backbone")]
        raise FieldError("backbone", f"unknown backbone '{name}': {suggest(name, known_names)}")
    return BACKBONES[name]


__all__ = ["BACKBONES", "Backbone", "backbone_of"]
