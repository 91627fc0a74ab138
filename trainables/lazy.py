"""Modules, such as torch, that are imported at their first use.

The command line needs only the declarations (names, parameters, sources) of methods, backbones and
datasets. Only processes that train are to load torch, which takes 3 s and 400 MB. Modules that the
command line imports therefore use ``from trainables.lazy import torch``.
"""

from __future__ import annotations

import importlib
from types import ModuleType
from typing import TYPE_CHECKING

__all__ = ["LazyModule", "functional", "nn", "resnet", "timm", "torch", "vgg"]


class LazyModule(ModuleType):
    """Proxy of a module, which imports the module when an attribute is first read.

    Unlike a module of `importlib.util.LazyLoader`, the proxy is not entered into `sys.modules`.
    Libraries that find torch in `sys.modules` read its attributes, which would import torch.
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
