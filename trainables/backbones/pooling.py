"""Average pooling to a fixed size, with a gradient that is deterministic on CUDA.

The gradient of `nn.AdaptiveAvgPool2d` is not deterministic on CUDA; that of a product with a fixed
matrix is. This module imports torch, so other modules must import it by `LazyModule`.
"""

from __future__ import annotations

import torch
from torch import nn


def pooling_matrix(inputs: int, outputs: int) -> torch.Tensor:
    """Return the matrix that averages an image axis (height or width) to a given length.

    Output i is the mean of the inputs from ⌊i · inputs / outputs⌋ up to but excluding
    ⌈(i + 1) · inputs / outputs⌉; the windows may overlap.

    Args:
        inputs: length of the axis before pooling.
        outputs: length of the axis after pooling.

    Returns:
        Matrix, float64, shape (outputs, inputs); every row sums to 1.
    """
    matrix = torch.zeros(outputs, inputs, dtype=torch.float64)
    for output in range(outputs):
        begin = output * inputs // outputs
        end = -(-(output + 1) * inputs // outputs)
        matrix[output, begin:end] = 1 / (end - begin)
    return matrix


class AveragePool(nn.Module):
    """Adaptive average pooling of feature maps of one size, computed as a matrix product.

    The matrix is not part of the state dict, since it can be computed from the sizes.
    """

    matrix: torch.Tensor

    def __init__(self, inputs: tuple[int, int], outputs: tuple[int, int]) -> None:
        """Compute the pooling matrix.

        Args:
            inputs: height and width of the feature maps before pooling.
            outputs: height and width of the feature maps after pooling.
        """
        super().__init__()
        rows, columns = (pooling_matrix(*sizes) for sizes in zip(inputs, outputs, strict=True))
        self.outputs = outputs
        matrix = torch.kron(rows, columns).T.contiguous()
        self.register_buffer("matrix", matrix.float(), persistent=False)

    def forward(self, maps: torch.Tensor) -> torch.Tensor:
        """Average feature maps of shape (b, C, *inputs) to (b, C, *outputs)."""
        pooled = maps.flatten(2) @ self.matrix.to(maps.dtype)
        return pooled.view(*maps.shape[:2], *self.outputs)
