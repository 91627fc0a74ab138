"""Forward correction (Patrini et al., CVPR 2017), with a true or estimated transition matrix.

T_ij is the probability that a sample of true class i has the noisy label j.
"""

from __future__ import annotations

from dataclasses import replace
from typing import ClassVar

from trainables.lazy import functional, torch
from trainables.methods.base import (
    Batch,
    Context,
    EpochSelection,
    Method,
    MultiStep,
    Parameter,
    PublishedRecipe,
    Setting,
    Stage,
)
from trainables.methods.published import cifar_recipe

PROBABILITY_FLOOR = 1e-8
"""Lower bound of the entries of the transition matrix T in the loss, so that their logarithm is
finite."""

_REPOSITORY = "giorgiop/loss-correction"
_RECIPE_NOTE = (
    "it subtracts the mean image from pixels of 0 to 255, here they are normalised; it shifts "
    "images by up to 10 %, here they are padded and cropped; it selects the epoch by the loss on "
    "noisy validation labels, here by the accuracy"
)
_ESTIMATE_NOTE = (
    "it estimates T from that epoch's network on all training samples, here from the last epoch's "
    "on those that are not held out"
)
# Keras adds decay · Σ w² to the loss: the gradient is that of twice this weight decay.
_RECIPES = (
    PublishedRecipe(
        "cifar10",
        "*",
        cifar_recipe(120, 0.1, MultiStep((41, 81)), 2 * 1e-4),
        f"{_REPOSITORY}; {_RECIPE_NOTE}",
        hold_out=0.1,
        selection=EpochSelection.NOISY,
    ),
    PublishedRecipe(
        "cifar100",
        "*",
        cifar_recipe(150, 0.1, MultiStep((81, 121)), 2 * 1e-3),
        f"{_REPOSITORY}; {_RECIPE_NOTE}",
        hold_out=0.1,
        selection=EpochSelection.NOISY,
    ),
)


def estimate_transition(predictions: torch.Tensor, percentile: float) -> torch.Tensor:
    """Estimate the transition matrix T from the predictions of a network trained on noisy labels.

    T_ij is the probability that a sample of true class i has the noisy label j. Row i of the
    estimate is the prediction for one sample, the anchor of class i: of the samples whose predicted
    probability p_i of class i is below the given percentile, the one with the highest p_i.

    Args:
        predictions: class probabilities of all training samples, shape (n, K).
        percentile: percentile of p_i from which on samples are outliers that are ignored; at 100,
            no sample is ignored.

    Returns:
        Estimated T, shape (K, K); its rows sum to 1.
    """
    candidates = predictions
    if percentile < 100:
        # NumPy's method "higher", which returns the value of a sample and never interpolates.
        rank = int(-((-(len(predictions) - 1) * percentile) // 100))
        lowest_outliers = predictions.sort(dim=0).values[rank]
        candidates = torch.where(predictions < lowest_outliers, predictions, 0)
    anchor_predictions = predictions[candidates.argmax(dim=0)]
    return anchor_predictions / anchor_predictions.sum(dim=1, keepdim=True)


def forward_corrected_losses(
    logits: torch.Tensor, labels: torch.Tensor, transition: torch.Tensor
) -> torch.Tensor:
    """Return the forward-corrected loss -log (pᵀT)_ỹ of each sample, shape (b,).

    Args:
        logits: outputs of the prediction branch, shape (b, K).
        labels: noisy labels ỹ, shape (b,).
        transition: transition matrix T, shape (K, K).
    """
    log_p = functional.log_softmax(logits, dim=1)
    log_label_columns = transition.clamp(min=PROBABILITY_FLOOR).log().T[labels]
    return -torch.logsumexp(log_p + log_label_columns, dim=1)


class ForwardTrueTransition(Method):
    """Forward correction with the true transition matrix T: L = -(1/b) Σ log (pᵀT)_ỹ."""

    name: ClassVar[str] = "forward-true"
    title: ClassVar[str] = "Forward T (given)"
    source: ClassVar[str] = "Patrini et al., CVPR 2017, Theorem 2; T counted with the true labels"
    needs_truth: ClassVar[bool] = True
    published_recipes: ClassVar[tuple[PublishedRecipe, ...]] = _RECIPES

    def __init__(self, context: Context) -> None:
        super().__init__(context)
        self.transition = self._transition_matrix()

    def _transition_matrix(self) -> torch.Tensor:
        """Return the transition matrix T, shape (K, K)."""
        assert self.context.transition is not None  # noqa: S101 - `needs_truth` is set
        return self.context.transition

    def loss(self, batch: Batch) -> torch.Tensor:
        """Return the mean forward-corrected loss of a batch."""
        labels = self.context.labels[batch.index]
        return forward_corrected_losses(batch.logits, labels, self.transition).mean()


class ForwardEstimatedTransition(ForwardTrueTransition):
    """Forward correction with a transition matrix estimated from a cross entropy run.

    The cross entropy run comes first, and `estimate_transition` is applied to its predictions.
    """

    name: ClassVar[str] = "forward"
    title: ClassVar[str] = "Forward T-hat"
    source: ClassVar[str] = "Patrini et al., CVPR 2017, Theorem 2 and section 4.1"
    needs_truth: ClassVar[bool] = False
    published_recipes: ClassVar[tuple[PublishedRecipe, ...]] = tuple(
        replace(entry, source=f"{entry.source}; {_ESTIMATE_NOTE}") for entry in _RECIPES
    )
    stages: ClassVar[tuple[Stage, ...]] = (Stage("predictions", "ce", "predictions"),)
    parameters: ClassVar[tuple[Parameter, ...]] = (
        Parameter(
            "percentile",
            default=97.0,
            low=0,
            low_open=True,
            high=100,
            help="percentile below which the anchor of a class lies; 100: no limit (authors' code: "
            "97, CIFAR-100: 100)",
        ),
    )
    settings: ClassVar[tuple[Setting, ...]] = (
        Setting("cifar10", "*", {"percentile": 97.0}, _REPOSITORY),
        Setting("cifar100", "*", {"percentile": 100.0}, _REPOSITORY),
    )

    def _transition_matrix(self) -> torch.Tensor:
        """Return the estimated transition matrix T̂, shape (K, K)."""
        percentile = self.context.hyperparameters.number("percentile")
        return estimate_transition(self.context.inputs["predictions"], percentile)
