from __future__ import annotations

import pytest
import torch
from torch import nn

from trainables.backbones import backbone_of
from trainables.backbones.base import initialise_convolutions
from trainables.errors import FieldError
from trainables.run.parameters import complete_parameters


@pytest.mark.parametrize(
    ("name", "image", "takes"),
    [
        ("resnet34", (3, 32, 33), "3×32×32"),
        ("vgg19-bn", (1, 64, 64), "3×64×64"),
        ("resnet50", (3, 64, 63), "at least 3×64×64"),
        ("inception-resnet-v2", (3, 74, 227), "at least 3×75×75"),
        ("inception-resnet-v2", (1, 227, 227), "at least 3×75×75"),
    ],
)
def test_other_images_are_refused(name: str, image: tuple[int, int, int], takes: str) -> None:
    with pytest.raises(FieldError) as error:
        backbone_of(name).check(image)

    assert error.value.field == "backbone"
    assert error.value.message == (
        f"backbone {name} takes images of {takes}, got {'×'.join(map(str, image))}: "
        "choose another backbone"
    )


@pytest.mark.parametrize(
    ("name", "image"),
    [
        *(("mlp", (1, 8, 8)), ("mlp", (4, 1, 9)), ("resnet34", (3, 32, 32))),
        *(("resnet50", (3, 64, 64)), ("resnet50", (3, 224, 300))),
        ("inception-resnet-v2", (3, 75, 227)),
    ],
)
def test_its_images_are_taken(name: str, image: tuple[int, int, int]) -> None:
    backbone_of(name).check(image)


def test_a_text_is_any_text() -> None:
    parameters = backbone_of("resnet50").parameters

    values = complete_parameters("backbone resnet50", parameters, {"weights": "/a b/ü.pth"})
    assert dict(values) == {"weights": "/a b/ü.pth", "weights_sha256": ""}
    with pytest.raises(FieldError, match=r"^weights must be a text, got 5$"):
        complete_parameters("backbone resnet50", parameters, {"weights": 5})


def test_convolutions_are_drawn_by_their_fan_out() -> None:
    torch.manual_seed(0)
    convolution, normalisation = nn.Conv2d(8, 200, 5), nn.BatchNorm2d(200)
    last = nn.Linear(200, 9)
    body = nn.Sequential(convolution, normalisation, last)
    linear = last.weight.detach().clone()
    initialise_convolutions(body)
    weight = convolution.weight.detach()

    deviation = (2 / (200 * 5 * 5)) ** 0.5
    assert abs(weight.std().item() / deviation - 1) < 0.02  # of 40,000 draws: 6 standard errors
    assert abs(weight.mean().item()) < 5 * deviation / 200
    assert weight.abs().max().item() > 3.5 * deviation  # normal, not uniform
    assert convolution.bias is not None
    assert not convolution.bias.any()
    assert bool((normalisation.weight == 1).all())
    assert torch.equal(last.weight, linear)
