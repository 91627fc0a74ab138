from __future__ import annotations

import torch
from torch import nn

from trainables.backbones.initial import initialise_convolutions


def test_convolutions_are_drawn_by_their_fan_out() -> None:
    torch.manual_seed(0)
    body = nn.Sequential(nn.Conv2d(8, 200, 5), nn.BatchNorm2d(200), nn.Linear(200, 9))
    linear = body[2].weight.detach().clone()
    initialise_convolutions(body)
    weight = body[0].weight.detach()

    wanted = (2 / (200 * 5 * 5)) ** 0.5
    assert abs(weight.std().item() / wanted - 1) < 0.02  # of 40,000 draws: 6 standard errors
    assert abs(weight.mean().item()) < 5 * wanted / 200
    assert weight.abs().max().item() > 3.5 * wanted  # normal, not uniform
    assert body[0].bias is not None
    assert not body[0].bias.any()
    assert bool((body[1].weight == 1).all())
    assert torch.equal(body[2].weight, linear)
