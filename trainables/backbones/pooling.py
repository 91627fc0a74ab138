"""Average pooling to a fixed size. This module imports torch: import it by `LazyModule`.

`nn.AdaptiveAvgPool2d` has no deterministic gradient on CUDA; the product with a fixed matrix has.
"""

from __future__ import annotations

import torch
from torch import nn


def pooling_matrix(inputs: int, outputs: int) -> torch.Tensor:
    """Return the matrix of adaptive average pooling along one axis.

    Output i is the mean of the inputs from ⌊i · inputs / outputs⌋ up to but excluding
    ⌈(i + 1) · inputs / outputs⌉; the windows may overlap.

    Args:
        inputs: length of the axis before pooling.
        outputs: length of the axis after pooling.

    Returns:
        Matrix, float64, shape (outputs, inputs); every row has the sum 1.
    """
    matrix = torch.zeros(outputs, inputs, dtype=torch.float64)
    for output in range(outputs):
        begin = output * inputs // outputs
        end = -(-(output + 1) * inputs // outputs)
        matrix[output, begin:end] = 1 / (end - begin)
    return matrix


class AveragePool(nn.Module):
    """`nn.AdaptiveAvgPool2d` for maps of one size, as one matrix product.

    The matrix is not part of the state dict, since it follows from the sizes.
    """

    matrix: torch.Tensor

    def __init__(self, inputs: tuple[int, int], outputs: tuple[int, int]) -> None:
        """Compute the matrix.

        Args:
            inputs: height and width of the maps before pooling.
            outputs: height and width of the maps after pooling.
        """
        super().__init__()
        rows, columns = (pooling_matrix(*sizes) for sizes in zip(inputs, outputs, strict=True))
        self.outputs = outputs
        matrix = torch.kron(rows, columns).T.contiguous()
        self.register_buffer("matrix", matrix.float(), persistent=False)

    def forward(self, maps: torch.Tensor) -> torch.Tensor:
        """Average maps (b, C, h, w) to (b, C, H, W)."""
        pooled = maps.flatten(2) @ self.matrix.to(maps.dtype)
        return pooled.view(*maps.shape[:2], *self.outputs)
