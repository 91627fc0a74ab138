"""Noise Attention Learning (Lu, Bo and He, NeurIPS 2022), eq. 2 to 4 and Algorithm 1."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, ClassVar

from trainables.errors import FieldError
from trainables.lazy import functional, torch
from trainables.methods.base import Batch, Context, FrozenMap, Parameter, Setting, Space
from trainables.methods.per_sample_state import TargetTable

if TYPE_CHECKING:
    from collections.abc import Mapping


LABEL_FLOOR = 1e-4
"""Lower bound of the entries of label rows in NAL's public code, and of the targets in the
logarithm of the reverse term."""
PROBABILITY_FLOOR = 1e-12
"""Lower bound of attention weights and class probabilities in NAL's public code."""
MIXTURE_FLOOR = 1e-7
"""Lower bound of the entries of the mixture τ(p - t) + t in NAL's public code."""


def attention_loss(
    logits: torch.Tensor, attention: torch.Tensor, targets: torch.Tensor
) -> torch.Tensor:
    """Return the attention term -tᵀ log(τ(p - t) + t) of each sample (eq. 3 of the NAL paper).

    The logarithm is computed as logaddexp(log τ + log p, log(1 - τ) + log t), which is finite for
    all finite logits, so that no clamps are needed. Entries with t = 0 add nothing to the value or
    the gradient.

    Args:
        logits: outputs of the prediction branch, shape (b, K).
        attention: outputs of the attention branch before the sigmoid, the logits of τ, shape (b,).
        targets: target rows that sum to 1, shape (b, K).

    Returns:
        Losses, shape (b,).
    """
    tau_logit = attention.unsqueeze(1)
    log_prediction_part = functional.logsigmoid(tau_logit) + functional.log_softmax(logits, dim=1)
    log_target_part = functional.logsigmoid(-tau_logit) + targets.log()
    return -(targets * torch.logaddexp(log_prediction_part, log_target_part)).sum(dim=1)


def boost_loss(attention: torch.Tensor) -> torch.Tensor:
    """Return the boost term -log τ of each sample from the logits of τ (eq. 3), shape (b,)."""
    return functional.softplus(-attention)


def reverse_loss(
    logits: torch.Tensor, attention: torch.Tensor, targets: torch.Tensor
) -> torch.Tensor:
    """Return the reverse term of RNAL of each sample (section 5.4 of the NAL paper), shape (b,).

    The term is -(τ(p - t) + t)ᵀ log max(t, 1e-4): the reverse term of symmetric cross entropy, with
    the mixture of prediction and target instead of the prediction.
    """
    weight = attention.sigmoid().unsqueeze(1)
    mixture = weight * logits.softmax(dim=1) + (1 - weight) * targets
    return -(mixture * targets.clamp(min=LABEL_FLOOR).log()).sum(dim=1)


