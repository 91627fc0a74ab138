"""The deep abstaining classifier (Thulasidasan et al., ICML 2019)."""

from __future__ import annotations

import math
from typing import ClassVar

from trainables.errors import FieldError
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
    Space,
    Stage,
)
from trainables.methods.cifar_recipes import cifar

MU = 0.05
"""Weight of the latest step in the moving average that α starts from."""
START = 64.0
"""α starts at the moving average divided by this."""

_REPOSITORY = "thulas/dac-label-noise"
_RECIPE = cifar(200, 0.1, MultiStep((60, 120, 160), 0.2), 5e-4)
PARAMETERS = (
    Parameter(
        "final_alpha",
        default=1.0,
        low=0,
        low_open=True,
        help="weight α of the abstention penalty in the last epoch (DAC code: 1)",
        space=Space(0.1, 10, log=True),
    ),
    Parameter(
        "warm_up_epochs",
        default=20,
        low=1,
        in_epochs=True,
        help="epochs of cross entropy before abstention (DAC code: 20)",
    ),
)


class Abstaining(Method):
    """L = (1/b) Σ (1 - p_a) CE(y over the K classes) - α log(1 - p_a), with K + 1 outputs.

    p_a, the last output, is the probability to abstain. After warm-up epochs of cross entropy over
    all K + 1, α starts low, at a moving average of (1 - p_a) CE divided by 64, and rises linearly
    with the epochs to `final_alpha`.
    """

    name: ClassVar[str] = "dac-abstain"
    title: ClassVar[str] = "DAC (abstention)"
    source: ClassVar[str] = "Thulasidasan et al., ICML 2019, eq. 1 and Algorithm 1"
    parameters: ClassVar[tuple[Parameter, ...]] = PARAMETERS
    published: ClassVar[tuple[Published, ...]] = (
        Published("cifar10*", "*symmetric*", _RECIPE, _REPOSITORY),
    )
    outcomes: ClassVar[tuple[str, ...]] = ("predictions", "retained")

    def __init__(self, context: Context) -> None:
        super().__init__(context)
        self.final = context.hyperparameters.number("final_alpha")
        self.warm_up = int(context.hyperparameters.number("warm_up_epochs"))
        unknown = torch.full((), math.nan, device=context.labels.device)
        self.average, self.start = unknown, unknown.clone()

    @classmethod
    def check(cls, hyperparameters: FrozenMap, epochs: int) -> None:
        """Refuse a warm-up that leaves no epoch for abstention."""
        warm_up = int(hyperparameters.number("warm_up_epochs"))
        if warm_up >= epochs:
            raise FieldError(
                "warm_up_epochs",
                f"warm_up_epochs is {warm_up} of {epochs} epochs: leave at least one after it",
            )

    @classmethod
    def outputs(cls, classes: int) -> int:
        """Return K + 1."""
        return classes + 1

    def loss(self, batch: Batch) -> torch.Tensor:
        """Move the average, then return the mean loss."""
        labels = self.context.labels[batch.index]
        among_classes = functional.cross_entropy(batch.logits[:, :-1], labels, reduction="none")
        # log(1 - p_a) without its cancellation.
        log_kept = batch.logits[:, :-1].logsumexp(dim=1) - batch.logits.logsumexp(dim=1)
        weighted = log_kept.exp() * among_classes
        now = weighted.detach().mean()
        moved = MU * now + (1 - MU) * self.average
        self.average.copy_(torch.where(self.average.isnan(), now, moved))
        if batch.epoch <= self.warm_up:
            return functional.cross_entropy(batch.logits, labels)
        self.start.copy_(torch.where(self.start.isnan(), self.average / START, self.start))
        return (weighted - self._alpha(batch.epoch) * log_kept).mean()

    def _alpha(self, epoch: int) -> torch.Tensor:
        """Return α, which rises linearly from the first epoch of abstention to the last."""
        first, last = self.warm_up + 1, self.context.epochs
        share = (epoch - first) / (last - first) if last > first else 0.0
        return self.start + share * (self.final - self.start)

    def state_dict(self) -> dict[str, torch.Tensor]:
        """Return the moving average and where α started."""
        return {"average": self.average, "start": self.start}

    def outcome(self, name: str, predict: Predict) -> torch.Tensor:
        """Return which samples are not abstained on, bool, shape (n,); or the predictions."""
        if name == "retained":
            return predict().argmax(dim=1) < self.context.classes
        return super().outcome(name, predict)


class Retrained(Method):
    """Cross entropy on the samples that a `dac-abstain` run did not abstain on."""

    name: ClassVar[str] = "dac"
    title: ClassVar[str] = "DAC"
    source: ClassVar[str] = "Thulasidasan et al., ICML 2019, section 4"
    parameters: ClassVar[tuple[Parameter, ...]] = PARAMETERS
    published: ClassVar[tuple[Published, ...]] = (
        Published(
            "cifar10*",
            "*symmetric*",
            _RECIPE,
            f"{_REPOSITORY}; that it is retrained as it was first trained is inferred",
        ),
    )
    stages: ClassVar[tuple[Stage, ...]] = (
        Stage("retained", "dac-abstain", "retained", tuple(p.name for p in PARAMETERS)),
    )

    def loss(self, batch: Batch) -> torch.Tensor:
        """Return the mean cross entropy over the retained samples of a batch; 0 without any."""
        labels = self.context.labels[batch.index]
        kept = self.context.inputs["retained"][batch.index].to(batch.logits.dtype)
        losses = functional.cross_entropy(batch.logits, labels, reduction="none")
        return (kept * losses).sum() / kept.sum().clamp(min=1)
