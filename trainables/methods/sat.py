"""Self-adaptive training, SAT (Huang, Zhang and Zhang, NeurIPS 2020)."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, ClassVar

from trainables.methods.base import Batch, CosineRestarts, Parameter, PublishedRecipe
from trainables.methods.per_sample_state import (
    TARGET_MOMENTUM,
    MethodWithMovingTargets,
    first_target_epoch_parameter,
    soft_cross_entropy,
)
from trainables.methods.published import cifar_recipe

if TYPE_CHECKING:
    import torch


_RECIPE = PublishedRecipe(
    "cifar10*",
    "symmetric*",
    cifar_recipe(200, 0.1, CosineRestarts(200), 5e-4, batch_size=256),
    "LayneH/self-adaptive-training",
)


class SelfAdaptiveTraining(MethodWithMovingTargets):
    """Cross entropy to noisy labels in early epochs, and to weighted moving targets later.

    From `first_target_epoch` on, each training step on a sample changes the sample's target t to
    α t + (1 - α) p, where p is the prediction. The weight of sample i is the confidence of its
    target, w_i = max_k t_ik, and the loss of a batch is L = Σ w_i CE(t_i, p_i) / Σ w_i.
    """

    name: ClassVar[str] = "sat"
    title: ClassVar[str] = "SAT"
    source: ClassVar[str] = "Huang et al., NeurIPS 2020, Algorithm 1"
    parameters: ClassVar[tuple[Parameter, ...]] = (
        TARGET_MOMENTUM,
        first_target_epoch_parameter(61, "SAT code: 60, counted from 0"),
    )
    published_recipes: ClassVar[tuple[PublishedRecipe, ...]] = (
        _RECIPE,
        replace(
            _RECIPE,
            noise="asymmetric*",
            source=f"{_RECIPE.source}; that it holds for asymmetric noise is inferred",
        ),
    )

    def loss(self, batch: Batch) -> torch.Tensor:
        """Update the targets if due, and return the mean loss of a batch."""
        targets = self.update_targets(batch)
        losses = soft_cross_entropy(batch.logits, targets)
        if batch.epoch < self.first_target_epoch:
            return losses.mean()
        weights = targets.max(dim=1).values
        return (weights * losses).sum() / weights.sum()
