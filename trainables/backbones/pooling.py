"""Average pooling to a fixed size, with a gradient that is deterministic on CUDA.

The gradient of `nn.AdaptiveAvgPool2d` is not deterministic on CUDA; the gradient of a product with
a constant matrix is. This module imports torch, so other modules must import it by `LazyModule`.
"""

from __future__ import annotations

import torch
from torch import nn


def pooling_matrix(input_length: int, output_length: int) -> torch.Tensor:
    """Return the matrix that pools a vector to a given length by averages over windows.

    Output i is the mean of the inputs from ⌊i · N / M⌋ up to but excluding ⌈(i + 1) · N / M⌉, for
    lengths N before and M after pooling; windows may overlap.

    Args:
        input_length: length N before pooling, such as the height of a feature map.
        output_length: length M after pooling.

    Returns:
        Matrix, float64, shape (output_length, input_length); every row sums to 1.
    """
    matrix = torch.zeros(output_length, input_length, dtype=torch.float64)
    for row in range(output_length):
        start = row * input_length // output_length
        stop = -(-(row + 1) * input_length // output_length)
        matrix[row, start:stop] = 1 / (stop - start)
    return matrix


class AveragePool(nn.Module):
    """Average pooling of feature maps from one fixed size to another, as a matrix product.

    The state dict does not contain the matrix, which follows from the two sizes.
    """

    matrix: torch.Tensor

    def __init__(self, input_size: tuple[int, int], output_size: tuple[int, int]) -> None:
        """Compute the pooling matrix.

        Args:
            input_size: height and width of the feature maps before pooling.
            output_size: height and width of the feature maps after pooling.
        """
        super().__init__()
        vertical, horizontal = (
            pooling_matrix(*lengths) for lengths in zip(input_size, output_size, strict=True)
        )
        self.output_size = output_size
        matrix = torch.kron(vertical, horizontal).T.contiguous()
        self.register_buffer("matrix", matrix.float(), persistent=False)

    def forward(self, maps: torch.Tensor) -> torch.Tensor:
        """Pool feature maps from shape (b, C, *input_size) to shape (b, C, *output_size)."""
        pooled = maps.flatten(2) @ self.matrix.to(maps.dtype)
        return pooled.view(*maps.shape[:2], *self.output_size)
