from __future__ import annotations

import pytest
import torch
from networks import CIFAR, build, build_without_memory, count, image_of
from torch import nn

from trainables.backbones import BACKBONES, backbone_of
from trainables.errors import FieldError
from trainables.run.parameters import FrozenMap, complete_parameters
from trainables.training.network import build_network

QUICK = ("mlp", "resnet-w16", "preact18")
EVERY = [pytest.param(name, marks=() if name in QUICK else pytest.mark.slow) for name in BACKBONES]
WITHOUT_DETERMINISTIC_GRADIENT = (
    *(nn.AdaptiveMaxPool2d, nn.FractionalMaxPool2d, nn.MaxUnpool2d, nn.MaxPool3d, nn.AvgPool3d),
    *(nn.ReflectionPad2d, nn.Upsample, nn.EmbeddingBag),
)
"""Layers without it on CUDA, from the documentation of `torch.use_deterministic_algorithms`."""


@pytest.mark.parametrize(
    ("name", "values", "outputs", "parameters"),
    [
        ("resnet-w16", {}, 10, 272_539),
        ("resnet34", {}, 10, 21_282_635),
        ("resnet34", {}, 100, 21_328_805),
        ("resnet50", {}, 14, 23_508_032 + 2048 * 15 + 15),
        ("preact34", {}, 10, 21_280_843),
        ("preact18", {}, 10, 11_171_787),
        ("vgg19-bn", {}, 10, 20_035_392 + 119_545_856 + 4096 * 11 + 11),
        ("vgg19-bn", {"attention": "mlp"}, 10, 20_035_392 + 2 * 119_545_856 + 4096 * 11 + 11),
        ("inception-resnet-v2", {}, 50, 54_384_851),
    ],
)
def test_parameters_with_both_heads(
    name: str, values: dict[str, object], outputs: int, parameters: int
) -> None:
    network = build_without_memory(name, outputs, **values)

    assert count(network) == parameters
    assert count(network.prediction) % outputs == 0
    assert count(network.attention) == network.prediction.in_features + 1


@pytest.mark.parametrize("name", BACKBONES)
def test_nothing_lacks_a_deterministic_gradient_on_cuda(name: str) -> None:
    for module in build_without_memory(name).modules():
        assert not isinstance(module, WITHOUT_DETERMINISTIC_GRADIENT)
        if isinstance(module, nn.AdaptiveAvgPool2d):  # to 1×1 it is a mean
            assert module.output_size in {1, (1, 1)}


@pytest.mark.parametrize("name", EVERY)
def test_both_branches_read_the_same_representation(name: str) -> None:
    network = build(name).eval()
    images = torch.randn(2, *image_of(name))
    with torch.no_grad():
        logits, attention = network(images)
        representation = network.representation(network.features(images))

    assert (logits.shape, attention.shape) == ((2, 10), (2,))
    torch.testing.assert_close(network.prediction(representation), logits)
    torch.testing.assert_close(network.attention(representation).squeeze(1), attention)


@pytest.mark.parametrize("name", EVERY)
def test_a_step_in_bf16_and_channels_last(name: str) -> None:
    network = build(name).to(memory_format=torch.channels_last).train()
    images = torch.randn(2, *image_of(name)).contiguous(memory_format=torch.channels_last)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        logits, attention = network(images)

    assert (logits.dtype, attention.dtype) == (torch.bfloat16, torch.bfloat16)
    torch.autograd.backward(logits.float().logsumexp(1).sum() + attention.float().sum())
    for weight in network.parameters():
        assert weight.grad is not None
        assert weight.grad.dtype is torch.float32
        assert bool(weight.grad.isfinite().all())


@pytest.mark.parametrize("name", EVERY)
def test_initial_weights_are_of_the_seed_alone(name: str) -> None:
    torch.manual_seed(5)
    before = torch.random.get_rng_state()
    first = build(name, seed=3).state_dict()
    assert torch.equal(torch.random.get_rng_state(), before)
    torch.manual_seed(6)
    again = build(name, seed=3).state_dict()
    for key, weight in first.items():
        assert torch.equal(weight, again[key])

    del again
    other = build(name, seed=4).state_dict()
    for key, weight in first.items():
        if weight.dim() > 1:  # not normalisations, whose scale is 1
            assert not torch.equal(weight, other[key])


PYTORCH, FAN_OUT = "uniform in ±1 / √fan-in", "N(0, 2 / fan-out)"
INITIAL_CONVOLUTIONS = {
    "resnet-w16": FAN_OUT,  # He et al., CVPR 2016
    "resnet34": PYTORCH,  # NAL's public code, resnet.py, as for preact18
    "preact18": PYTORCH,
    "preact34": FAN_OUT,  # He et al., ECCV 2016: public code, resnet-pre-act.lua
    "resnet50": FAN_OUT,  # torchvision, as for vgg19-bn
    "vgg19-bn": FAN_OUT,
    "inception-resnet-v2": PYTORCH,  # NAL's public code, InceptionResNetV2.py
}


@pytest.mark.parametrize("name", [entry for entry in EVERY if "mlp" not in entry.values])
def test_convolutions_are_initialised_as_in_the_code_of_the_backbone(name: str) -> None:
    convolutions = [m for m in build(name).modules() if isinstance(m, nn.Conv2d)]

    assert convolutions
    for convolution in convolutions:
        weight = convolution.weight.detach()
        fan_in, fan_out = weight[0].numel(), weight[:, 0].numel()
        standard_error = (2 * weight.numel()) ** -0.5
        if INITIAL_CONVOLUTIONS[name] == PYTORCH:
            deviation = (3 * fan_in) ** -0.5
            assert weight.abs().max().item() <= fan_in**-0.5 + 1e-7
        else:
            deviation = (2 / fan_out) ** 0.5
            assert weight.abs().max().item() > 2.5 * deviation  # normal, not uniform
            assert convolution.bias is None or not convolution.bias.any()
        assert abs(weight.std().item() / deviation - 1) < 6 * standard_error


@pytest.mark.slow
@pytest.mark.parametrize("branch", ["linear", "mlp"])
def test_all_linear_layers_of_vgg_are_initialised_as_in_the_public_code(branch: str) -> None:
    network = build("vgg19-bn", values={"attention": branch})
    layers = [module for module in network.modules() if isinstance(module, nn.Linear)]

    assert len(layers) == (6 if branch == "mlp" else 4)
    for linear in layers:
        standard_error = (2 * linear.weight.numel()) ** -0.5
        assert abs(linear.weight.std().item() / 0.01 - 1) < 6 * standard_error
        assert not linear.bias.any()


def test_an_attention_branch_of_its_own() -> None:
    """The public ANIMAL-10N code: a second MLP beside the classifier's, on the same features."""
    values = FrozenMap({"hidden": (7, 5), "attention": "mlp"})
    network = build_network("mlp", values, CIFAR, 4, 0)
    shared = build_network("mlp", FrozenMap({"hidden": (7, 5), "attention": "linear"}), CIFAR, 4, 0)
    per_branch = 3072 * 7 + 7 + 7 * 5 + 5

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
        complete_parameters(
            "backbone resnet34", backbone_of("resnet34").parameters, {"attention": "mlp"}
        )


def test_unknown_backbone_gets_the_nearest() -> None:
    with pytest.raises(
        FieldError, match=r"unknown backbone 'resnet-34': did you mean 'resnet34'\?"
    ):
        backbone_of("resnet-34")
