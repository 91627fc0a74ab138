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
    Published,
    Selection,
    Setting,
    Space,
)
from trainables.methods.cifar_recipes import ANIMAL10N, cifar
from trainables.methods.tables import RecentPredictions, one_hot, ring_bytes

STEP = 0.1
HIGHEST = 0.9
FEW = 0.001
"""Fewer corrections than this fraction of the samples raise the threshold."""

_REPOSITORY = "pxiangwu/PLC"


class ProgressiveCorrection(Method):
    """Cross entropy on labels that are corrected after each epoch.

    With f the mean of a sample's predictions over the `window` last epochs, its label becomes
    argmax f where f_ỹ / max f is below δ. A round that corrects fewer than 0.1 % of the samples
    raises δ by 0.1, up to 0.9. Corrections are cumulative.
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
            help="ratio f of the label / max f below which it is corrected, at first (PLC: 0.3)",
            space=Space(0.05, 0.8),
        ),
        Parameter(
            "first_correction_epoch",
            default=9,
            low=1,
            in_epochs=True,
            must_come=True,
            help="first epoch after which labels are corrected (PLC code: 8, from 0)",
        ),
        Parameter("window", default=5, low=1, help="epochs that f is the mean of (PLC code: 5)"),
    )
    settings: ClassVar[tuple[Setting, ...]] = (
        Setting("cifar10*", "*", {"first_correction_epoch": 9, "window": 5}, _REPOSITORY),
        Setting("animal10n", "*", {"first_correction_epoch": 41, "window": 10}, _REPOSITORY),
        Setting("clothing1m", "*", {"first_correction_epoch": 2}, _REPOSITORY),
    )
    published: ClassVar[tuple[Published, ...]] = (
        Published(
            "cifar10*",
            "*",
            cifar(
                180,
                0.01,
                MultiStep((40, 80), 0.5),
                5e-4,
                nesterov=True,
                mean=(0.4914, 0.4822, 0.4465),
                std=(0.2023, 0.1994, 0.2010),
            ),
            f"{_REPOSITORY}; statistics of CIFAR-10 for both",
            hold_out=0.1,
            selection=Selection.CLEAN,
        ),
        Published(
            "animal10n",
            "*",
            ANIMAL10N,
            _REPOSITORY,
        ),
    )

    def __init__(self, context: Context) -> None:
        super().__init__(context)
        values = context.hyperparameters
        self.first = int(values.number("first_correction_epoch"))
        window = int(values.number("window"))
        self.labels = context.labels.clone()
        self.delta = torch.tensor(values.number("delta"), device=context.labels.device)
        self.recent = RecentPredictions(context.labels, window, context.classes)

    @classmethod
    def state_bytes(cls, hyperparameters: FrozenMap, samples: int, classes: int) -> int:
        """Return the size of the ring and the labels."""
        window = int(hyperparameters.number("window"))
        return ring_bytes(samples, window, classes) + 8 * samples

    def loss(self, batch: Batch) -> torch.Tensor:
        """Keep the predictions, then return the mean cross entropy to the current labels."""
        self.recent.note(batch.logits, batch.index, batch.epoch)
        return functional.cross_entropy(batch.logits, self.labels[batch.index])

    def end_epoch(self, epoch: int, predict: Predict) -> None:  # noqa: ARG002
        """Correct labels, and raise δ where there was little to correct."""
        if epoch < self.first:
            return
        f = self.recent.mean(epoch)
        highest, best = f.max(dim=1)
        own = f.gather(1, self.labels.unsqueeze(1)).squeeze(1)
        corrected = own < self.delta * highest
        self.labels.copy_(torch.where(corrected, best, self.labels))
        few = corrected.sum() < FEW * len(self.labels)
        self.delta.copy_(torch.where(few, (self.delta + STEP).clamp(max=HIGHEST), self.delta))

    def estimated_targets(self) -> torch.Tensor:
        """Return the labels as they are now, one-hot."""
        return one_hot(self.labels, self.context.classes)

    def state_dict(self) -> dict[str, torch.Tensor]:
        """Return current labels, δ and the recent predictions."""
        return {"labels": self.labels, "delta": self.delta, "recent": self.recent.ring}