def clamped_losses(
    logits: torch.Tensor, attention: torch.Tensor, labels: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Return the three loss terms of each sample, clamped as in NAL's public code (loss.py).

    Args:
        logits: outputs of the prediction branch, shape (b, K).
        attention: outputs of the attention branch before the sigmoid, shape (b,).
        labels: label rows clamped to at least 1e-4 and not normalised again, shape (b, K).

    Returns:
        Attention term, boost term and reverse term, each of shape (b,).
    """
    # In float32 the upper bound 1 - 1e-12 is rounded to 1, as in the public code.
    tau = attention.sigmoid().clamp(PROBABILITY_FLOOR, 1 - PROBABILITY_FLOOR)
    probabilities = logits.softmax(dim=1).clamp(PROBABILITY_FLOOR, 1 - PROBABILITY_FLOOR)
    weight = tau.unsqueeze(1)
    mixture = (weight * probabilities + (1 - weight) * labels).clamp(MIXTURE_FLOOR, 1.0)
    attention_term = -(labels * mixture.log()).sum(dim=1)
    return attention_term, -tau.log(), -(mixture * labels.log()).sum(dim=1)


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
    must_be_reached=True,
    help="first epoch that updates the targets (Algorithm 1: 1; public code: 60)",
)
TARGET_UPDATE_INTERVAL = Parameter(
    "target_interval",
    default=1,
    low=1,
    in_epochs=True,
    help="epochs between updates of the targets (Algorithm 1: 1; public code: 10)",
)
CLAMPS = Parameter(
    "clamps",
    default=False,
    help="whether to clamp as the public code does (labels to at least 1e-4, and others)",
)
DELTA = Parameter(
    "delta",
    default=0.0,
    low=0,
    high=1,
    high_open=True,
    help="attention weight δ above which a sample's target is updated (public code: 0)",
)
BETA = Parameter(
    "beta",
    default=0.0,
    low=0,
    help="weight β of the reverse term (RNAL, section 5.4; public code: 0 or 0.1)",
)

_PUBLIC_CODE = "public code"
_PUBLIC_CODE_VALUES = {"clamps": True, "delta": 0.0}
"""Hyperparameter values that NAL's public code uses on all datasets."""


class NoiseAttentionLearning(TargetTable):
    """Noise Attention Learning: L = -(1/b) Σ tᵀ log(τ(p - t) + t) - (λ/b) Σ log τ.

    The target t of a sample is initially its one-hot noisy label. Targets are updated in epoch
    `first_target_epoch` and every `target_interval` epochs after it: before the loss is computed, t
    becomes α t + (1 - α) p, where p is the detached prediction of the current step (eq. 4).
    Algorithm 1 of the NAL paper updates targets in all epochs (both parameters are 1).

    With `clamps`, the loss is computed as in the public code: label rows are clamped to at least
    1e-4 and not normalised again, and so are all targets after every update.
    """

    name: ClassVar[str] = "nal"
    title: ClassVar[str] = "NAL"
    source: ClassVar[str] = "paper, eq. 2-4 and Algorithm 1"
    parameters: ClassVar[tuple[Parameter, ...]] = (
        LAMBDA,
        ALPHA,
        FIRST_TARGET_EPOCH,
        TARGET_UPDATE_INTERVAL,
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
                {"first_target_epoch": 60, "target_interval": 10, **_PUBLIC_CODE_VALUES},
                f"{_PUBLIC_CODE}, train_cifar.py and loss.py",
            ),
            Setting(
                "animal10n",
                "*",
                {"first_target_epoch": 41, "target_interval": 1, **_PUBLIC_CODE_VALUES},
                f"{_PUBLIC_CODE}, train_animal10n.py (epoch 40 there, counted from 0)",
            ),
            Setting(
                "clothing1m",
                "*",
                {
                    "first_target_epoch": 60,
                    "target_interval": 10,
                    "beta": 0.1,
                    **_PUBLIC_CODE_VALUES,
                },
                f"{_PUBLIC_CODE}, train_clothing1m.py and loss.py",
            ),
            Setting(
                "webvision",
                "*",
                {
                    "first_target_epoch": 200,
                    "target_interval": 10,
                    "beta": 0.1,
                    **_PUBLIC_CODE_VALUES,
                },
                f"{_PUBLIC_CODE}, train_webvision.py and loss.py",
            ),
        ),
    }

    def __init__(self, context: Context) -> None:
        super().__init__(context)
        hyperparameters = context.hyperparameters
        self.lambda_ = hyperparameters.number("lambda")
        self.alpha = hyperparameters.number("alpha")
        self.first_epoch = int(hyperparameters.number("first_target_epoch"))
        self.interval = int(hyperparameters.number("target_interval"))
        self.clamps = bool(hyperparameters["clamps"])
        self.delta = hyperparameters.number("delta")
        self.beta = hyperparameters.number("beta")

    @classmethod
    def check(cls, hyperparameters: FrozenMap, epochs: int) -> None:
        """Check the epochs in which targets are updated.

        Raises:
            FieldError: if `first_target_epoch` is after the last epoch; with `clamps`, also if it
                is not a multiple of `target_interval`, since the loss would be NaN.
        """
        super().check(hyperparameters, epochs)
        first_epoch = int(hyperparameters.number("first_target_epoch"))
        interval = int(hyperparameters.number("target_interval"))
        if hyperparameters["clamps"] and first_epoch % interval:
            next_multiple = math.ceil(first_epoch / interval) * interval
            raise FieldError(
                "first_target_epoch",
                f"first_target_epoch {first_epoch} is no multiple of target_interval {interval}: "
                "with clamps, as in the public code, zeros of labels would not be clamped "
                "before their logarithm, and the loss would be NaN; choose "
                f"{next_multiple}, or clamps false",
            )

    def updates_targets(self, epoch: int) -> bool:
        """Return whether targets are updated in the given epoch."""
        return epoch >= self.first_epoch and (epoch - self.first_epoch) % self.interval == 0

    def attention_logit(self, batch: Batch) -> torch.Tensor:
        """Return the logit of each sample's attention weight τ, shape (b,)."""
        return batch.attention

    def loss(self, batch: Batch) -> torch.Tensor:
        """Return the mean loss of a batch (eq. 3); before, update its targets if that is due."""
        attention = self.attention_logit(batch)
        if self.updates_targets(batch.epoch):
            self._update_targets(batch, attention.detach())
        targets = self.targets[batch.index]
        if self.clamps:
            targets = targets.clamp(min=LABEL_FLOOR)
            attention_term, boost_term, reverse_term = (
                losses.mean() for losses in clamped_losses(batch.logits, attention, targets)
            )
            return attention_term + self.lambda_ * boost_term + self.beta * reverse_term
        losses = attention_loss(batch.logits, attention, targets)
        losses = losses + self.lambda_ * boost_loss(attention)
        if self.beta:
            losses = losses + self.beta * reverse_loss(batch.logits, attention, targets)
        return losses.mean()

    def _update_targets(self, batch: Batch, attention: torch.Tensor) -> None:
        """Update the targets of a batch's samples whose attention weight is above δ (eq. 4)."""
        old_targets = self.targets[batch.index]
        p = batch.logits.detach().softmax(dim=1)
        new_targets = self.alpha * old_targets + (1 - self.alpha) * p
        if self.delta:
            above_delta = attention.sigmoid() > self.delta
            new_targets = torch.where(above_delta.unsqueeze(1), new_targets, old_targets)
        self.targets[batch.index] = new_targets
        if self.clamps:
            self.targets.clamp_(min=LABEL_FLOOR)
