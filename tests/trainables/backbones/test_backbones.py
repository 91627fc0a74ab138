from __future__ import annotations

import pytest
import torch
from torch.nn import functional

from trainables.backbones import BACKBONES, backbone_of
from trainables.errors import FieldError
from trainables.network import Network, build_network
from trainables.parameters import FrozenMap, complete

CIFAR = (3, 32, 32)


def build(name: str, image: tuple[int, int, int], outputs: int = 10, seed: int = 0) -> Network:
    values = complete(name, backbone_of(name).parameters, {})
    return build_network(name, values, image, outputs, seed)


def plain_resnet34(
    images: torch.Tensor, weights: dict[str, torch.Tensor]
) -> tuple[torch.Tensor, torch.Tensor]:
    """ResNet-34 for 32×32 images written out, with torchvision's names, in evaluation."""

    def convolve(x: torch.Tensor, name: str, stride: int, padding: int = 1) -> torch.Tensor:
        return functional.conv2d(x, weights[f"features.{name}.weight"], None, stride, padding)

    def normalise(x: torch.Tensor, name: str) -> torch.Tensor:
        mean, variance, scale, shift = (
            weights[f"features.{name}.{part}"].view(1, -1, 1, 1)
            for part in ("running_mean", "running_var", "weight", "bias")
        )
        return (x - mean) / (variance + 1e-5).sqrt() * scale + shift

    x = normalise(convolve(images, "conv1", 1), "bn1").relu()
    assert x.shape[2:] == (32, 32)
    for stage, blocks in enumerate([3, 4, 6, 3], start=1):
        for block in range(blocks):
            name = f"layer{stage}.{block}"
            stride = 2 if stage > 1 and block == 0 else 1
            y = normalise(convolve(x, f"{name}.conv1", stride), f"{name}.bn1").relu()
            y = normalise(convolve(y, f"{name}.conv2", 1), f"{name}.bn2")
            if stride == 2:
                x = convolve(x, f"{name}.downsample.0", 2, padding=0)
                x = normalise(x, f"{name}.downsample.1")
            x = (x + y).relu()
    assert x.shape[1:] == (512, 4, 4)
    representation = x.mean(dim=(2, 3))
    logits = representation @ weights["prediction.weight"].T + weights["prediction.bias"]
    attention = representation @ weights["attention.weight"].T + weights["attention.bias"]
    return logits, attention[:, 0]


def test_resnet34_is_the_one_written_out_here() -> None:
    network = build("resnet34", CIFAR).eval()
    random = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for name, buffer in network.named_buffers():
            if name.endswith("running_mean"):
                buffer.copy_(0.1 * torch.randn(buffer.shape, generator=random))
            elif name.endswith("running_var"):
                buffer.copy_(0.5 + torch.rand(buffer.shape, generator=random))
        images = torch.randn(2, *CIFAR, generator=random)
        found = network(images)
        expected = plain_resnet34(images, network.state_dict())

    for value, wanted in zip(found, expected, strict=True):
        torch.testing.assert_close(value, wanted, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(("classes", "parameters"), [(10, 21_282_635), (100, 21_328_805)])
def test_resnet34_has_the_parameters_of_the_public_code(classes: int, parameters: int) -> None:
    network = build("resnet34", CIFAR, classes)

    assert sum(weight.numel() for weight in network.parameters()) == parameters
    assert sum(weight.numel() for weight in network.attention.parameters()) == 513


def test_mlp() -> None:
    network = build("mlp", (1, 8, 8))
    logits, attention = network(torch.randn(5, 1, 8, 8))

    assert (logits.shape, attention.shape) == ((5, 10), (5,))
    assert sum(w.numel() for w in network.parameters()) == 26_251
    widths = build_network("mlp", FrozenMap({"hidden": (7,)}), CIFAR, 4, 0)
    assert [tuple(w.shape) for w in widths.parameters()] == [
        *((7, 3072), (7,)),
        *((4, 7), (4,), (1, 7), (1,)),
    ]


@pytest.mark.parametrize("name", BACKBONES)
def test_both_branches_read_the_same_representation(name: str) -> None:
    network = build(name, backbone_of(name).image or (1, 8, 8)).eval()
    images = torch.randn(2, *(backbone_of(name).image or (1, 8, 8)))
    with torch.no_grad():
        logits, attention = network(images)
        representation = network.representation(network.features(images))

    torch.testing.assert_close(network.prediction(representation), logits)
    torch.testing.assert_close(network.attention(representation).squeeze(1), attention)


def test_an_attention_branch_of_its_own() -> None:
    """The public ANIMAL-10N code: a second MLP beside the classifier's, on the same features."""
    values = FrozenMap({"hidden": (7, 5), "attention": "mlp"})
    network = build_network("mlp", values, CIFAR, 4, 0)
    shared = build_network("mlp", FrozenMap({"hidden": (7, 5), "attention": "linear"}), CIFAR, 4, 0)
    per_branch = 3072 * 7 + 7 + 7 * 5 + 5

    def count(module: torch.nn.Module) -> int:
        return sum(weight.numel() for weight in module.parameters())

    assert count(shared) == per_branch + (5 * 4 + 4) + (5 + 1)
    assert count(network) == count(shared) + per_branch
    images = torch.randn(3, *CIFAR)
    logits, attention = network(images)
    torch.testing.assert_close(logits, shared(images)[0])  # the prediction branch is the same
    attention.sum().backward()
    assert all(weight.grad is None for weight in network.representation.parameters())
    assert network.parallel is not None
    assert all(weight.grad is not None for weight in network.parallel.parameters())
    weights = list(network.parallel.parameters())
    hidden = images.flatten(1)
    for matrix, bias in zip(weights[::2], weights[1::2], strict=True):
        hidden = (hidden @ matrix.T + bias).relu()
    torch.testing.assert_close(attention, network.attention(hidden).squeeze(1))


def test_a_backbone_without_an_mlp_has_no_choice_of_branch() -> None:
    with pytest.raises(FieldError, match="backbone resnet34 has no parameter 'attention'"):
        complete("backbone resnet34", backbone_of("resnet34").parameters, {"attention": "mlp"})


def test_initial_weights_are_of_the_seed_alone() -> None:
    torch.manual_seed(5)
    before = torch.random.get_rng_state()
    first = build("mlp", (1, 8, 8), seed=3)
    assert torch.equal(torch.random.get_rng_state(), before)
    torch.manual_seed(6)
    again, other = build("mlp", (1, 8, 8), seed=3), build("mlp", (1, 8, 8), seed=4)

    for name, weight in first.state_dict().items():
        assert torch.equal(weight, again.state_dict()[name])
        assert not torch.equal(weight, other.state_dict()[name])


def test_unknown_backbone_gets_the_nearest() -> None:
    with pytest.raises(
        FieldError, match=r"unknown backbone 'resnet-34': did you mean 'resnet34'\?"
    ):
        backbone_of("resnet-34")
