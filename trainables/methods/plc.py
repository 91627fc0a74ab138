"""Progressive label correction, PLC (Zhang et al., ICLR 2021)."""

from __future__ import annotations

from typing import ClassVar

from trainables.lazy import functional, torch
from trainables.methods.base import (
    Batch,
    Context,
    EpochSelection,
    FrozenMap,
    Method,
    MultiStep,
    Parameter,
    PredictFunction,
    PublishedRecipe,
    Setting,
    Space,
)
from trainables.methods.per_sample_state import RecentPredictions, one_hot
from trainables.methods.published import (
    ANIMAL10N_RECIPE,
    CIFAR10_STATISTICS,
    cifar_recipe,
)

DELTA_STEP = 0.1
"""Amount by which the correction threshold δ is raised after an epoch with few corrections."""
MAX_DELTA = 0.9
"""Upper bound of the correction threshold δ."""
MIN_CORRECTED_FRACTION = 0.001
"""Fraction of corrected samples below which the correction threshold δ is raised after an epoch."""
MIN_SOFTMAX_SCORE = 0.1
"""Largest score of a sample below which the rule "softmax-ratio" replaces its label always."""

_REPOSITORY = "pxiangwu/PLC"


class ProgressiveLabelCorrection(Method):
    """Cross entropy on labels that are corrected after each epoch.

    Let f be the mean of a sample's predictions over the last `window` epochs, and ỹ its current
    label. If f_ỹ / max f is below the correction threshold δ, the label becomes argmax f. If fewer
    than 0.1 % of the samples are corrected after an epoch, δ is raised by 0.1, up to 0.9.

    This is the rule "ratio". The public code has another rule on Clothing1M, "softmax-ratio": it
    compares the softmax of f, where epochs that have not been trained yet count as f = 0. If the
    largest score is below 0.1, the label becomes argmax f whatever the ratio is. Only if no other
    label is corrected, δ is raised by 0.1, without an upper bound.
    """

    name: ClassVar[str] = "plc"
    title: ClassVar[str] = "PLC"
    source: ClassVar[str] = "Zhang et al., ICLR 2021, Algorithm 1"
    parameters: ClassVar[tuple[Parameter, ...]] = (
        Parameter(
            "delta",
            default=0.3,
            low=0,
            high=0.9,
            help="initial threshold δ of the ratio of label to maximum probability (PLC code: 0.3)",
            space=Space(0.05, 0.8),
        ),
        Parameter(
            "first_correction_epoch",
            default=9,
            low=1,
            in_epochs=True,
            must_be_reached=True,
            help="first epoch after which labels are corrected (PLC code: 8, on CIFAR-100 with PMD "
            "and other noise 15, counted from 0)",
        ),
        Parameter(
            "window",
            default=5,
            low=1,
            help="number of latest epochs over which predictions are averaged (PLC code: 5)",
        ),
        Parameter(
            "rule",
            default="ratio",
            choices=("ratio", "softmax-ratio"),
            neutral="ratio",
            help="rule of correction: ratio (Algorithm 1) or softmax-ratio (PLC code, Clothing1M)",
        ),
    )
    settings: ClassVar[tuple[Setting, ...]] = (
        Setting(
            "cifar100*",
            "pmd-*+*",
            {"first_correction_epoch": 16, "window": 5},
            f"{_REPOSITORY}, its README for hybrid noise on CIFAR-100",
        ),
        Setting("cifar10*", "*", {"first_correction_epoch": 9, "window": 5}, _REPOSITORY),
        Setting("animal10n", "*", {"first_correction_epoch": 41, "window": 10}, _REPOSITORY),
        Setting(
            "clothing1m",
            "*",
            {"delta": 0.7, "first_correction_epoch": 2, "window": 5, "rule": "softmax-ratio"},
            _REPOSITORY,
        ),
    )
    published_recipes: ClassVar[tuple[PublishedRecipe, ...]] = (
        PublishedRecipe(
            "cifar10*",
            "*",
            cifar_recipe(
                180,
                0.01,
                MultiStep((40, 80), 0.5),
                5e-4,
                nesterov=True,
                **CIFAR10_STATISTICS,
            ),
            f"{_REPOSITORY}; it uses the statistics of CIFAR-10 for CIFAR-100 too",
            hold_out=0.1,
            selection=EpochSelection.CLEAN,
        ),
        PublishedRecipe("animal10n", "*", ANIMAL10N_RECIPE, _REPOSITORY),
    )

    def __init__(self, context: Context) -> None:
        super().__init__(context)
        hyperparameters = context.hyperparameters
        self.first_correction_epoch = int(hyperparameters.number("first_correction_epoch"))
        window_epochs = int(hyperparameters.number("window"))
        self.uses_softmax_ratio = hyperparameters["rule"] == "softmax-ratio"
        self.current_labels = context.labels.clone()
        self.delta = torch.tensor(hyperparameters.number("delta"), device=context.labels.device)
        self.recent_predictions = RecentPredictions(
            context.labels, window_epochs, context.class_count
        )

    @classmethod
    def state_bytes(cls, hyperparameters: FrozenMap, sample_count: int, class_count: int) -> int:
        """Return the size of the stored predictions and the current labels in bytes."""
        window_epochs = int(hyperparameters.number("window"))
        label_bytes = 8 * sample_count
        return RecentPredictions.size_bytes(sample_count, window_epochs, class_count) + label_bytes

    def loss(self, batch: Batch) -> torch.Tensor:
        """Return the mean cross entropy to the current labels, and store the predictions."""
        self.recent_predictions.record(batch.logits, batch.index, batch.epoch)
        return functional.cross_entropy(batch.logits, self.current_labels[batch.index])

    def end_epoch(self, epoch: int, predict: PredictFunction) -> None:  # noqa: ARG002
        """Correct labels, and raise the correction threshold δ if few labels were corrected."""
        if epoch < self.first_correction_epoch:
            return
        if self.uses_softmax_ratio:
            scores = self.recent_predictions.buffer.mean(dim=1).softmax(dim=1)
        else:
            scores = self.recent_predictions.mean(epoch)
        max_score, predicted_labels = scores.max(dim=1)
        label_score = scores.gather(1, self.current_labels.unsqueeze(1)).squeeze(1)
        is_corrected = label_score < self.delta * max_score
        raised_delta = self.delta + DELTA_STEP
        if self.uses_softmax_ratio:
            is_unsure = max_score < MIN_SOFTMAX_SCORE
            has_few_corrections = ~(is_corrected & ~is_unsure).any()
            is_corrected |= is_unsure
        else:
            has_few_corrections = is_corrected.sum() < MIN_CORRECTED_FRACTION * len(is_corrected)
            raised_delta = raised_delta.clamp(max=MAX_DELTA)
        self.current_labels.copy_(torch.where(is_corrected, predicted_labels, self.current_labels))
        self.delta.copy_(torch.where(has_few_corrections, raised_delta, self.delta))

    def estimated_targets(self) -> torch.Tensor:
        """Return the current labels as one-hot rows, shape (n, K)."""
        return one_hot(self.current_labels, self.context.class_count)

    def state_dict(self) -> dict[str, torch.Tensor]:
        """Return the current labels, the correction threshold δ and the recent predictions."""
        return {
            "labels": self.current_labels,
            "delta": self.delta,
            "recent": self.recent_predictions.buffer,
        }
