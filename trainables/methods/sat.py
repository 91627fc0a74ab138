"""Self-adaptive training (Huang, Zhang and Zhang, NeurIPS 2020)."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from trainables.methods.base import Batch, CosineRestarts, Parameter, PublishedRecipe
from trainables.methods.per_sample_state import (
    TARGET_MOMENTUM,
    MovingTargets,
    first_target_epoch,
    soft_cross_entropy,
)
from trainables.methods.published import cifar_recipe

if TYPE_CHECKING:
    import torch


_REPOSITORY = "LayneH/self-adaptive-training"


class SelfAdaptiveTraining(MovingTargets):
    """Cross entropy to the noisy label, and in later epochs to moving targets.

    From `first_target_epoch` on, a sample's target t becomes α t + (1 - α) p at each step. Samples
    are weighted by the confidence of their targets: w_i = max_k t_ik, and
    L = Σ w_i CE(t_i, p_i) / Σ w_i over the batch.
    """

    name: ClassVar[str] = "sat"
    title: ClassVar[str] = "SAT"
    source: ClassVar[str] = "Huang et al., NeurIPS 2020, Algorithm 1"
    parameters: ClassVar[tuple[Parameter, ...]] = (
        TARGET_MOMENTUM,
        first_target_epoch(61, "SAT code: 60, counted from 0"),
    )
    published_recipes: ClassVar[tuple[PublishedRecipe, ...]] = (
        PublishedRecipe(
            "cifar10*",
            "*symmetric*",
            cifar_recipe(200, 0.1, CosineRestarts(200), 5e-4, batch_size=256),
            _REPOSITORY,
        ),
    )

    def loss(self, batch: Batch) -> torch.Tensor:
        """Return the mean loss; before, update the targets from `first_target_epoch` on."""
        targets = self.update_targets(batch)
        losses = soft_cross_entropy(batch.logits, targets)
        if batch.epoch < self.first_epoch:
            return losses.mean()
        weights = targets.max(dim=1).values
        return (weights * losses).sum() / weights.sum()
