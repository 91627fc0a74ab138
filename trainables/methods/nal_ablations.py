"""The ablations of NAL (paper, section 5.4 and Table 6)."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, ClassVar

from trainables.lazy import torch
from trainables.methods.base import Batch, Context, FrozenMap, Parameter, Setting
from trainables.methods.nal import BETA, CLAMPS, LAMBDA, NoiseAttention

if TYPE_CHECKING:
    from collections.abc import Mapping


_TABLE = "paper, section 5.4 and Table 6"


def confidence_logit(logits: torch.Tensor) -> torch.Tensor:
    """Return the logit of the highest probability, log(max p / (1 - max p)), shape (b,).

    As the highest logit less the logarithm of the others' sum, it is finite where 1 - max p would
    be rounded to 0.
    """
    highest, which = logits.max(dim=1)
    others = logits.scatter(1, which.unsqueeze(1), -torch.inf)
    return highest - others.logsumexp(dim=1)


class WithoutTargets(NoiseAttention):
    """NAL on the noisy labels themselves: targets stay one-hot in all epochs."""

    name: ClassVar[str] = "nal-no-targets"
    title: ClassVar[str] = "NAL w/o target estimation"
    source: ClassVar[str] = _TABLE
    parameters: ClassVar[tuple[Parameter, ...]] = (LAMBDA, CLAMPS, BETA)
    presets: ClassVar[Mapping[str, tuple[Setting, ...]]] = {}

    def __init__(self, context: Context) -> None:
        never = {"alpha": 0.9, "first_target_epoch": 1, "target_interval": 1, "delta": 0.0}
        values = FrozenMap({**never, **context.hyperparameters})
        super().__init__(replace(context, hyperparameters=values))

    @classmethod
    def check(cls, hyperparameters: FrozenMap, epochs: int) -> None:
        """Accept what the parameters' ranges do: there is no schedule of targets."""

    def updates_targets(self, epoch: int) -> bool:  # noqa: ARG002
        """Return False."""
        return False

    def estimated_targets(self) -> None:
        """Return None: the labels are taken as given."""


class WithoutAttention(NoiseAttention):
    """NAL with the confidence τ = max p in the place of the attention branch.

    The gradient flows through it into the prediction branch, with which, as the paper finds, it
    interferes.
    """

    name: ClassVar[str] = "nal-no-attention"
    title: ClassVar[str] = "NAL w/o attention branch"
    source: ClassVar[str] = f"{_TABLE}; that τ is not detached is inferred"

    def attention_logit(self, batch: Batch) -> torch.Tensor:
        """Return the logit of max p, shape (b,)."""
        return confidence_logit(batch.logits)


class WithReverse(NoiseAttention):
    """NAL with the reverse term (RNAL) added."""

    name: ClassVar[str] = "nal-rnal"
    title: ClassVar[str] = "NAL + RNAL"
    source: ClassVar[str] = f"{_TABLE}; the weight of the term is the public code's"
    parameters: ClassVar[tuple[Parameter, ...]] = tuple(
        replace(parameter, default=0.1) if parameter is BETA else parameter
        for parameter in NoiseAttention.parameters
    )
