"""Noise Attention Learning, NAL (Lu, Bo and He, NeurIPS 2022), eq. 2 to 4 and Algorithm 1."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, ClassVar

from trainables.errors import FieldError
from trainables.lazy import functional, torch
from trainables.methods.base import Batch, Context, FrozenMap, Parameter, Setting, Space
from trainables.methods.per_sample_state import MethodWithTargets

if TYPE_CHECKING:
    from collections.abc import Mapping

    from trainables.run.recipe import Recipe


LABEL_FLOOR = 1e-4
"""Lower bound of label entries in NAL's public code, and of target entries in the logarithm of the
reverse term."""
PROBABILITY_FLOOR = 1e-12
"""Lower bound of attention weights and predicted probabilities in NAL's public code."""
LAMBDA_ON_DIGITS = 2.46
"""λ that a search chose on digits with 40 % symmetric noise (docs/methods-on-digits.md)."""
MOMENTUM_ON_DIGITS = 0.9
"""Momentum of SGD in the study of digits, without which cross entropy leads there."""
MIXTURE_FLOOR = 1e-7
"""Lower bound, in NAL's public code, of the entries of τ(p - t) + t, the mixture of prediction p
and target t by the attention weight τ."""


def attention_loss(
    logits: torch.Tensor, attention_logits: torch.Tensor, targets: torch.Tensor
) -> torch.Tensor:
    """Return the attention term -tᵀ log(τ(p - t) + t) of each sample (eq. 3 of the NAL paper).

    p is the prediction, t the target and τ the attention weight. The logarithm is computed as
    logaddexp(log τ + log p, log(1 - τ) + log t), which is finite for all finite logits, so that no
    clamps are needed. Entries with t = 0 add nothing to the value or the gradient.

    Args:
        logits: outputs of the prediction branch, shape (b, K).
        attention_logits: logits of the attention weights τ, shape (b,).
        targets: target rows that sum to 1, shape (b, K).

    Returns:
        Losses, shape (b,).
    """
    tau_logits = attention_logits.unsqueeze(1)
    log_weighted_p = functional.logsigmoid(tau_logits) + functional.log_softmax(logits, dim=1)
    log_weighted_t = functional.logsigmoid(-tau_logits) + targets.log()
    return -(targets * torch.logaddexp(log_weighted_p, log_weighted_t)).sum(dim=1)


def boost_loss(attention_logits: torch.Tensor) -> torch.Tensor:
    """Return the boost term -log τ of each sample (eq. 3 of the NAL paper), shape (b,).

    Args:
        attention_logits: logits of the attention weights τ, shape (b,).
    """
    return functional.softplus(-attention_logits)


def reverse_loss(
    logits: torch.Tensor, attention_logits: torch.Tensor, targets: torch.Tensor
) -> torch.Tensor:
    """Return the reverse term of each sample (RNAL, section 5.4 of the NAL paper), shape (b,).

    The term is -(τ(p - t) + t)ᵀ log max(t, 1e-4), the reverse cross entropy of a mixture of
    prediction p and target t by the attention weight τ. In symmetric cross entropy, the prediction
    stands in place of the mixture.

    Args:
        logits: outputs of the prediction branch, shape (b, K).
        attention_logits: logits of the attention weights τ, shape (b,).
        targets: target rows that sum to 1, shape (b, K).
    """
    tau = attention_logits.sigmoid().unsqueeze(1)
    mixture = tau * logits.softmax(dim=1) + (1 - tau) * targets
    return -(mixture * targets.clamp(min=LABEL_FLOOR).log()).sum(dim=1)


