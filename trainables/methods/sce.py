"""Symmetric cross entropy (Wang et al., ICCV 2019)."""

from __future__ import annotations

import math
from typing import ClassVar

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

LABEL_FLOOR = 1e-4
"""Lower bound of the entries of a one-hot label in the reverse cross entropy."""
PREDICTION_FLOOR = 1e-7
"""Lower bound of class probabilities in the reverse cross entropy."""

_REPOSITORY = "YisenWang/symmetric_cross_entropy_for_noisy_labels"
_DECAY_NOTE = "the weight decay is that of the port by HanxunH"


class SymmetricCrossEntropy(Method):
    """Cross entropy plus reverse cross entropy.

    The loss of a sample is a CE + b RCE, with RCE = -Σ_k p_k log max(e_k, 1e-4) = 9.21 (1 - p_ỹ).

    p is at least 1e-7 in RCE, as in the public code. p has no lower bound in CE, so that the
    gradient does not vanish for predictions that are certain and wrong.
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
            help="weight of the reverse term (SCE code: 1 on CIFAR-10, 0.1 on CIFAR-100)",
            space=Space(0.01, 10, log=True),
        ),
    )
    settings: ClassVar[tuple[Setting, ...]] = (
        Setting("cifar10", "*", {"a": 0.1, "b": 1.0}, _REPOSITORY),
        Setting("cifar100", "*", {"a": 6.0, "b": 0.1}, _REPOSITORY),
    )
    published_recipes: ClassVar[tuple[PublishedRecipe, ...]] = (
        PublishedRecipe(
            "cifar10",
            "*",
            cifar_recipe(120, 0.01, MultiStep((40, 80)), 5e-3),
            f"{_REPOSITORY}; {_DECAY_NOTE}",
        ),
        PublishedRecipe(
            "cifar100",
            "*",
            cifar_recipe(150, 0.1, MultiStep((80, 120)), 5e-3),
            f"{_REPOSITORY}; {_DECAY_NOTE}",
        ),
    )

    def loss(self, batch: Batch) -> torch.Tensor:
        """Return the mean symmetric cross entropy of a batch."""
        hyperparameters = self.context.hyperparameters
        labels = self.context.labels[batch.index]
        forward = functional.cross_entropy(batch.logits, labels)
        p = batch.logits.softmax(dim=1).clamp(PREDICTION_FLOOR, 1.0)
        other_classes = p.sum(dim=1) - p.gather(1, labels.unsqueeze(1)).squeeze(1)
        reverse = -math.log(LABEL_FLOOR) * other_classes.mean()
        return hyperparameters.number("a") * forward + hyperparameters.number("b") * reverse
