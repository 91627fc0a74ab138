"""Modules that are imported when first used, torch's above all.

The command line and the driver read what methods, backbones and datasets declare; only a process
that trains may pay for torch (3 s, 400 MB).
"""

from __future__ import annotations

import importlib
from types import ModuleType
from typing import TYPE_CHECKING

__all__ = ["LazyModule", "functional", "nn", "resnet", "timm", "torch", "vgg"]


class LazyModule(ModuleType):
    """Stands for a module until an attribute of it is asked for.

    Unlike `importlib.util.LazyLoader` it leaves `sys.modules` alone: libraries that look there for
    torch, and then ask it for a type, would import it.
    """

    def __getattr__(self, name: str) -> object:
        return getattr(importlib.import_module(self.__name__), name)


if TYPE_CHECKING:
    import timm
    import torch
    from torch import nn
    from torch.nn import functional
    from torchvision.models import resnet, vgg
else:
    torch = LazyModule("torch")
    nn = LazyModule("torch.nn")
    functional = LazyModule("torch.nn.functional")
    resnet = LazyModule("torchvision.models.resnet")
    vgg = LazyModule("torchvision.models.vgg")
    timm = LazyModule("timm")
