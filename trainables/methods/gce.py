"""Generalised cross entropy, GCE, plain and truncated (Zhang and Sabuncu, NeurIPS 2018)."""

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
from trainables.methods.published import cifar_recipe

_REPOSITORY = "AlanChou/Truncated-Loss"
_RECIPES = (
    PublishedRecipe(
        "cifar10",
        "*",
        cifar_recipe(
            120,
            0.01,
            MultiStep((40, 80)),
            mean=(0.491, 0.482, 0.447),
            std=(0.247, 0.243, 0.262),
        ),
        _REPOSITORY,
    ),
    PublishedRecipe(
        "cifar100",
        "*",
        cifar_recipe(
            150,
            0.01,
            MultiStep((80, 120)),
            mean=(0.507, 0.487, 0.441),
            std=(0.267, 0.256, 0.276),
        ),
        _REPOSITORY,
    ),
)
_PRUNING_NOTE = (
    "it prunes by what the network with the best test accuracy predicts for augmented images, here "
    "the current network for images without augmentation"
)
EXPONENT = Parameter(
    "q",
    default=0.7,
    low=0,
    low_open=True,
    high=1,
    help="exponent q: near 0 cross entropy, at 1 mean absolute error (GCE paper: 0.7)",
    space=Space(0.2, 1.0),
)


def generalised_cross_entropy(logits: torch.Tensor, labels: torch.Tensor, q: float) -> torch.Tensor:
    """Return the generalised cross entropy (1 - p_y^q) / q of each sample, shape (b,).

    The form -expm1(q log p_y) / q is used, whose value and gradient are finite for all finite
    logits without a lower bound for p_y.

    Args:
        logits: outputs of the prediction branch, shape (b, K).
        labels: noisy labels y, shape (b,).
        q: exponent, above 0 and at most 1.
    """
    log_p = functional.log_softmax(logits, dim=1)
    log_p_label = log_p.gather(1, labels.unsqueeze(1)).squeeze(1)
    return -torch.expm1(q * log_p_label) / q


class GeneralisedCrossEntropy(Method):
    """Generalised cross entropy to the noisy labels ỹ: L_q = (1/b) Σ (1 - p_ỹ^q) / q."""

    name: ClassVar[str] = "gce"
    title: ClassVar[str] = "GCE"
    source: ClassVar[str] = "Zhang and Sabuncu, NeurIPS 2018, eq. 6"
    parameters: ClassVar[tuple[Parameter, ...]] = (EXPONENT,)
    published_recipes: ClassVar[tuple[PublishedRecipe, ...]] = _RECIPES

    def loss(self, batch: Batch) -> torch.Tensor:
        """Return the mean generalised cross entropy of a batch."""
        q = self.context.hyperparameters.number("q")
        labels = self.context.labels[batch.index]
        return generalised_cross_entropy(batch.logits, labels, q).mean()


class TruncatedGeneralisedCrossEntropy(Method):
    """Generalised cross entropy that prunes samples whose label has a low predicted probability.

    Samples with p_ỹ ≤ k are pruned: their loss is the constant (1 - k^q) / q, without a gradient.
    Before epoch `first_pruning_epoch`, and again every `pruning_interval` epochs, all training
    samples are predicted to determine the pruned ones. The current network predicts them; the
    public PyTorch port of the method uses the checkpoint with the best test accuracy so far.
    """

    name: ClassVar[str] = "gce-truncated"
    title: ClassVar[str] = "GCE (truncated)"
    source: ClassVar[str] = "Zhang and Sabuncu, NeurIPS 2018, eq. 9 and Algorithm 1"
    parameters: ClassVar[tuple[Parameter, ...]] = (
        EXPONENT,
        Parameter(
            "k",
            default=0.5,
            low=0,
            high=1,
            high_open=True,
            help="samples whose label probability is at most k are pruned (GCE paper: 0.5)",
        ),
        Parameter(
            "first_pruning_epoch",
            default=40,
            low=1,
            in_epochs=True,
            must_be_reached=True,
            help="first epoch with pruned samples (public code: 40, CIFAR-100: 80)",
        ),
        Parameter(
            "pruning_interval",
            default=10,
            low=1,
            in_epochs=True,
            help="number of epochs between prunings (public code: 10)",
        ),
    )
    settings: ClassVar[tuple[Setting, ...]] = (
        Setting("cifar100", "*", {"first_pruning_epoch": 80}, _REPOSITORY),
        Setting("cifar10", "*", {"first_pruning_epoch": 40}, _REPOSITORY),
    )
    published_recipes: ClassVar[tuple[PublishedRecipe, ...]] = tuple(
        replace(entry, source=f"{entry.source}; {_PRUNING_NOTE}") for entry in _RECIPES
    )

    def __init__(self, context: Context) -> None:
        super().__init__(context)
        hyperparameters = context.hyperparameters
        self.q = hyperparameters.number("q")
        self.pruning_threshold = hyperparameters.number("k")
        self.first_pruning_epoch = int(hyperparameters.number("first_pruning_epoch"))
        self.pruning_interval = int(hyperparameters.number("pruning_interval"))
        self.unpruned_mask = torch.ones_like(context.labels, dtype=torch.bool)

    @classmethod
    def state_bytes(cls, hyperparameters: FrozenMap, sample_count: int, class_count: int) -> int:  # noqa: ARG003
        """Return the size of the mask of unpruned samples in bytes."""
        return sample_count

    def loss(self, batch: Batch) -> torch.Tensor:
        """Return the mean loss of a batch, in which the loss of a pruned sample is a constant."""
        labels = self.context.labels[batch.index]
        losses = generalised_cross_entropy(batch.logits, labels, self.q)
        pruned_loss = (1 - self.pruning_threshold**self.q) / self.q
        # `where` on the losses themselves makes the gradient of a pruned sample 0.
        return torch.where(self.unpruned_mask[batch.index], losses, pruned_loss).mean()

    def end_epoch(self, epoch: int, predict: PredictFunction) -> None:
        """Determine which samples are pruned, if pruning is due before the next epoch."""
        epochs_since_first = epoch + 1 - self.first_pruning_epoch
        if epochs_since_first >= 0 and epochs_since_first % self.pruning_interval == 0:
            p_label = predict().gather(1, self.context.labels.unsqueeze(1)).squeeze(1)
            self.unpruned_mask.copy_(p_label > self.pruning_threshold)

    def state_dict(self) -> dict[str, torch.Tensor]:
        """Return the mask of unpruned samples, for a checkpoint."""
        return {"kept": self.unpruned_mask}
