"""A multilayer perceptron for small images."""

from __future__ import annotations

from itertools import pairwise
from math import prod

from trainables.backbones.base import ATTENTION_BRANCH, Backbone, Body, FrozenMap, Parameter
from trainables.lazy import nn


class MLP(Backbone):
    """Multilayer perceptron with ReLU."""

    name = "mlp"
    title = "MLP"
    source = "this project"
    parameters = (
        Parameter("hidden", default=(128, 128), low=1, help="widths of the hidden layers"),
        ATTENTION_BRANCH,
    )

    def build(self, parameters: FrozenMap, image: tuple[int, int, int]) -> Body:
        """Build a flattening layer as features, and all hidden layers as representation."""
        hidden = parameters["hidden"]
        assert isinstance(hidden, tuple)  # noqa: S101 - by its declaration above

        def representation() -> nn.Module:
            layers: list[nn.Module] = []
            for inputs, outputs in pairwise((prod(image), *hidden)):
                layers += [nn.Linear(inputs, outputs), nn.ReLU()]
            return nn.Sequential(*layers)

        return Body(nn.Flatten(), representation, hidden[-1])
