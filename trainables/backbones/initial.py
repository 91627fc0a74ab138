"""Initial weights that several families share."""

from __future__ import annotations

from trainables.lazy import nn


def initialise_convolutions(body: nn.Module) -> None:
    """Draw every convolution from N(0, 2 / fan-out) and set its bias to 0.

    He et al., ICCV 2015, as torchvision has it. Batch normalisations keep the scale 1 and the
    shift 0 that they are made with.
    """
    for module in body.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
            if module.bias is not None:
                nn.init.zeros_(module.bias)
