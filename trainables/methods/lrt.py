"""Label correction by a likelihood ratio test, LRT (Zheng et al., ICML 2020)."""

from __future__ import annotations

from dataclasses import replace
from typing import ClassVar

from trainables.lazy import functional, torch
from trainables.methods.base import (
    Batch,
    Context,
    FrozenMap,
    Method,
    MultiStep,
    Parameter,
    PredictFunction,
    PublishedRecipe,
    Setting,
    Space,
)
from trainables.methods.per_sample_state import RecentPredictions, one_hot
from trainables.methods.published import CIFAR10_STATISTICS, cifar_recipe

WINDOW_EPOCHS = 10
"""Number of latest epochs over which each sample's predictions are averaged for the ratio test."""
RETRO_RHO = 0.9
"""Target ρ of the sample's label in the retroactive loss term, before ε / (K - 1) is subtracted."""
RETRO_EPSILON = 1e-4
"""Target ε of all other classes in the retroactive loss term."""

_REPOSITORY = "pingqingsheng/LRT"
_RECIPE = PublishedRecipe(
    "cifar10*",
    "*",
    cifar_recipe(
        180,
        1e-3,
        MultiStep((61, 121, 161), 0.5),
        5e-4,
        optimizer="radam",
        reset_optimizer=True,
        **CIFAR10_STATISTICS,
    ),
    f"{_REPOSITORY} since November 2020; until August 2020 its learning rate was 0.01",
    hold_out=0.1,
)
_CIFAR100_MEANS = (0.507, 0.487, 0.441)


def _epoch_setting(dataset: str, noise: str, retro: int, correction: int) -> Setting:
    """Return a setting of the code's README, which counts epochs from 0."""
    return Setting(
        dataset,
        noise,
        {"first_retro_epoch": retro + 1, "first_correction_epoch": correction + 1},
        f"{_REPOSITORY}, its README since November 2020",
    )


