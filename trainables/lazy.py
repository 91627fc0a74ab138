"""Modules that are imported at their first use, above all torch.

The command line and the driver import methods, backbones and datasets only for their declarations;
torch (3 s, 400 MB) is to be loaded only in processes that train. Modules that are imported without
torch take it from here: ``from trainables.lazy import torch``.
"""

from __future__ import annotations

import importlib
from types import ModuleType
from typing import TYPE_CHECKING

__all__ = ["LazyModule", "functional", "nn", "resnet", "timm", "torch", "vgg"]


class LazyModule(ModuleType):
    """Proxy of a module that imports it when an attribute is first read.

    Unlike `importlib.util.LazyLoader`, it does not enter the module into `sys.modules`: libraries
    that find torch there read its types, which would import it.
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
