"""A multilayer perceptron for small images."""

from __future__ import annotations

from itertools import pairwise
from math import prod
from typing import TYPE_CHECKING

from trainables.backbones.base import Backbone
from trainables.lazy import LazyModule
from trainables.parameters import FrozenMap, Parameter

if TYPE_CHECKING:
    from torch import nn
else:
    nn = LazyModule("torch.nn")


def _build(parameters: FrozenMap, image: tuple[int, int, int]) -> tuple[nn.Module, int]:
    hidden = parameters["hidden"]
    assert isinstance(hidden, tuple)  # noqa: S101 - by its declaration below
    layers: list[nn.Module] = [nn.Flatten()]
    for wide, narrow in pairwise((prod(image), *hidden)):
        layers += [nn.Linear(wide, narrow), nn.ReLU()]
    return nn.Sequential(*layers), hidden[-1]


MLP = Backbone(
    name="mlp",
    title="MLP",
    source="this project",
    build=_build,
    parameters=(
        Parameter("hidden", default=(128, 128), low=1, help="widths of the hidden layers"),
    ),
)
