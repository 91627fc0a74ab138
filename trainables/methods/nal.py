"""Noise Attention Learning (Lu, Bo and He, NeurIPS 2022), eq. 2 to 4 and Algorithm 1."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, ClassVar

from trainables.errors import FieldError
from trainables.lazy import functional, torch
from trainables.methods.base import Batch, Context, FrozenMap, Parameter, Setting, Space
from trainables.methods.tables import TargetTable

if TYPE_CHECKING:
    from collections.abc import Mapping


LABEL_FLOOR = 1e-4
"""Least entry of a label row in the public code; also the A of the reverse term, log A = -9.21."""
WEIGHT_FLOOR = 1e-12
"""Least attention weight and least probability in the public code."""
PREDICTION_FLOOR = 1e-7
"""Least entry of τ(p - t) + t in the public code."""


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


def reverse_loss(
    logits: torch.Tensor, attention: torch.Tensor, targets: torch.Tensor
) -> torch.Tensor:
    """Reverse term (RNAL, section 5.4) per sample: -(τ(p - t) + t)ᵀ log max(t, 1e-4), shape (b,).

    As in symmetric cross entropy, with the mixture in the place of the prediction.
    """
    weight = attention.sigmoid().unsqueeze(1)
    mixture = weight * logits.softmax(dim=1) + (1 - weight) * targets
    return -(mixture * targets.clamp(min=LABEL_FLOOR).log()).sum(dim=1)


def clamped_losses(
    logits: torch.Tensor, attention: torch.Tensor, labels: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """The three terms per sample as the public code computes them (loss.py).

    Args:
        logits: prediction branch, shape (b, K).
        attention: attention branch before the sigmoid, shape (b,).
        labels: rows floored at 1e-4 and not normalised again, shape (b, K).

    Returns:
        Attention, boost and reverse term, shape (b,) each.
    """
    # In float32 the upper bounds are 1 itself.
    weight = attention.sigmoid().clamp(WEIGHT_FLOOR, 1 - WEIGHT_FLOOR)
    p = logits.softmax(dim=1).clamp(WEIGHT_FLOOR, 1 - WEIGHT_FLOOR)
    h = weight.unsqueeze(1)
    mixture = (h * p + (1 - h) * labels).clamp(PREDICTION_FLOOR, 1.0)
    attended = -(labels * mixture.log()).sum(dim=1)
    return attended, -weight.log(), -(mixture * labels.log()).sum(dim=1)


LAMBDA = Parameter(
    "lambda",
    default=0.5,
    low=0,
    low_open=True,
    help="weight λ of the boost term (eq. 3)",
    space=Space(0.1, 50, log=True),
)
ALPHA = Parameter(
    "alpha",
    default=0.9,
    low=0,
    high=1,
    high_open=True,
    help="momentum α of the targets (eq. 4)",
    space=Space(0.5, 0.99),
)
FIRST_TARGET_EPOCH = Parameter(
    "first_target_epoch",
    default=1,
    low=1,
    in_epochs=True,
    must_come=True,
    help="first epoch that updates the targets (Algorithm 1: 1; public code: 60)",
)
TARGET_INTERVAL = Parameter(
    "target_interval",
    default=1,
    low=1,
    in_epochs=True,
    help="epochs between updates of the targets (Algorithm 1: 1; public code: 10)",
)
CLAMPS = Parameter(
    "clamps",
    default=False,
    help="the public code's clamps (labels floored at 1e-4 without renormalisation, and others)",
)
DELTA = Parameter(
    "delta",
    default=0.0,
    low=0,
    high=1,
    high_open=True,
    help="only samples with attention weight above δ have their targets updated (public code: 0)",
)
BETA = Parameter(
    "beta",
    default=0.0,
    low=0,
    help="weight β of the reverse term (RNAL, section 5.4; public code: 0 or 0.1)",
)

_CODE = "public code"
_SWITCHES = {"clamps": True, "delta": 0.0}


class NoiseAttention(TargetTable):
    """L = -(1/b) Σ tᵀ log(τ(p - t) + t) - (λ/b) Σ log τ, with targets t by temporal ensembling.

    A sample's target starts as its one-hot noisy label. In target epochs (the first, and every
    `target_interval` epochs after it) it becomes α t + (1 - α) p before the loss is taken, p being
    the training prediction of the step, detached (eq. 4). The paper's Algorithm 1 is
    first_target_epoch = target_interval = 1.

    With `clamps` the loss is the public code's, value for value: label rows are floored at 1e-4
    and not normalised again, the whole table of targets after every update likewise.
    """

    name: ClassVar[str] = "nal"
    title: ClassVar[str] = "NAL"
    source: ClassVar[str] = "paper, eq. 2-4 and Algorithm 1"
    parameters: ClassVar[tuple[Parameter, ...]] = (
        LAMBDA,
        ALPHA,
        FIRST_TARGET_EPOCH,
        TARGET_INTERVAL,
        CLAMPS,
        DELTA,
        BETA,
    )
    presets: ClassVar[Mapping[str, tuple[Setting, ...]]] = {
        "paper": (
            Setting(
                "*",
                "*",
                {"first_target_epoch": 1, "target_interval": 1, "clamps": False, "delta": 0.0},
                "paper, Algorithm 1",
            ),
        ),
        "official": (
            Setting(
                "cifar10*",
                "*",
                {"first_target_epoch": 60, "target_interval": 10, **_SWITCHES},
                f"{_CODE}, train_cifar.py and loss.py",
            ),
            Setting(
                "animal10n",
                "*",
                {"first_target_epoch": 41, "target_interval": 1, **_SWITCHES},
                f"{_CODE}, train_animal10n.py (epoch 40 there, which counts from 0)",
            ),
            Setting(
                "clothing1m",
                "*",
                {"first_target_epoch": 60, "target_interval": 10, "beta": 0.1, **_SWITCHES},
                f"{_CODE}, train_clothing1m.py and loss.py",
            ),
            Setting(
                "webvision",
                "*",
                {"first_target_epoch": 200, "target_interval": 10, "beta": 0.1, **_SWITCHES},
                f"{_CODE}, train_webvision.py and loss.py",
            ),
        ),
    }

    def __init__(self, context: Context) -> None:
        super().__init__(context)
        values = context.hyperparameters
        self.boost = values.number("lambda")
        self.momentum = values.number("alpha")
        self.first = int(values.number("first_target_epoch"))
        self.interval = int(values.number("target_interval"))
        self.clamps = bool(values["clamps"])
        self.delta = values.number("delta")
        self.reverse = values.number("beta")

    @classmethod
    def check(cls, hyperparameters: FrozenMap, epochs: int) -> None:
        """Refuse a first target epoch that never comes, or that gave NaN in the public code."""
        super().check(hyperparameters, epochs)
        first = int(hyperparameters.number("first_target_epoch"))
        interval = int(hyperparameters.number("target_interval"))
        if hyperparameters["clamps"] and first % interval:
            near = math.ceil(first / interval) * interval
            raise FieldError(
                "first_target_epoch",
                f"first_target_epoch {first} is no multiple of target_interval {interval}: with "
                "clamps, as in the public code, the labels' zeros would not be floored before "
                f"they are used, and the loss would be NaN; choose {near}, or clamps false",
            )

    def updates_targets(self, epoch: int) -> bool:
        """Tell whether the targets move in this epoch."""
        return epoch >= self.first and (epoch - self.first) % self.interval == 0

    def attention_logit(self, batch: Batch) -> torch.Tensor:
        """Return h of eq. 2, shape (b,)."""
        return batch.attention

    def loss(self, batch: Batch) -> torch.Tensor:
        """Update the batch's targets where the epoch says so, then return eq. 3."""
        attention = self.attention_logit(batch)
        if self.updates_targets(batch.epoch):
            self._update(batch, attention.detach())
        targets = self.targets[batch.index]
        if self.clamps:
            targets = targets.clamp(min=LABEL_FLOOR)
            attended, boosted, reversed_ = clamped_losses(batch.logits, attention, targets)
            return attended.mean() + self.boost * boosted.mean() + self.reverse * reversed_.mean()
        losses = attention_loss(batch.logits, attention, targets)
        losses = losses + self.boost * boost_loss(attention)
        if self.reverse:
            losses = losses + self.reverse * reverse_loss(batch.logits, attention, targets)
        return losses.mean()

    def _update(self, batch: Batch, attention: torch.Tensor) -> None:
        before = self.targets[batch.index]
        p = batch.logits.detach().softmax(dim=1)
        after = self.momentum * before + (1 - self.momentum) * p
        if self.delta:
            attended = attention.sigmoid() > self.delta
            after = torch.where(attended.unsqueeze(1), after, before)
        self.targets[batch.index] = after
        if self.clamps:
            self.targets.clamp_(min=LABEL_FLOOR)
