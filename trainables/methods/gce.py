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
    Published,
    Setting,
    Space,
)
from trainables.methods.cifar_recipes import cifar

_REPOSITORY = "AlanChou/Truncated-Loss"
_RECIPES = (
    Published("cifar10", "*", cifar(120, 0.01, MultiStep((40, 80))), _REPOSITORY),
    Published("cifar100", "*", cifar(150, 0.01, MultiStep((80, 120))), _REPOSITORY),
)
Q = Parameter(
    "q",
    default=0.7,
    low=0,
    low_open=True,
    high=1,
    help="exponent q: towards 0 cross entropy, 1 mean absolute error (GCE paper: 0.7)",
    space=Space(0.2, 1.0),
)


def generalised(logits: torch.Tensor, labels: torch.Tensor, q: float) -> torch.Tensor:
    """Return (1 - p_y^q) / q per sample, shape (b,).

    As -expm1(q log p_y) / q it needs no floor under p_y: value and gradient are finite wherever the
    logits are.
    """
    log_p = functional.log_softmax(logits, dim=1)
    chosen = log_p.gather(1, labels.unsqueeze(1)).squeeze(1)
    return -torch.expm1(q * chosen) / q


class GeneralisedCrossEntropy(Method):
    """L_q = (1/b) Σ (1 - p_ỹ^q) / q."""

    name: ClassVar[str] = "gce"
    title: ClassVar[str] = "GCE"
    source: ClassVar[str] = "Zhang and Sabuncu, NeurIPS 2018, eq. 6"
    parameters: ClassVar[tuple[Parameter, ...]] = (Q,)
    published: ClassVar[tuple[Published, ...]] = _RECIPES

    def loss(self, batch: Batch) -> torch.Tensor:
        """Return the mean loss of a batch."""
        q = self.context.hyperparameters.number("q")
        return generalised(batch.logits, self.context.labels[batch.index], q).mean()


class TruncatedCrossEntropy(Method):
    """L_q of the samples with p_ỹ above k, and the constant L_q(k) for the others.

    Which samples those are is decided after the epoch before `first_pruning_epoch`, and every
    `pruning_interval` epochs after it, by a pass over the training samples. The network as it is
    decides; the public port takes its checkpoint with the best accuracy so far.
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
            help="samples with p of the given label up to k are pruned (GCE paper: 0.5)",
        ),
        Parameter(
            "first_pruning_epoch",
            default=41,
            low=1,
            in_epochs=True,
            must_come=True,
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
    published: ClassVar[tuple[Published, ...]] = _RECIPES

    def __init__(self, context: Context) -> None:
        super().__init__(context)
        values = context.hyperparameters
        self.q, self.k = values.number("q"), values.number("k")
        self.first = int(values.number("first_pruning_epoch"))
        self.interval = int(values.number("pruning_interval"))
        self.kept = torch.ones_like(context.labels, dtype=torch.bool)

    @classmethod
    def state_bytes(cls, hyperparameters: FrozenMap, samples: int, classes: int) -> int:  # noqa: ARG003
        """Return the size of the weights."""
        return samples

    def loss(self, batch: Batch) -> torch.Tensor:
        """Return the mean loss of a batch, pruned samples at their constant."""
        losses = generalised(batch.logits, self.context.labels[batch.index], self.q)
        constant = (1 - self.k**self.q) / self.q
        # `where` on the finished losses: a pruned sample's gradient is 0.
        return torch.where(self.kept[batch.index], losses, constant).mean()

    def end_epoch(self, epoch: int, predict: Predict) -> None:
        """Decide anew which samples count, where the next epoch asks for it."""
        after = epoch + 1 - self.first
        if after >= 0 and after % self.interval == 0:
            p = predict().gather(1, self.context.labels.unsqueeze(1)).squeeze(1)
            self.kept.copy_(p > self.k)

    def state_dict(self) -> dict[str, torch.Tensor]:
        """Return which samples count."""
        return {"kept": self.kept}
