"""Likelihood ratio test (Zheng et al., ICML 2020): correction of labels against predictions."""

from __future__ import annotations

from typing import ClassVar

from trainables.lazy import functional, torch
from trainables.methods.base import (
    Batch,
    Context,
    FrozenMap,
    Method,
    MultiStep,
    Parameter,
    Predict,
    PublishedRecipe,
    Space,
)
from trainables.methods.per_sample_state import RecentPredictions, one_hot
from trainables.methods.published import cifar_recipe

WINDOW = 10
"""Number of latest epochs over which each sample's predictions are averaged."""
RHO = 0.9
"""Constant ρ of the matrix A in the retroactive loss term."""
EPSILON = 1e-4
"""Constant ε of the matrix A in the retroactive loss term."""

_REPOSITORY = "pingqingsheng/LRT"


class LikelihoodRatioTest(Method):
    """Cross entropy plus a retroactive term, on labels corrected by a ratio test after each epoch.

    f is the mean of a sample's predictions over the last 10 epochs, and ỹ its current label. If
    max f / f_ỹ is above a threshold, the label becomes argmax f. The threshold grows by `growth`
    after each epoch with corrections.

    The retroactive term is -(A s)ᵀ log p, where A is a K × K matrix of each sample and s a soft
    label that sums to 1. A is computed from the label that the sample has at that time: all entries
    in the row of this label are ρ - ε/(K - 1), all others are ε. So A s has these two values, and
    it is enough to store the label of each sample. Until A is first computed, A s is uniform.
    """

    name: ClassVar[str] = "lrt"
    title: ClassVar[str] = "LRT"
    source: ClassVar[str] = "Zheng et al., ICML 2020, Algorithm 1; retroactive term from its code"
    parameters: ClassVar[tuple[Parameter, ...]] = (
        Parameter(
            "threshold",
            default=1.2,
            low=1,
            help="initial ratio max f / f_label above which a label is corrected (LRT code: 1.2)",
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
            help="first epoch after which labels are corrected (LRT code: 30, from 0)",
        ),
        Parameter(
            "first_retro_epoch",
            default=21,
            low=1,
            in_epochs=True,
            help="first epoch with the retroactive term (LRT code: 20, from 0)",
        ),
        Parameter(
            "retro_interval",
            default=40,
            low=1,
            in_epochs=True,
            help="epochs between the two computations of its matrices (LRT code: 40)",
        ),
        Parameter("retro", default=True, help="whether the loss has the retroactive term"),
    )
    published_recipes: ClassVar[tuple[PublishedRecipe, ...]] = (
        PublishedRecipe(
            "cifar10*",
            "*",
            cifar_recipe(180, 0.01, MultiStep((60, 120, 160), 0.5), 5e-4, optimizer="radam"),
            f"{_REPOSITORY}; it has a new optimiser in each epoch, here one",
        ),
    )

    def __init__(self, context: Context) -> None:
        super().__init__(context)
        hyperparameters = context.hyperparameters
        self.threshold = hyperparameters.number("threshold")
        self.growth = hyperparameters.number("growth")
        self.first_epoch = int(hyperparameters.number("first_correction_epoch"))
        self.first_retro_epoch = int(hyperparameters.number("first_retro_epoch"))
        self.retro_interval = int(hyperparameters.number("retro_interval"))
        self.retro = bool(hyperparameters["retro"])
        self.labels = context.labels.clone()
        self.retro_labels = torch.full_like(context.labels, -1)  # -1: no matrix computed yet
        self.predictions = RecentPredictions(context.labels, WINDOW, context.classes)

    @classmethod
    def state_bytes(cls, hyperparameters: FrozenMap, samples: int, classes: int) -> int:  # noqa: ARG003
        """Return the size of the stored predictions and two class indices per sample in bytes."""
        return RecentPredictions.size_bytes(samples, WINDOW, classes) + 16 * samples

    def loss(self, batch: Batch) -> torch.Tensor:
        """Return the mean loss of a batch, and store its predictions for the ratio test."""
        self.predictions.record(batch.logits, batch.index, batch.epoch)
        log_p = functional.log_softmax(batch.logits, dim=1)
        loss = functional.nll_loss(log_p, self.labels[batch.index])
        if self.retro and batch.epoch >= self.first_retro_epoch:
            loss = loss - (self._retro_targets(batch.index) * log_p).sum(dim=1).mean()
        return loss

    def _retro_targets(self, index: torch.Tensor) -> torch.Tensor:
        """Return the targets A s of the retroactive term for samples of a batch, shape (b, K)."""
        classes = self.context.classes
        labels = self.retro_labels[index]
        is_label = functional.one_hot(labels.clamp(min=0), classes).bool()
        product = torch.where(is_label, RHO - EPSILON / (classes - 1), EPSILON)
        return torch.where(labels.unsqueeze(1) >= 0, product, 1 / classes)

    def end_epoch(self, epoch: int, predict: Predict) -> None:  # noqa: ARG002
        """Correct labels; before, renew the labels of the retroactive term if that is due."""
        if epoch + 1 in (self.first_retro_epoch, self.first_retro_epoch + self.retro_interval):
            self.retro_labels.copy_(self.labels)
        if epoch >= self.first_epoch:
            mean_prediction = self.predictions.mean(epoch)
            p_max, likeliest = mean_prediction.max(dim=1)
            p_label = mean_prediction.gather(1, self.labels.unsqueeze(1)).squeeze(1)
            threshold = self.threshold + self.growth * (epoch - self.first_epoch + 1)
            # A product, since the ratio is undefined for a label that is never predicted.
            self.labels.copy_(torch.where(p_max > threshold * p_label, likeliest, self.labels))

    def estimated_targets(self) -> torch.Tensor:
        """Return the current labels as one-hot rows, shape (n, K)."""
        return one_hot(self.labels, self.context.classes)

    def state_dict(self) -> dict[str, torch.Tensor]:
        """Return the labels, the retroactive term's labels and the stored predictions."""
        return {
            "labels": self.labels,
            "remembered": self.retro_labels,
            "recent": self.predictions.ring,
        }
