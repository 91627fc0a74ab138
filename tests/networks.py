"""Networks for the tests of backbones, and their layers as plain functions of a state dict."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch.nn import functional

from trainables.backbones import backbone_of
from trainables.run.parameters import complete_parameters
from trainables.training.network import Network, build_network

if TYPE_CHECKING:
    from collections.abc import Mapping

CIFAR = (3, 32, 32)


def image_of(name: str) -> tuple[int, int, int]:
    """Return the shape of the smallest images that a backbone accepts."""
    backbone = backbone_of(name)
    if backbone.min_image_size:
        return (3, backbone.min_image_size, backbone.min_image_size)
    return backbone.image_shape or (1, 8, 8)


def build(
    name: str,
    image: tuple[int, int, int] | None = None,
    outputs: int = 10,
    seed: int = 0,
    values: Mapping[str, object] | None = None,
) -> Network:
    parameters = complete_parameters(name, backbone_of(name).parameters, values or {})
    return build_network(name, parameters, image or image_of(name), outputs, seed)


def build_without_memory(name: str, outputs: int = 10, **values: object) -> Network:
    """Build a network on the meta device: it has shapes, but takes neither time nor memory."""
    with torch.device("meta"):
        return build(name, outputs=outputs, values=values)


def count(module: torch.nn.Module) -> int:
    return sum(weight.numel() for weight in module.parameters())


def give_statistics(network: torch.nn.Module) -> torch.Generator:
    """Draw the state of all batch normalisations, since the initial 0 and 1 would hide mistakes."""
    random = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for module in network.modules():
            if isinstance(module, torch.nn.BatchNorm2d):
                assert module.running_mean is not None
                assert module.running_var is not None
                for tensor, middle in (
                    *((module.running_mean, 0.0), (module.running_var, 1.0)),
                    *((module.weight, 1.0), (module.bias, 0.0)),
                ):
                    noise = torch.rand(tensor.shape, generator=random) - 0.5
                    tensor.copy_(middle + 0.4 * noise)
    return random


class Plain:
    """Layers of ResNets in evaluation mode, as functions of a state dict."""

    def __init__(self, network: Network) -> None:
        self.weights = network.state_dict()

    def convolve(
        self, x: torch.Tensor, name: str, stride: int = 1, padding: int = 1
    ) -> torch.Tensor:
        weight = self.weights[f"features.{name}.weight"]
        return functional.conv2d(x, weight, None, stride, padding)

    def normalise(self, x: torch.Tensor, name: str) -> torch.Tensor:
        mean, variance, scale, shift = (
            self.weights[f"features.{name}.{part}"].view(1, -1, 1, 1)
            for part in ("running_mean", "running_var", "weight", "bias")
        )
        normalised: torch.Tensor = (x - mean) / (variance + 1e-5).sqrt() * scale + shift
        return normalised

    def heads(self, representation: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        logits, attention = (
            representation @ self.weights[f"{head}.weight"].T + self.weights[f"{head}.bias"]
            for head in ("prediction", "attention")
        )
        return logits, attention[:, 0]


def assert_same(actual: tuple[torch.Tensor, ...], expected: tuple[torch.Tensor, ...]) -> None:
    for value, reference in zip(actual, expected, strict=True):
        torch.testing.assert_close(value, reference, rtol=1e-4, atol=1e-4)
