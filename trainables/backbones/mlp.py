"""The backbone MLP, a multilayer perceptron for small images."""

from __future__ import annotations

from itertools import pairwise
from math import prod

from trainables.backbones.base import ATTENTION_BRANCH, Backbone, Body, FrozenMap, Parameter
from trainables.lazy import nn


class MLP(Backbone):
    """Multilayer perceptron with ReLU activations."""

    name = "mlp"
    title = "MLP"
    source = "this project"
    parameters = (
        Parameter("hidden", default=(128, 128), low=1, help="widths of the hidden layers"),
        ATTENTION_BRANCH,
    )

    def build(self, parameters: FrozenMap, image_shape: tuple[int, int, int]) -> Body:
        """Build the network: the flattened images are the features, all hidden layers follow."""
        widths = parameters["hidden"]
        assert isinstance(widths, tuple)  # noqa: S101 - by its declaration above

        def build_representation() -> nn.Module:
            layers: list[nn.Module] = []
            for in_features, out_features in pairwise((prod(image_shape), *widths)):
                layers += [nn.Linear(in_features, out_features), nn.ReLU()]
            return nn.Sequential(*layers)

        return Body(nn.Flatten(), build_representation, widths[-1])
