"""Early-learning regularisation, ELR (Liu et al., NeurIPS 2020)."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from trainables.lazy import functional, torch
from trainables.methods.base import (
    Batch,
    Context,
    CosineRestarts,
    EpochSelection,
    MultiStep,
    Parameter,
    PublishedRecipe,
    Setting,
    Space,
)
from trainables.methods.per_sample_state import MethodWithTargets, one_hot
from trainables.methods.published import CIFAR100_STATISTICS, cifar_recipe

if TYPE_CHECKING:
    from trainables.run.recipe import Recipe

PROBABILITY_FLOOR = 1e-4
"""Lower bound ε of predicted probabilities, which are clamped to [ε, 1 - ε] to limit the gradient
of the regulariser log(1 - tᵀp)."""

_REPOSITORY = "shengliu66/ELR"


def _published_recipe(dataset: str, noise: str, recipe: Recipe) -> PublishedRecipe:
    """Return a recipe of the ELR code, with the epoch selected on noisy validation labels."""
    return PublishedRecipe(
        dataset, noise, recipe, _REPOSITORY, hold_out=0.1, selection=EpochSelection.NOISY
    )


class EarlyLearningRegularisation(MethodWithTargets):
    """Cross entropy with a regulariser that keeps predictions close to earlier predictions.

    L = (1/b) Σ -log p_ỹ + λ log(1 - tᵀp), where p is the prediction and ỹ the noisy label. The
    target t of a sample is initially 0 and becomes β t + (1 - β) p before each loss of the sample
    is computed. The p of this update is detached, clamped and normalised again.
    """

    name: ClassVar[str] = "elr"
    title: ClassVar[str] = "ELR"
    source: ClassVar[str] = "Liu et al., NeurIPS 2020, eq. 6 and 9"
    parameters: ClassVar[tuple[Parameter, ...]] = (
        Parameter(
            "lambda",
            default=3.0,
            low=0,
            help="weight λ of the regulariser (ELR code: 3, CIFAR-10 asymmetric 1, CIFAR-100 7)",
            space=Space(0.3, 30, log=True),
        ),
        Parameter(
            "beta",
            default=0.7,
            low=0,
            high=1,
            high_open=True,
            help="momentum β of the targets (ELR code: 0.7 or 0.9)",
            space=Space(0.5, 0.99),
        ),
    )
    settings: ClassVar[tuple[Setting, ...]] = (
        Setting("cifar10", "asymmetric-*", {"lambda": 1.0, "beta": 0.9}, _REPOSITORY),
        Setting("cifar10", "symmetric-*", {"lambda": 3.0, "beta": 0.7}, _REPOSITORY),
        Setting("cifar100", "*symmetric-*", {"lambda": 7.0, "beta": 0.9}, _REPOSITORY),
    )
    published_recipes: ClassVar[tuple[PublishedRecipe, ...]] = (
        _published_recipe(
            "cifar10", "asymmetric-*", cifar_recipe(120, 0.02, MultiStep((40, 80), 0.01), 1e-3)
        ),
        _published_recipe(
            "cifar10", "symmetric-*", cifar_recipe(150, 0.02, CosineRestarts(10, 1e-3), 1e-3)
        ),
        *(
            _published_recipe(
                "cifar100",
                noise,
                cifar_recipe(150, 0.02, MultiStep((80, 120), 0.01), 1e-3, **CIFAR100_STATISTICS),
            )
            for noise in ("symmetric-*", "asymmetric-*")
        ),
    )

    def __init__(self, context: Context) -> None:
        super().__init__(context)
        self.lambda_ = context.hyperparameters.number("lambda")
        self.beta = context.hyperparameters.number("beta")
        self.targets.zero_()

    def loss(self, batch: Batch) -> torch.Tensor:
        """Update the targets of a batch's samples, and return the mean loss with these targets."""
        probabilities = batch.logits.softmax(dim=1).clamp(PROBABILITY_FLOOR, 1 - PROBABILITY_FLOOR)
        predictions = probabilities.detach()
        predictions = predictions / predictions.sum(dim=1, keepdim=True)
        targets = self.beta * self.targets[batch.index] + (1 - self.beta) * predictions
        self.targets[batch.index] = targets
        cross_entropy = functional.cross_entropy(batch.logits, self.context.labels[batch.index])
        regulariser = (1 - (targets * probabilities).sum(dim=1)).log().mean()
        return cross_entropy + self.lambda_ * regulariser

    def estimated_targets(self) -> torch.Tensor:
        """Return the targets, normalised to sum 1, (n, K); noisy labels where no target is set."""
        total = self.targets.sum(dim=1, keepdim=True)
        labels = one_hot(self.context.labels, self.context.class_count)
        return torch.where(total > 0, self.targets / total.clamp(min=PROBABILITY_FLOOR), labels)
