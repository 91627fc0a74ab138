"""Ablations of Noise Attention Learning, NAL (section 5.4 and Table 6 of the NAL paper)."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, ClassVar

from trainables.lazy import torch
from trainables.methods.base import Batch, Context, FrozenMap, Parameter, Setting
from trainables.methods.nal import BETA, CLAMPS, LAMBDA, NoiseAttentionLearning

if TYPE_CHECKING:
    from collections.abc import Mapping


_PAPER_SECTION = "paper, section 5.4 and Table 6"
_PUBLIC_CODE_BETA = 0.1
"""Weight β of the reverse term in NAL's public code, by default of the class in its loss.py."""
_BETA_SOURCE = f"{_PUBLIC_CODE_BETA} is the default of the class in its loss.py"


def confidence_logit(logits: torch.Tensor) -> torch.Tensor:
    """Return the logit log(max p / (1 - max p)) of each sample's highest probability, shape (b,).

    The logit is computed as the highest class logit minus the log-sum-exp of the other class
    logits, which is finite even where 1 - max p would be rounded to 0.

    Args:
        logits: outputs of the prediction branch, shape (b, K).
    """
    highest_logits, predicted_classes = logits.max(dim=1)
    other_logits = logits.scatter(1, predicted_classes.unsqueeze(1), -torch.inf)
    return highest_logits - other_logits.logsumexp(dim=1)


class NalWithoutTargetEstimation(NoiseAttentionLearning):
    """NAL without target estimation: the targets are the one-hot noisy labels in all epochs."""

    name: ClassVar[str] = "nal-no-targets"
    title: ClassVar[str] = "NAL w/o target estimation"
    source: ClassVar[str] = _PAPER_SECTION
    parameters: ClassVar[tuple[Parameter, ...]] = (LAMBDA, CLAMPS, BETA)
    presets: ClassVar[Mapping[str, tuple[Setting, ...]]] = {}

    def __init__(self, context: Context) -> None:
        unused_values = {"alpha": 0.9, "first_target_epoch": 1, "target_interval": 1, "delta": 0.0}
        hyperparameters = FrozenMap({**unused_values, **context.hyperparameters})
        super().__init__(replace(context, hyperparameters=hyperparameters))

    @classmethod
    def check(cls, hyperparameters: FrozenMap, epochs: int) -> None:
        """Accept all values, since targets are never updated."""

    def updates_targets(self, epoch: int) -> bool:  # noqa: ARG002
        """Return False: targets are never updated."""
        return False

    def estimated_targets(self) -> None:
        """Return None, since the training targets are the noisy labels."""


class NalWithoutAttentionBranch(NoiseAttentionLearning):
    """NAL without attention branch: the attention weight τ is the prediction's confidence max p.

    The gradient of τ flows into the prediction branch, which disturbs training according to the NAL
    paper.
    """

    name: ClassVar[str] = "nal-no-attention"
    title: ClassVar[str] = "NAL w/o attention branch"
    source: ClassVar[str] = f"{_PAPER_SECTION}; that τ is not detached is inferred"

    def attention_logit(self, batch: Batch) -> torch.Tensor:
        """Return the logit of each sample's attention weight τ = max p, shape (b,)."""
        return confidence_logit(batch.logits)


class NalWithReverseTerm(NoiseAttentionLearning):
    """NAL with an additional reverse cross entropy term, named RNAL in the NAL paper."""

    name: ClassVar[str] = "nal-rnal"
    title: ClassVar[str] = "NAL + RNAL"
    source: ClassVar[str] = (
        f"{_PAPER_SECTION}; the weight of the term is the default in the public code's loss.py"
    )
    parameters: ClassVar[tuple[Parameter, ...]] = tuple(
        replace(
            parameter,
            default=_PUBLIC_CODE_BETA,
            help="weight β of the reverse term (public code: 0.1, the default of the class in its "
            "loss.py; its script for CIFAR has 0)",
        )
        if parameter is BETA
        else parameter
        for parameter in NoiseAttentionLearning.parameters
    )
    presets: ClassVar[Mapping[str, tuple[Setting, ...]]] = {
        "paper": tuple(  # the paper does not state the weight of the term
            replace(
                setting,
                values={name: value for name, value in setting.values.items() if name != BETA.name},
            )
            for setting in NoiseAttentionLearning.presets["paper"]
        ),
        "official": tuple(
            replace(
                setting,
                values={**setting.values, BETA.name: _PUBLIC_CODE_BETA},
                source=setting.source
                if setting.values[BETA.name]
                else f"{setting.source}; its script has β = 0, {_BETA_SOURCE}",
            )
            for setting in NoiseAttentionLearning.presets["official"]
        ),
    }
