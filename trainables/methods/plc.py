"""Progressive label correction (Zhang et al., ICLR 2021)."""

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
    PublishedRecipe,
    Selection,
    Setting,
    Space,
)
from trainables.methods.per_sample_state import RecentPredictions, one_hot
from trainables.methods.published import ANIMAL10N, cifar_recipe

DELTA_STEP = 0.1
"""Increase of the correction threshold δ after an epoch with few corrections."""
DELTA_MAX = 0.9
"""Upper bound of the correction threshold δ."""
FEW_CORRECTIONS = 0.001
"""Fraction of corrected samples below which an epoch raises the correction threshold δ."""

_REPOSITORY = "pxiangwu/PLC"


class ProgressiveLabelCorrection(Method):
    """Cross entropy on labels that are corrected after each epoch.

    f is the mean of a sample's predictions over the last `window` epochs, and ỹ its current label.
    If f_ỹ / max f is below the threshold δ, the label becomes argmax f. If fewer than 0.1 % of the
    samples are corrected after an epoch, δ grows by 0.1, up to 0.9.
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
            help="initial ratio f_label / max f below which a label is corrected (PLC: 0.3)",
            space=Space(0.05, 0.8),
        ),
        Parameter(
            "first_correction_epoch",
            default=9,
            low=1,
            in_epochs=True,
            must_be_reached=True,
            help="first epoch after which labels are corrected (PLC code: 8, from 0)",
        ),
        Parameter("window", default=5, low=1, help="epochs over which f is averaged (PLC code: 5)"),
    )
    settings: ClassVar[tuple[Setting, ...]] = (
        Setting("cifar10*", "*", {"first_correction_epoch": 9, "window": 5}, _REPOSITORY),
        Setting("animal10n", "*", {"first_correction_epoch": 41, "window": 10}, _REPOSITORY),
        Setting("clothing1m", "*", {"first_correction_epoch": 2}, _REPOSITORY),
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
                mean=(0.4914, 0.4822, 0.4465),
                std=(0.2023, 0.1994, 0.2010),
            ),
            f"{_REPOSITORY}; it uses the statistics of CIFAR-10 for CIFAR-100 too",
            hold_out=0.1,
            selection=Selection.CLEAN,
        ),
        PublishedRecipe("animal10n", "*", ANIMAL10N, _REPOSITORY),
    )

    def __init__(self, context: Context) -> None:
        super().__init__(context)
        hyperparameters = context.hyperparameters
        self.first_epoch = int(hyperparameters.number("first_correction_epoch"))
        window = int(hyperparameters.number("window"))
        self.labels = context.labels.clone()
        self.delta = torch.tensor(hyperparameters.number("delta"), device=context.labels.device)
        self.predictions = RecentPredictions(context.labels, window, context.classes)

    @classmethod
    def state_bytes(cls, hyperparameters: FrozenMap, samples: int, classes: int) -> int:
        """Return the size of the stored predictions and the current labels in bytes."""
        window = int(hyperparameters.number("window"))
        return RecentPredictions.size_bytes(samples, window, classes) + 8 * samples

    def loss(self, batch: Batch) -> torch.Tensor:
        """Return the mean cross entropy to the current labels, and store the predictions."""
        self.predictions.record(batch.logits, batch.index, batch.epoch)
        return functional.cross_entropy(batch.logits, self.labels[batch.index])

    def end_epoch(self, epoch: int, predict: Predict) -> None:  # noqa: ARG002
        """Correct labels, and raise the threshold δ if few were corrected."""
        if epoch < self.first_epoch:
            return
        mean_prediction = self.predictions.mean(epoch)
        p_max, likeliest = mean_prediction.max(dim=1)
        p_label = mean_prediction.gather(1, self.labels.unsqueeze(1)).squeeze(1)
        is_corrected = p_label < self.delta * p_max
        self.labels.copy_(torch.where(is_corrected, likeliest, self.labels))
        has_few_corrections = is_corrected.sum() < FEW_CORRECTIONS * len(self.labels)
        raised_delta = (self.delta + DELTA_STEP).clamp(max=DELTA_MAX)
        self.delta.copy_(torch.where(has_few_corrections, raised_delta, self.delta))

    def estimated_targets(self) -> torch.Tensor:
        """Return the current labels as one-hot rows, shape (n, K)."""
        return one_hot(self.labels, self.context.classes)

    def state_dict(self) -> dict[str, torch.Tensor]:
        """Return the current labels, the threshold δ and the stored predictions."""
        return {"labels": self.labels, "delta": self.delta, "recent": self.predictions.ring}
