"""Deep abstaining classifier, DAC (Thulasidasan et al., ICML 2019)."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import ClassVar

from trainables.lazy import functional, torch
from trainables.methods.base import (
    Batch,
    Context,
    Method,
    MultiStep,
    Parameter,
    PredictFunction,
    PublishedRecipe,
    Space,
    Stage,
)
from trainables.methods.published import CIFAR10_STATISTICS, CIFAR100_STATISTICS, cifar_recipe

NEW_LOSS_WEIGHT = 0.05
"""Weight of the current batch's loss in the exponential moving average of the loss."""
INITIAL_ALPHA_DIVISOR = 64.0
"""Number by which the moving average of the loss is divided to compute the initial weight α of the
abstention penalty."""

_REPOSITORY = "thulas/dac-label-noise"
_RECIPE = PublishedRecipe(
    "cifar10*",
    "symmetric*",
    cifar_recipe(
        200,
        0.1,
        MultiStep((60, 120, 160), 0.2),
        5e-4,
        reset_optimizer=True,
        **CIFAR10_STATISTICS,
    ),
    f"{_REPOSITORY}; the numbers of epochs are from the command for STL-10 in its README, without "
    "its --nesterov",
)
_SYMMETRIC_RECIPES = (
    replace(_RECIPE, dataset="cifar100*", recipe=replace(_RECIPE.recipe, **CIFAR100_STATISTICS)),
    _RECIPE,
)
_RECIPES = (
    *_SYMMETRIC_RECIPES,
    *(
        replace(
            entry,
            noise="asymmetric*",
            source=f"{entry.source}; that it holds for asymmetric noise is inferred",
        )
        for entry in _SYMMETRIC_RECIPES
    ),
)
_RETRAINING_NOTE = (
    "that both runs have one recipe is inferred; it leaves abstained samples out of the batches, "
    "here out of the loss"
)
PARAMETERS = (
    Parameter(
        "final_alpha",
        default=1.0,
        low=0,
        low_open=True,
        help="weight α of the abstention penalty in the last epoch (DAC code: 1)",
        space=Space(0.1, 10, log=True),
    ),
    Parameter(
        "warm_up_epochs",
        default=20,
        low=1,
        in_epochs=True,
        must_be_followed=True,
        help="number of epochs with plain cross entropy, before abstention (DAC code: 20)",
    ),
)


class DacAbstention(Method):
    """First training run of DAC, whose network has an extra output for abstention.

    The warm-up epochs use cross entropy over all K + 1 outputs. After them,
    L = (1/b) Σ (1 - p_a) CE - α log(1 - p_a), where p_a is the probability of abstention and CE the
    cross entropy over the K classes. The weight α of the abstention penalty starts at the moving
    average of (1 - p_a) CE divided by 64, and rises linearly to `final_alpha` in the last epoch.
    """

    name: ClassVar[str] = "dac-abstain"
    title: ClassVar[str] = "DAC (abstention)"
    source: ClassVar[str] = "Thulasidasan et al., ICML 2019, eq. 1 and Algorithm 1"
    parameters: ClassVar[tuple[Parameter, ...]] = PARAMETERS
    published_recipes: ClassVar[tuple[PublishedRecipe, ...]] = _RECIPES
    outcomes: ClassVar[tuple[str, ...]] = ("predictions", "retained")

    def __init__(self, context: Context) -> None:
        super().__init__(context)
        self.final_alpha = context.hyperparameters.number("final_alpha")
        self.warm_up_epochs = int(context.hyperparameters.number("warm_up_epochs"))
        # NaN until the first step.
        self.average_loss = torch.full((), math.nan, device=context.labels.device)
        # NaN until the first step after the warm-up.
        self.initial_alpha = self.average_loss.clone()

    @classmethod
    def output_count(cls, class_count: int) -> int:
        """Return K + 1, the number of outputs for K classes and abstention."""
        return class_count + 1

    def loss(self, batch: Batch) -> torch.Tensor:
        """Update the moving average of the loss, and return the mean loss of a batch."""
        labels = self.context.labels[batch.index]
        class_losses = functional.cross_entropy(batch.logits[:, :-1], labels, reduction="none")
        # log(1 - p_a) as a difference of logarithms, free of the cancellation in 1 - p_a.
        log_not_abstained = batch.logits[:, :-1].logsumexp(dim=1) - batch.logits.logsumexp(dim=1)
        weighted_losses = log_not_abstained.exp() * class_losses
        batch_loss = weighted_losses.detach().mean()
        new_average = NEW_LOSS_WEIGHT * batch_loss + (1 - NEW_LOSS_WEIGHT) * self.average_loss
        self.average_loss.copy_(torch.where(self.average_loss.isnan(), batch_loss, new_average))
        if batch.epoch <= self.warm_up_epochs:
            return functional.cross_entropy(batch.logits, labels)
        self.initial_alpha.copy_(
            torch.where(
                self.initial_alpha.isnan(),
                self.average_loss / INITIAL_ALPHA_DIVISOR,
                self.initial_alpha,
            )
        )
        return (weighted_losses - self._alpha(batch.epoch) * log_not_abstained).mean()

    def _alpha(self, epoch: int) -> torch.Tensor:
        """Return the weight α of the abstention penalty in an epoch, counted from 1."""
        first_epoch = self.warm_up_epochs + 1
        last_epoch = self.context.epochs
        progress = (
            (epoch - first_epoch) / (last_epoch - first_epoch) if last_epoch > first_epoch else 0.0
        )
        return self.initial_alpha + progress * (self.final_alpha - self.initial_alpha)

    def state_dict(self) -> dict[str, torch.Tensor]:
        """Return the moving average of the loss and the initial α, for a checkpoint."""
        return {"average": self.average_loss, "start": self.initial_alpha}

    def outcome(self, name: str, predict: PredictFunction) -> torch.Tensor:
        """Return "retained", the mask (n,) of samples without abstention, or "predictions"."""
        if name == "retained":
            return predict().argmax(dim=1) < self.context.class_count
        return super().outcome(name, predict)


class DacRetraining(Method):
    """Second training run of DAC: cross entropy on the samples that a `dac-abstain` run retains."""

    name: ClassVar[str] = "dac"
    title: ClassVar[str] = "DAC"
    source: ClassVar[str] = "Thulasidasan et al., ICML 2019, section 4"
    parameters: ClassVar[tuple[Parameter, ...]] = PARAMETERS
    published_recipes: ClassVar[tuple[PublishedRecipe, ...]] = tuple(
        replace(entry, source=f"{entry.source}; {_RETRAINING_NOTE}") for entry in _RECIPES
    )
    stages: ClassVar[tuple[Stage, ...]] = (
        Stage("retained", "dac-abstain", "retained", tuple(p.name for p in PARAMETERS)),
    )

    def loss(self, batch: Batch) -> torch.Tensor:
        """Return the mean cross entropy of a batch's retained samples, or 0 if none is retained."""
        labels = self.context.labels[batch.index]
        retained_mask = self.context.inputs["retained"][batch.index].to(batch.logits.dtype)
        losses = functional.cross_entropy(batch.logits, labels, reduction="none")
        return (retained_mask * losses).sum() / retained_mask.sum().clamp(min=1)
