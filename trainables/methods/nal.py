"""Noise Attention Learning (Lu, Bo and He, NeurIPS 2022), eq. 2 to 4 and Algorithm 1."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from trainables.errors import FieldError
from trainables.lazy import LazyModule
from trainables.methods.base import Batch, Context, Method
from trainables.parameters import FrozenMap, Parameter, Space

if TYPE_CHECKING:
    import torch
    from torch.nn import functional
else:
    torch = LazyModule("torch")
    functional = LazyModule("torch.nn.functional")


def attention_loss(
    logits: torch.Tensor, attention: torch.Tensor, targets: torch.Tensor
) -> torch.Tensor:
    """Attention term of eq. 3 per sample: -tᵀ log(τ(p - t) + t), without clamps.

    It is evaluated in log space, as logaddexp(log τ + log p, log(1 - τ) + log t), which is finite
    wherever the logits are; an entry with t = 0 contributes neither value nor gradient.

    Args:
        logits: prediction branch, shape (b, K).
        attention: attention branch before the sigmoid (h of eq. 2), shape (b,).
        targets: rows that sum to 1, shape (b, K).

    Returns:
        Losses, shape (b,).
    """
    h = attention.unsqueeze(1)
    predicted = functional.logsigmoid(h) + functional.log_softmax(logits, dim=1)
    kept = functional.logsigmoid(-h) + targets.log()
    return -(targets * torch.logaddexp(predicted, kept)).sum(dim=1)


def boost_loss(attention: torch.Tensor) -> torch.Tensor:
    """Boost term of eq. 3 per sample: -log τ, shape (b,)."""
    return functional.softplus(-attention)


class NoiseAttention(Method):
    """L = -(1/b) Σ tᵀ log(τ(p - t) + t) - (λ/b) Σ log τ, with targets t by temporal ensembling.

    A sample's target starts as its one-hot noisy label. In target epochs (the first, and every
    `target_interval` epochs after it) it becomes α t + (1 - α) p before the loss is taken, p being
    the training prediction of the step, detached (eq. 4). The paper's Algorithm 1 is
    first_target_epoch = target_interval = 1.
    """

    name: ClassVar[str] = "nal"
    title: ClassVar[str] = "NAL"
    source: ClassVar[str] = "paper, eq. 2-4 and Algorithm 1"
    parameters: ClassVar[tuple[Parameter, ...]] = (
        Parameter(
            "lambda",
            default=0.5,
            low=0,
            low_open=True,
            help="weight λ of the boost term (eq. 3)",
            space=Space(0.1, 50, log=True),
        ),
        Parameter(
            "alpha",
            default=0.9,
            low=0,
            high=1,
            high_open=True,
            help="momentum α of the targets (eq. 4)",
            space=Space(0.5, 0.99),
        ),
        Parameter(
            "first_target_epoch",
            default=1,
            low=1,
            in_epochs=True,
            help="first epoch that updates the targets (Algorithm 1: 1; public code: 60)",
        ),
        Parameter(
            "target_interval",
            default=1,
            low=1,
            in_epochs=True,
            help="epochs between updates of the targets (Algorithm 1: 1; public code: 10)",
        ),
    )

    def __init__(self, context: Context) -> None:
        super().__init__(context)
        values = context.hyperparameters
        self.boost = values.number("lambda")
        self.momentum = values.number("alpha")
        self.first = int(values.number("first_target_epoch"))
        self.interval = int(values.number("target_interval"))
        self.targets = functional.one_hot(context.labels, context.classes).to(torch.float32)

    @classmethod
    def check(cls, hyperparameters: FrozenMap, epochs: int) -> None:
        """Refuse a first target epoch that never comes."""
        first = int(hyperparameters.number("first_target_epoch"))
        if first > epochs:
            raise FieldError(
                "first_target_epoch",
                f"first_target_epoch is {first}, after the last epoch ({epochs}): "
                f"choose one from 1 to {epochs}",
            )

    def updates_targets(self, epoch: int) -> bool:
        """Tell whether the targets move in this epoch."""
        return epoch >= self.first and (epoch - self.first) % self.interval == 0

    def loss(self, batch: Batch) -> torch.Tensor:
        """Update the batch's targets where the epoch says so, then return eq. 3."""
        targets = self.targets[batch.index]
        if self.updates_targets(batch.epoch):
            p = batch.logits.detach().softmax(dim=1)
            targets = self.momentum * targets + (1 - self.momentum) * p
            self.targets[batch.index] = targets
        losses = attention_loss(batch.logits, batch.attention, targets)
        return (losses + self.boost * boost_loss(batch.attention)).mean()

    def state_dict(self) -> dict[str, torch.Tensor]:
        """Return the targets, float32, shape (n, K)."""
        return {"targets": self.targets}

    def load_state_dict(self, state: dict[str, torch.Tensor]) -> None:
        """Take the targets of a checkpoint."""
        self.targets.copy_(state["targets"])
