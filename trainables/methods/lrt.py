"""Likelihood ratio test (Zheng et al., ICML 2020): labels that the network contradicts flip."""

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
    Published,
    Space,
)
from trainables.methods.cifar_recipes import cifar
from trainables.methods.tables import RecentPredictions, one_hot, ring_bytes

WINDOW = 10
"""Epochs over which predictions are averaged."""
RHO = 0.9
EPSILON = 1e-4

_REPOSITORY = "pingqingsheng/LRT"


class LikelihoodRatio(Method):
    """Cross entropy, a retroactive term, and labels corrected by a ratio test after each epoch.

    With f the mean of a sample's predictions in its last 10 epochs, its label becomes argmax f
    where max f / f_ỹ is above a threshold, which grows by `growth` with each epoch of correction.

    The retroactive term -(A s)ᵀ log p pulls towards the label s that a sample had when its matrix
    A was made. A has ρ - ε/(K - 1) throughout the row of that label and ε throughout the others,
    and s sums to 1: so A s has these numbers as entries, and one class index per sample does for
    n × K × K numbers. Before a matrix is made, A s is uniform.
    """

    name: ClassVar[str] = "lrt"
    title: ClassVar[str] = "LRT"
    source: ClassVar[str] = "Zheng et al., ICML 2020, Algorithm 1; retroactive term from its code"
    parameters: ClassVar[tuple[Parameter, ...]] = (
        Parameter(
            "threshold",
            default=1.2,
            low=1,
            help="ratio max f / f of the label above which it flips, at first (LRT code: 1.2)",
            space=Space(1.05, 5, log=True),
        ),
        Parameter(
            "growth",
            default=0.02,
            low=0,
            help="of the threshold with each epoch of correction (LRT code: 0.02)",
        ),
        Parameter(
            "first_correction_epoch",
            default=31,
            low=1,
            in_epochs=True,
            must_come=True,
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
            help="epochs between the two times its matrices are made (LRT code: 40)",
        ),
        Parameter("retro", default=True, help="whether the loss has the retroactive term"),
    )
    published: ClassVar[tuple[Published, ...]] = (
        Published(
            "cifar10*",
            "*",
            cifar(180, 0.01, MultiStep((60, 120, 160), 0.5), 5e-4, optimizer="radam"),
            f"{_REPOSITORY}; its optimiser is made anew each epoch, here once",
        ),
    )

    def __init__(self, context: Context) -> None:
        super().__init__(context)
        values = context.hyperparameters
        self.threshold = values.number("threshold")
        self.growth = values.number("growth")
        self.first = int(values.number("first_correction_epoch"))
        self.first_retro = int(values.number("first_retro_epoch"))
        self.interval = int(values.number("retro_interval"))
        self.retro = bool(values["retro"])
        self.labels = context.labels.clone()
        self.remembered = torch.full_like(context.labels, -1)
        self.recent = RecentPredictions(context.labels, WINDOW, context.classes)

    @classmethod
    def state_bytes(cls, hyperparameters: FrozenMap, samples: int, classes: int) -> int:  # noqa: ARG003
        """Return the size of the ring, and of two class indices per sample."""
        return ring_bytes(samples, WINDOW, classes) + 16 * samples

    def loss(self, batch: Batch) -> torch.Tensor:
        """Keep the predictions, then return the mean loss."""
        self.recent.note(batch.logits, batch.index, batch.epoch)
        log_p = functional.log_softmax(batch.logits, dim=1)
        loss = functional.nll_loss(log_p, self.labels[batch.index])
        if self.retro and batch.epoch >= self.first_retro:
            loss = loss - (self._past(batch.index) * log_p).sum(dim=1).mean()
        return loss

    def _past(self, index: torch.Tensor) -> torch.Tensor:
        """Return A s of some samples, shape (b, K)."""
        classes = self.context.classes
        known = self.remembered[index]
        hot = functional.one_hot(known.clamp(min=0), classes).bool()
        made = torch.where(hot, RHO - EPSILON / (classes - 1), EPSILON)
        return torch.where(known.unsqueeze(1) >= 0, made, 1 / classes)

    def end_epoch(self, epoch: int, predict: Predict) -> None:  # noqa: ARG002
        """Remember labels when it is time for it, then correct them."""
        if epoch + 1 in (self.first_retro, self.first_retro + self.interval):
            self.remembered.copy_(self.labels)
        if epoch >= self.first:
            f = self.recent.mean(epoch)
            highest, best = f.max(dim=1)
            own = f.gather(1, self.labels.unsqueeze(1)).squeeze(1)
            limit = self.threshold + self.growth * (epoch - self.first + 1)
            # As a product: the ratio of a label that is never predicted has no value.
            self.labels.copy_(torch.where(highest > limit * own, best, self.labels))

    def estimated_targets(self) -> torch.Tensor:
        """Return the labels as they are now, one-hot."""
        return one_hot(self.labels, self.context.classes)

    def state_dict(self) -> dict[str, torch.Tensor]:
        """Return current and remembered labels and the recent predictions."""
        return {
            "labels": self.labels,
            "remembered": self.remembered,
            "recent": self.recent.ring,
        }
