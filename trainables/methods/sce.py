"""Symmetric cross entropy, SCE (Wang et al., ICCV 2019)."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, ClassVar

from trainables.lazy import functional, torch
from trainables.methods.base import (
    Batch,
    Method,
    MultiStep,
    Parameter,
    PublishedRecipe,
    Setting,
    Space,
)
from trainables.methods.published import cifar_recipe

if TYPE_CHECKING:
    from trainables.run.recipe import Recipe

LABEL_FLOOR = 1e-4
"""Lower bound of the entries of one-hot labels in the reverse cross entropy."""
PROBABILITY_FLOOR = 1e-7
"""Lower bound of predicted probabilities in the reverse cross entropy."""

_REPOSITORY = "YisenWang/symmetric_cross_entropy_for_noisy_labels"
_PORT = (
    "HanxunH/SCELoss-Reproduce @ 07b2adb, a port; its cross entropy has labels of at least 1e-4 "
    "on all classes, here 0"
)


def _port_recipe(epochs: int, milestones: tuple[int, ...]) -> Recipe:
    """Return a recipe of the PyTorch port, which normalises CIFAR-100 like CIFAR-10."""
    return cifar_recipe(
        epochs,
        0.01,
        MultiStep(milestones),
        5e-3,
        nesterov=True,
        max_gradient_norm=5.0,
        mean=(0.49139968, 0.48215827, 0.44653124),
        std=(0.24703233, 0.24348505, 0.26158768),
    )


class SymmetricCrossEntropy(Method):
    """Weighted sum of cross entropy and reverse cross entropy.

    The loss of a sample is a CE + b RCE, where p is the prediction and e the one-hot noisy label ỹ.
    CE is the cross entropy -log p_ỹ, and RCE the reverse cross entropy
    -Σ_k p_k log max(e_k, 1e-4) = 9.21 (1 - p_ỹ).

    As in the public codes, p is at least 1e-7 in RCE. In CE, p has no lower bound, so that the
    gradient does not vanish for predictions that are certain and wrong. The revision of the PyTorch
    port whose recipe is used has both bounds in CE too, 1e-7 for p and 1e-4 for e.
    """

    name: ClassVar[str] = "sce"
    title: ClassVar[str] = "SCE"
    source: ClassVar[str] = "Wang et al., ICCV 2019, eq. 6 to 8"
    parameters: ClassVar[tuple[Parameter, ...]] = (
        Parameter(
            "a",
            default=0.1,
            low=0,
            help="weight of the cross entropy (SCE code: 0.1 on CIFAR-10, 6 on CIFAR-100)",
            space=Space(0.01, 10, log=True),
        ),
        Parameter(
            "b",
            default=1.0,
            low=0,
            help="weight of the reverse cross entropy (SCE code: 1 on CIFAR-10, 0.1 on CIFAR-100)",
            space=Space(0.01, 10, log=True),
        ),
    )
    settings: ClassVar[tuple[Setting, ...]] = (
        Setting("cifar10", "*", {"a": 0.1, "b": 1.0}, _REPOSITORY),
        Setting("cifar100", "*", {"a": 6.0, "b": 0.1}, _REPOSITORY),
    )
    published_recipes: ClassVar[tuple[PublishedRecipe, ...]] = (
        PublishedRecipe("cifar10", "*", _port_recipe(120, (40, 80)), _PORT),
        PublishedRecipe(
            "cifar100",
            "*",
            _port_recipe(150, (80, 120)),
            f"{_PORT}; its number of epochs is from {_REPOSITORY}",
        ),
    )

    def loss(self, batch: Batch) -> torch.Tensor:
        """Return the mean symmetric cross entropy of a batch."""
        hyperparameters = self.context.hyperparameters
        labels = self.context.labels[batch.index]
        cross_entropy = functional.cross_entropy(batch.logits, labels)
        p = batch.logits.softmax(dim=1).clamp(PROBABILITY_FLOOR, 1.0)
        p_other_classes = p.sum(dim=1) - p.gather(1, labels.unsqueeze(1)).squeeze(1)
        reverse_cross_entropy = -math.log(LABEL_FLOOR) * p_other_classes.mean()
        a, b = hyperparameters.number("a"), hyperparameters.number("b")
        return a * cross_entropy + b * reverse_cross_entropy
