from __future__ import annotations

import pytest
import torch
from torch import nn

from trainables.backbones.pooling import AveragePool, pooling_matrix


def test_the_matrix_from_two_to_seven() -> None:
    assert pooling_matrix(2, 7).tolist() == [*[[1, 0]] * 3, [0.5, 0.5], *[[0, 1]] * 3]


@pytest.mark.parametrize("inputs", [(2, 2), (1, 1), (7, 7), (3, 5), (8, 7), (10, 15)])
@pytest.mark.parametrize("outputs", [(7, 7), (4, 3)])
def test_it_equals_adaptive_average_pooling(
    inputs: tuple[int, int], outputs: tuple[int, int]
) -> None:
    random = torch.Generator().manual_seed(1)
    maps = torch.randn(4, 5, *inputs, generator=random, dtype=torch.float64, requires_grad=True)
    cotangent = torch.randn(4, 5, *outputs, generator=random, dtype=torch.float64)
    pool = AveragePool(inputs, outputs)
    pool.matrix = torch.kron(
        pooling_matrix(inputs[0], outputs[0]), pooling_matrix(inputs[1], outputs[1])
    ).T
    results = []
    for module in (pool, nn.AdaptiveAvgPool2d(outputs)):
        pooled = module(maps)
        (gradient,) = torch.autograd.grad(pooled, maps, cotangent)
        results.append((pooled, gradient))

    (pooled, gradient), (reference, reference_gradient) = results
    assert pooled.shape == (4, 5, *outputs)
    torch.testing.assert_close(pooled, reference, rtol=1e-13, atol=1e-14)
    torch.testing.assert_close(gradient, reference_gradient, rtol=1e-13, atol=1e-14)


def test_from_two_to_seven_it_is_the_same_in_every_precision() -> None:
    pool = AveragePool((2, 2), (7, 7))
    maps = torch.randn(3, 64, 2, 2).to(memory_format=torch.channels_last)

    assert pool.state_dict() == {}
    torch.testing.assert_close(pool(maps), nn.AdaptiveAvgPool2d(7)(maps), rtol=1e-6, atol=1e-7)
    double = maps.double()
    torch.testing.assert_close(
        pool(double), nn.AdaptiveAvgPool2d(7)(double), rtol=1e-15, atol=1e-15
    )
    half = maps.bfloat16()
    assert pool(half).dtype is torch.bfloat16
    torch.testing.assert_close(pool(half), nn.AdaptiveAvgPool2d(7)(half), rtol=2**-7, atol=1e-6)
