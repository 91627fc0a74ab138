"""Forward correction (Patrini et al., CVPR 2017), with T given or estimated from another run."""

from __future__ import annotations

from typing import ClassVar

from trainables.lazy import functional, torch
from trainables.methods.base import (
    Batch,
    Context,
    Method,
    MultiStep,
    Parameter,
    Published,
    Selection,
    Setting,
    Stage,
)
from trainables.methods.cifar_recipes import cifar

PROBABILITY_FLOOR = 1e-8
"""Least entry of T: log (pᵀT)_ỹ is finite then, since some class has a p that is not tiny."""

_REPOSITORY = "giorgiop/loss-correction"
_RULE = "it chooses its epoch by the loss on noisy validation, here by the accuracy"
_RECIPES = (
    Published(
        "cifar10",
        "*",
        cifar(120, 0.1, MultiStep((40, 80))),
        f"{_REPOSITORY}; {_RULE}",
        hold_out=0.1,
        selection=Selection.NOISY,
    ),
    Published(
        "cifar100",
        "*",
        cifar(150, 0.1, MultiStep((80, 120)), 1e-3),
        f"{_REPOSITORY}; {_RULE}",
        hold_out=0.1,
        selection=Selection.NOISY,
    ),
)


def estimate_transition(predictions: torch.Tensor, percentile: float) -> torch.Tensor:
    """Estimate T_ij = P(ỹ = j | y = i) from a network trained on the noisy labels.

    For each class i the sample at the percentile of p_i over all training samples stands for those
    that are surely of that class: its whole prediction is the row.

    Args:
        predictions: softmax of all training samples, shape (n, K).
        percentile: 100 takes the highest; less leaves out outliers above it.

    Returns:
        Rows that sum to 1, shape (K, K).
    """
    count = len(predictions)
    # NumPy's "higher" percentile: an actual sample, never one between two.
    rank = -((-(count - 1) * percentile) // 100)
    order = predictions.argsort(dim=0, stable=True)
    anchors = order[int(rank)]
    rows = predictions[anchors]
    return rows / rows.sum(dim=1, keepdim=True)


def forward_losses(
    logits: torch.Tensor, labels: torch.Tensor, transition: torch.Tensor
) -> torch.Tensor:
    """Return -log (pᵀT)_ỹ per sample, shape (b,), as a sum in log space."""
    log_p = functional.log_softmax(logits, dim=1)
    columns = transition.clamp(min=PROBABILITY_FLOOR).log().T[labels]
    return -torch.logsumexp(log_p + columns, dim=1)


class ForwardGiven(Method):
    """L = -(1/b) Σ log (pᵀT)_ỹ with the transition that the noisy labels really have."""

    name: ClassVar[str] = "forward-true"
    title: ClassVar[str] = "Forward T (given)"
    source: ClassVar[str] = "Patrini et al., CVPR 2017, Theorem 2; T counted with the true labels"
    needs_truth: ClassVar[bool] = True
    published: ClassVar[tuple[Published, ...]] = _RECIPES

    def __init__(self, context: Context) -> None:
        super().__init__(context)
        self.transition = self._transition()

    def _transition(self) -> torch.Tensor:
        assert self.context.transition is not None  # noqa: S101 - asked for by `needs_truth`
        return self.context.transition

    def loss(self, batch: Batch) -> torch.Tensor:
        """Return the mean loss of a batch."""
        labels = self.context.labels[batch.index]
        return forward_losses(batch.logits, labels, self.transition).mean()


class ForwardEstimated(ForwardGiven):
    """Forward correction with T̂ estimated from the predictions of a cross entropy run."""

    name: ClassVar[str] = "forward"
    title: ClassVar[str] = "Forward T-hat"
    source: ClassVar[str] = "Patrini et al., CVPR 2017, Theorem 2 and section 4.1"
    needs_truth: ClassVar[bool] = False
    stages: ClassVar[tuple[Stage, ...]] = (Stage("predictions", "ce", "predictions"),)
    parameters: ClassVar[tuple[Parameter, ...]] = (
        Parameter(
            "percentile",
            default=97.0,
            low=0,
            high=100,
            help="of p_i over the samples that stands for class i (code: 97, CIFAR-100: 100)",
        ),
    )
    settings: ClassVar[tuple[Setting, ...]] = (
        Setting("cifar10", "*", {"percentile": 97.0}, _REPOSITORY),
        Setting("cifar100", "*", {"percentile": 100.0}, _REPOSITORY),
    )

    def _transition(self) -> torch.Tensor:
        percentile = self.context.hyperparameters.number("percentile")
        return estimate_transition(self.context.inputs["predictions"], percentile)
