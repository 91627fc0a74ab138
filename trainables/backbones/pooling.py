"""Average pooling to a fixed size. Imports torch: reach it by `LazyModule`.

`nn.AdaptiveAvgPool2d` has no deterministic gradient on CUDA; a product with a fixed matrix has.
"""

from __future__ import annotations

import torch
from torch import nn


def averaging(inputs: int, outputs: int) -> torch.Tensor:
    """Return the matrix of adaptive average pooling along one axis.

    Output i is the mean of inputs from ⌊i · inputs / outputs⌋ to, but without,
    ⌈(i + 1) · inputs / outputs⌉; the windows may overlap.

    Args:
        inputs: length of the axis before.
        outputs: length after.

    Returns:
        float64, shape (outputs, inputs), rows of sum 1.
    """
    matrix = torch.zeros(outputs, inputs, dtype=torch.float64)
    for output in range(outputs):
        begin = output * inputs // outputs
        end = -(-(output + 1) * inputs // outputs)
        matrix[output, begin:end] = 1 / (end - begin)
    return matrix


class AveragePool(nn.Module):
    """`nn.AdaptiveAvgPool2d` for maps of one size, as one matrix product.

    The matrix is no part of the state: it follows from the sizes.
    """

    matrix: torch.Tensor

    def __init__(self, inputs: tuple[int, int], outputs: tuple[int, int]) -> None:
        """Prepare the matrix.

        Args:
            inputs: height and width of the maps that come.
            outputs: height and width that they are averaged to.
        """
        super().__init__()
        rows, columns = (averaging(*sizes) for sizes in zip(inputs, outputs, strict=True))
        self.outputs = outputs
        matrix = torch.kron(rows, columns).T.contiguous()
        self.register_buffer("matrix", matrix.float(), persistent=False)

    def forward(self, maps: torch.Tensor) -> torch.Tensor:
        """Average maps (b, C, h, w) to (b, C, H, W)."""
        pooled = maps.flatten(2) @ self.matrix.to(maps.dtype)
        return pooled.view(*maps.shape[:2], *self.outputs)
