from __future__ import annotations

import torch
from networks import CIFAR, build, count

from trainables.run.parameters import FrozenMap
from trainables.training.network import build_network


def test_mlp() -> None:
    network = build("mlp", (1, 8, 8))
    logits, attention = network(torch.randn(5, 1, 8, 8))

    assert (logits.shape, attention.shape) == ((5, 10), (5,))
    assert count(network) == 26_251
    widths = build_network("mlp", FrozenMap({"hidden": (7,)}), CIFAR, 4, 0)
    assert [tuple(w.shape) for w in widths.parameters()] == [
        *((7, 3072), (7,)),
        *((4, 7), (4,), (1, 7), (1,)),
    ]
