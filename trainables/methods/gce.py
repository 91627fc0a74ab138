"""Generalised cross entropy (Zhang and Sabuncu, NeurIPS 2018), plain and truncated."""

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
    Setting,
    Space,
)
from trainables.methods.published import cifar_recipe

_REPOSITORY = "AlanChou/Truncated-Loss"
_RECIPES = (
    PublishedRecipe("cifar10", "*", cifar_recipe(120, 0.01, MultiStep((40, 80))), _REPOSITORY),
    PublishedRecipe("cifar100", "*", cifar_recipe(150, 0.01, MultiStep((80, 120))), _REPOSITORY),
)
Q = Parameter(
    "q",
    default=0.7,
    low=0,
    low_open=True,
    high=1,
    help="exponent q: near 0 cross entropy, at 1 mean absolute error (GCE paper: 0.7)",
    space=Space(0.2, 1.0),
)


def generalised_losses(logits: torch.Tensor, labels: torch.Tensor, q: float) -> torch.Tensor:
    """Return the generalised cross entropy (1 - p_y^q) / q of each sample, shape (b,).

    It is computed as -expm1(q log p_y) / q. Value and gradient of this form are finite for all
    finite logits, without a lower bound for p_y.
    """
    log_p = functional.log_softmax(logits, dim=1)
    log_p_label = log_p.gather(1, labels.unsqueeze(1)).squeeze(1)
    return -torch.expm1(q * log_p_label) / q


class GeneralisedCrossEntropy(Method):
    """Generalised cross entropy: L_q = (1/b) Σ (1 - p_ỹ^q) / q."""

    name: ClassVar[str] = "gce"
    title: ClassVar[str] = "GCE"
    source: ClassVar[str] = "Zhang and Sabuncu, NeurIPS 2018, eq. 6"
    parameters: ClassVar[tuple[Parameter, ...]] = (Q,)
    published_recipes: ClassVar[tuple[PublishedRecipe, ...]] = _RECIPES

    def loss(self, batch: Batch) -> torch.Tensor:
        """Return the mean loss of a batch."""
        q = self.context.hyperparameters.number("q")
        return generalised_losses(batch.logits, self.context.labels[batch.index], q).mean()


class TruncatedGeneralisedCrossEntropy(Method):
    """Generalised cross entropy that ignores samples whose label has a low probability.

    Samples with p_ỹ ≤ k are pruned: their loss is the constant L_q(k), without a gradient. They are
    determined by a pass over the training samples before epoch `first_pruning_epoch`, and again
    every `pruning_interval` epochs. The pass uses the current network; the public PyTorch port uses
    the checkpoint with the best accuracy so far.
    """

    name: ClassVar[str] = "gce-truncated"
    title: ClassVar[str] = "GCE (truncated)"
    source: ClassVar[str] = "Zhang and Sabuncu, NeurIPS 2018, eq. 9 and Algorithm 1"
    parameters: ClassVar[tuple[Parameter, ...]] = (
        Q,
        Parameter(
            "k",
            default=0.5,
            low=0,
            high=1,
            high_open=True,
            help="samples whose p of the given label is at most k are pruned (GCE paper: 0.5)",
        ),
        Parameter(
            "first_pruning_epoch",
            default=41,
            low=1,
            in_epochs=True,
            must_be_reached=True,
            help="first epoch trained with pruned samples (port: after epoch 40, CIFAR-100: 80)",
        ),
        Parameter(
            "pruning_interval",
            default=10,
            low=1,
            in_epochs=True,
            help="epochs between prunings (port: 10)",
        ),
    )
    settings: ClassVar[tuple[Setting, ...]] = (
        Setting("cifar100", "*", {"first_pruning_epoch": 81}, _REPOSITORY),
        Setting("cifar10", "*", {"first_pruning_epoch": 41}, _REPOSITORY),
    )
    published_recipes: ClassVar[tuple[PublishedRecipe, ...]] = _RECIPES

    def __init__(self, context: Context) -> None:
        super().__init__(context)
        hyperparameters = context.hyperparameters
        self.q, self.k = hyperparameters.number("q"), hyperparameters.number("k")
        self.first_epoch = int(hyperparameters.number("first_pruning_epoch"))
        self.interval = int(hyperparameters.number("pruning_interval"))
        self.unpruned = torch.ones_like(context.labels, dtype=torch.bool)

    @classmethod
    def state_bytes(cls, hyperparameters: FrozenMap, samples: int, classes: int) -> int:  # noqa: ARG003
        """Return the size of the mask of unpruned samples in bytes."""
        return samples

    def loss(self, batch: Batch) -> torch.Tensor:
        """Return the mean loss of a batch; the loss of a pruned sample is a constant."""
        losses = generalised_losses(batch.logits, self.context.labels[batch.index], self.q)
        constant = (1 - self.k**self.q) / self.q
        # `where` on the losses themselves makes the gradient of a pruned sample 0.
        return torch.where(self.unpruned[batch.index], losses, constant).mean()

    def end_epoch(self, epoch: int, predict: Predict) -> None:
        """Determine the pruned samples anew if the next epoch is a pruning epoch."""
        epochs_since_first = epoch + 1 - self.first_epoch
        if epochs_since_first >= 0 and epochs_since_first % self.interval == 0:
            p_label = predict().gather(1, self.context.labels.unsqueeze(1)).squeeze(1)
            self.unpruned.copy_(p_label > self.k)

    def state_dict(self) -> dict[str, torch.Tensor]:
        """Return the mask of unpruned samples, for a checkpoint."""
        return {"kept": self.unpruned}
