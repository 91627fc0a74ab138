"""A multilayer perceptron for small images."""

from __future__ import annotations

from itertools import pairwise
from math import prod

from trainables.backbones.base import HEAD, Backbone, Body, FrozenMap, Parameter
from trainables.lazy import nn


def _build(parameters: FrozenMap, image: tuple[int, int, int]) -> Body:
    hidden = parameters["hidden"]
    assert isinstance(hidden, tuple)  # noqa: S101 - by its declaration below

    def representation() -> nn.Module:
        layers: list[nn.Module] = []
        for wide, narrow in pairwise((prod(image), *hidden)):
            layers += [nn.Linear(wide, narrow), nn.ReLU()]
        return nn.Sequential(*layers)

    return Body(nn.Flatten(), representation, hidden[-1])


MLP = Backbone(
    name="mlp",
    title="MLP",
    source="this project",
    build=_build,
    parameters=(
        Parameter("hidden", default=(128, 128), low=1, help="widths of the hidden layers"),
        HEAD,
    ),
)
