"""Bootstrapping (Reed et al., ICLR 2015): cross entropy to a mix of label and prediction."""

from __future__ import annotations

from typing import ClassVar

from trainables.lazy import functional, torch
from trainables.methods.base import Batch, Method, Parameter, Space

_SOURCE = "Reed et al., ICLR 2015"
BETA = Parameter(
    "beta",
    default=0.95,
    low=0,
    high=1,
    help="weight β of the given label in the target (Reed et al.: 0.95 soft, 0.8 hard)",
    space=Space(0.5, 0.99),
)


class Bootstrap(Method):
    """Soft bootstrapping: cross entropy to a mix of the noisy label and the prediction.

    L = -(1/b) Σ (β e + (1 - β) p)ᵀ log p, where e is the one-hot label and p the prediction. The
    gradient also flows through the p of the target, as in common implementations. The NAL paper
    does not say whether its table row "Bootstrap" is the soft or the hard form.
    """

    name: ClassVar[str] = "bootstrap"
    title: ClassVar[str] = "Bootstrap"
    source: ClassVar[str] = f"{_SOURCE}, soft form"
    parameters: ClassVar[tuple[Parameter, ...]] = (BETA,)

    def loss(self, batch: Batch) -> torch.Tensor:
        """Return the mean bootstrapping loss of a batch."""
        beta = self.context.hyperparameters.number("beta")
        log_p = functional.log_softmax(batch.logits, dim=1)
        label_loss = functional.nll_loss(log_p, self.context.labels[batch.index], reduction="none")
        return (beta * label_loss + (1 - beta) * self._prediction_loss(log_p)).mean()

    def _prediction_loss(self, log_p: torch.Tensor) -> torch.Tensor:
        """Return each sample's cross entropy with the prediction itself as target, shape (b,)."""
        return -(log_p.exp() * log_p).sum(dim=1)


class HardBootstrap(Bootstrap):
    """Hard bootstrapping: cross entropy to a mix of the noisy label and the predicted class.

    L = -(1/b) Σ (β e + (1 - β) onehot(argmax p))ᵀ log p, where e is the one-hot label and p the
    prediction.
    """

    name: ClassVar[str] = "bootstrap-hard"
    title: ClassVar[str] = "Bootstrap (hard)"
    source: ClassVar[str] = f"{_SOURCE}, hard form"
    parameters: ClassVar[tuple[Parameter, ...]] = (
        Parameter("beta", default=0.8, low=0, high=1, help=BETA.help, space=Space(0.5, 0.99)),
    )

    def _prediction_loss(self, log_p: torch.Tensor) -> torch.Tensor:
        """Return each sample's cross entropy with the predicted class as target, shape (b,)."""
        return -log_p.max(dim=1).values