def clamped_loss_terms(
    logits: torch.Tensor, attention_logits: torch.Tensor, labels: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Return the attention, boost and reverse term of each sample, clamped as in NAL's public code.

    Args:
        logits: outputs of the prediction branch, shape (b, K).
        attention_logits: logits of the attention weights τ, shape (b,).
        labels: label rows clamped to at least 1e-4 and not normalised again, shape (b, K).

    Returns:
        Attention term, boost term and reverse term, each of shape (b,).
    """
    # In float32 the upper bound 1 - 1e-12 is rounded to 1, as in the public code.
    tau = attention_logits.sigmoid().clamp(PROBABILITY_FLOOR, 1 - PROBABILITY_FLOOR)
    probabilities = logits.softmax(dim=1).clamp(PROBABILITY_FLOOR, 1 - PROBABILITY_FLOOR)
    tau_column = tau.unsqueeze(1)
    mixture = (tau_column * probabilities + (1 - tau_column) * labels).clamp(MIXTURE_FLOOR, 1.0)
    attention_term = -(labels * mixture.log()).sum(dim=1)
    return attention_term, -tau.log(), -(mixture * labels.log()).sum(dim=1)


LAMBDA = Parameter(
    "lambda",
    default=0.5,
    low=0,
    low_open=True,
    help="weight λ of the boost term (NAL paper, eq. 3)",
    space=Space(0.1, 50, log=True),
)
ALPHA = Parameter(
    "alpha",
    default=0.9,
    low=0,
    high=1,
    high_open=True,
    help="momentum α of the targets (NAL paper, eq. 4)",
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
    help="whether labels and probabilities are clamped as in NAL's public code",
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


class NoiseAttentionLearning(MethodWithTargets):
    """Noise Attention Learning: cross entropy of a weighted mixture of prediction and target.

    L = -(1/b) Σ tᵀ log(τ(p - t) + t) - (λ/b) Σ log τ, where p is the prediction and τ the attention
    weight of a sample. The boost term -λ log τ keeps the attention weights from falling to 0.

    The target t of a sample is initially its one-hot noisy label. Targets are updated in epoch
    `first_target_epoch` and every `target_interval` epochs after this epoch: before the loss is
    computed, t becomes α t + (1 - α) p, where p is the detached prediction of the current step
    (eq. 4). Algorithm 1 of the NAL paper updates targets in all epochs (both parameters are 1).

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
                {
                    "first_target_epoch": 1,
                    "target_interval": 1,
                    "clamps": False,
                    "delta": 0.0,
                    "beta": 0.0,
                },
                "paper, Algorithm 1",
            ),
        ),
        "official": (
            Setting(
                "cifar10*",
                "*",
                {
                    "first_target_epoch": 60,
                    "target_interval": 10,
                    "beta": 0.0,
                    **_PUBLIC_CODE_VALUES,
                },
                f"{_PUBLIC_CODE}, train_cifar.py and loss.py",
            ),
            Setting(
                "animal10n",
                "*",
                {
                    "first_target_epoch": 41,
                    "target_interval": 1,
                    "beta": 0.0,
                    **_PUBLIC_CODE_VALUES,
                },
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
        self.first_target_epoch = int(hyperparameters.number("first_target_epoch"))
        self.target_interval = int(hyperparameters.number("target_interval"))
        self.uses_clamps = bool(hyperparameters["clamps"])
        self.delta = hyperparameters.number("delta")
        self.beta = hyperparameters.number("beta")

    @classmethod
    def remedies(cls, hyperparameters: FrozenMap, recipe: Recipe) -> tuple[str, ...]:
        """Return the settings with which NAL leads on digits, as far as the runs differ from them.

        Args:
            hyperparameters: values of the method's parameters, with those that were chosen.
            recipe: recipe of the runs.
        """
        texts = []
        if hyperparameters.number("lambda") < LAMBDA_ON_DIGITS:
            texts.append(
                f"a larger λ (on digits, {LAMBDA_ON_DIGITS:g} instead of 0.5 gains 4 points)"
            )
        target_epoch = max(1, round(recipe.epochs / 6))
        if hyperparameters.get(FIRST_TARGET_EPOCH.name, target_epoch) != target_epoch:
            texts.append(
                f"hyperparameters.{cls.name}.{FIRST_TARGET_EPOCH.name}={target_epoch}, a sixth of "
                "the epochs as on digits"
            )
        inputs_and_momentum = []
        if recipe.optimizer == "sgd" and recipe.momentum != MOMENTUM_ON_DIGITS:
            inputs_and_momentum.append(f"recipe.momentum={MOMENTUM_ON_DIGITS:g}")
        # The values are not measured for datasets of picture files, which are cropped.
        if recipe.mean is not None and recipe.crop_size is None:
            inputs_and_momentum.append("measured recipe.mean and recipe.std (null)")
        if inputs_and_momentum:
            texts.append(
                f"{' with '.join(inputs_and_momentum)} (on digits, cross entropy leads without "
                "momentum and measured values)"
            )
        return tuple(texts)

    @classmethod
    def check(cls, hyperparameters: FrozenMap, epochs: int) -> None:
        """Check the epochs in which targets are updated.

        Raises:
            FieldError: if `first_target_epoch` is after the last epoch. With `clamps`, also if
                `first_target_epoch` is not a multiple of `target_interval`, since the loss of the
                public code would be NaN.
        """
        super().check(hyperparameters, epochs)
        first_target_epoch = int(hyperparameters.number("first_target_epoch"))
        target_interval = int(hyperparameters.number("target_interval"))
        if hyperparameters["clamps"] and first_target_epoch % target_interval:
            next_multiple = math.ceil(first_target_epoch / target_interval) * target_interval
            raise FieldError(
                "first_target_epoch",
                f"first_target_epoch is {first_target_epoch}, not a multiple of target_interval "
                f"({target_interval}): with these epochs and clamps, the public code takes the "
                "logarithm of zeros, and the loss is NaN; set first_target_epoch to "
                f"{next_multiple}, or clamps to false",
            )

    def updates_targets(self, epoch: int) -> bool:
        """Return whether targets are updated in the given epoch."""
        epochs_since_first = epoch - self.first_target_epoch
        return epochs_since_first >= 0 and epochs_since_first % self.target_interval == 0

    def attention_logit(self, batch: Batch) -> torch.Tensor:
        """Return the logit of each sample's attention weight τ, shape (b,)."""
        return batch.attention

    def loss(self, batch: Batch) -> torch.Tensor:
        """Update targets if due in this epoch, and return the mean loss of a batch (eq. 3)."""
        attention_logits = self.attention_logit(batch)
        if self.updates_targets(batch.epoch):
            self._update_targets(batch, attention_logits.detach())
        targets = self.targets[batch.index]
        if self.uses_clamps:
            targets = targets.clamp(min=LABEL_FLOOR)
            attention_term, boost_term, reverse_term = (
                losses.mean()
                for losses in clamped_loss_terms(batch.logits, attention_logits, targets)
            )
            return attention_term + self.lambda_ * boost_term + self.beta * reverse_term
        losses = attention_loss(batch.logits, attention_logits, targets)
        losses = losses + self.lambda_ * boost_loss(attention_logits)
        if self.beta:
            losses = losses + self.beta * reverse_loss(batch.logits, attention_logits, targets)
        return losses.mean()

    def _update_targets(self, batch: Batch, attention_logits: torch.Tensor) -> None:
        """Update the targets of a batch's samples whose attention weight is above threshold δ."""
        old_targets = self.targets[batch.index]
        predictions = batch.logits.detach().softmax(dim=1)
        new_targets = self.alpha * old_targets + (1 - self.alpha) * predictions
        if self.delta:
            is_above_delta = attention_logits.sigmoid() > self.delta
            new_targets = torch.where(is_above_delta.unsqueeze(1), new_targets, old_targets)
        self.targets[batch.index] = new_targets
        if self.uses_clamps:
            self.targets.clamp_(min=LABEL_FLOOR)
