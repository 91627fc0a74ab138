"""Cross entropy to the noisy labels, the baseline of every comparison."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from trainables.lazy import functional, torch
from trainables.methods.base import Batch, Method, Space

if TYPE_CHECKING:
    from collections.abc import Mapping


class CrossEntropy(Method):
    """Cross entropy to the noisy labels ỹ: L = -(1/b) Σ log p_ỹ (eq. 1 of the NAL paper)."""

    name: ClassVar[str] = "ce"
    title: ClassVar[str] = "Cross Entropy"
    source: ClassVar[str] = "paper, eq. 1"
    recipe_space: ClassVar[Mapping[str, Space]] = {
        "learning_rate": Space(1e-3, 0.2, log=True),
        "weight_decay": Space(1e-5, 1e-2, log=True),
    }

    def loss(self, batch: Batch) -> torch.Tensor:
        """Return the mean cross entropy of a batch."""
        return functional.cross_entropy(batch.logits, self.context.labels[batch.index])