class LikelihoodRatioTest(Method):
    """Cross entropy plus a retroactive term, on labels corrected by a ratio test after each epoch.

    Let f be the mean of a sample's predictions over the last 10 epochs, and ỹ its current label. If
    max f / f_ỹ is above a threshold, the label becomes argmax f. The threshold grows by `growth`
    after each epoch with corrections.

    The retroactive term of a sample is -(A s)ᵀ log p, where s is a soft label that sums to 1. The
    entries of the sample's K × K matrix A are ρ - ε/(K - 1) in the row of its current label, and ε
    in all other rows. So A s has the same two values, whatever s is, and only the label is stored.
    A is computed before epoch `first_retro_epoch`, and once more `retro_interval` epochs later. As
    long as A has not been computed, A s is uniform.
    """

    name: ClassVar[str] = "lrt"
    title: ClassVar[str] = "LRT"
    source: ClassVar[str] = "Zheng et al., ICML 2020, Algorithm 1; retroactive term from its code"
    parameters: ClassVar[tuple[Parameter, ...]] = (
        Parameter(
            "threshold",
            default=1.2,
            low=1,
            help="initial threshold of the ratio of maximum to label probability (LRT code: 1.2)",
            space=Space(1.05, 5, log=True),
        ),
        Parameter(
            "growth",
            default=0.02,
            low=0,
            help="increase of the threshold with each epoch of correction (LRT code: 0.02)",
        ),
        Parameter(
            "first_correction_epoch",
            default=31,
            low=1,
            in_epochs=True,
            must_be_reached=True,
            help="first epoch after which labels are corrected (LRT code: 30, counted from 0)",
        ),
        Parameter(
            "first_retro_epoch",
            default=26,
            low=1,
            in_epochs=True,
            help="first epoch with the retroactive term (LRT code: 25, until August 2020 20, "
            "counted from 0)",
        ),
        Parameter(
            "retro_interval",
            default=40,
            low=1,
            in_epochs=True,
            help="epochs between the two updates of the retroactive targets (LRT code: 40)",
        ),
        Parameter("retro", default=True, help="whether the loss has the retroactive term"),
    )
    settings: ClassVar[tuple[Setting, ...]] = (
        _epoch_setting("cifar10", "symmetric*-0.8", 20, 25),
        _epoch_setting("cifar10", "asymmetric-*", 20, 25),
        _epoch_setting("cifar10", "symmetric*", 25, 30),
        _epoch_setting("cifar100", "symmetric*-0.8", 30, 35),
        _epoch_setting("cifar100", "*symmetric*", 25, 30),
    )
    published_recipes: ClassVar[tuple[PublishedRecipe, ...]] = (
        replace(
            _RECIPE,
            dataset="cifar100*",
            recipe=replace(_RECIPE.recipe, mean=_CIFAR100_MEANS, std=_CIFAR100_MEANS),
            source=f"{_RECIPE.source}; it divides by the channel means of CIFAR-100",
        ),
        _RECIPE,
    )

    def __init__(self, context: Context) -> None:
        super().__init__(context)
        hyperparameters = context.hyperparameters
        self.threshold = hyperparameters.number("threshold")
        self.threshold_growth = hyperparameters.number("growth")
        self.first_correction_epoch = int(hyperparameters.number("first_correction_epoch"))
        self.first_retro_epoch = int(hyperparameters.number("first_retro_epoch"))
        self.retro_interval = int(hyperparameters.number("retro_interval"))
        self.has_retro_term = bool(hyperparameters["retro"])
        self.current_labels = context.labels.clone()
        self.retro_labels = torch.full_like(context.labels, -1)  # -1: no matrix computed yet
        self.recent_predictions = RecentPredictions(
            context.labels, WINDOW_EPOCHS, context.class_count
        )

    @classmethod
    def state_bytes(cls, hyperparameters: FrozenMap, sample_count: int, class_count: int) -> int:  # noqa: ARG003
        """Return the size of the stored predictions and two class indices per sample in bytes."""
        label_bytes = 16 * sample_count
        return RecentPredictions.size_bytes(sample_count, WINDOW_EPOCHS, class_count) + label_bytes

    def loss(self, batch: Batch) -> torch.Tensor:
        """Return the mean loss of a batch, and store the predictions for the ratio test."""
        self.recent_predictions.record(batch.logits, batch.index, batch.epoch)
        log_p = functional.log_softmax(batch.logits, dim=1)
        loss = functional.nll_loss(log_p, self.current_labels[batch.index])
        if self.has_retro_term and batch.epoch >= self.first_retro_epoch:
            loss = loss - (self._retro_targets(batch.index) * log_p).sum(dim=1).mean()
        return loss

    def _retro_targets(self, index: torch.Tensor) -> torch.Tensor:
        """Return the targets A s of the retroactive term for the indexed samples, shape (b, K)."""
        class_count = self.context.class_count
        labels = self.retro_labels[index]
        is_label = functional.one_hot(labels.clamp(min=0), class_count).bool()
        label_target = RETRO_RHO - RETRO_EPSILON / (class_count - 1)
        targets = torch.where(is_label, label_target, RETRO_EPSILON)
        return torch.where(labels.unsqueeze(1) >= 0, targets, 1 / class_count)

    def end_epoch(self, epoch: int, predict: PredictFunction) -> None:  # noqa: ARG002
        """Update the labels of the retroactive term if due, then correct the current labels."""
        if epoch + 1 in (self.first_retro_epoch, self.first_retro_epoch + self.retro_interval):
            self.retro_labels.copy_(self.current_labels)
        if epoch >= self.first_correction_epoch:
            mean_predictions = self.recent_predictions.mean(epoch)
            p_max, predicted_labels = mean_predictions.max(dim=1)
            p_label = mean_predictions.gather(1, self.current_labels.unsqueeze(1)).squeeze(1)
            correction_epochs = epoch - self.first_correction_epoch + 1
            threshold = self.threshold + self.threshold_growth * correction_epochs
            # A product, since the ratio is undefined for a label that is never predicted.
            is_corrected = p_max > threshold * p_label
            self.current_labels.copy_(
                torch.where(is_corrected, predicted_labels, self.current_labels)
            )

    def estimated_targets(self) -> torch.Tensor:
        """Return the current labels as one-hot rows, shape (n, K)."""
        return one_hot(self.current_labels, self.context.class_count)

    def state_dict(self) -> dict[str, torch.Tensor]:
        """Return the current labels, the retroactive term's labels and the recent predictions."""
        return {
            "labels": self.current_labels,
            "remembered": self.retro_labels,
            "recent": self.recent_predictions.buffer,
        }
