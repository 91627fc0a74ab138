"""Methods of learning from noisy labels, one file each; list a new one's class in `METHODS`."""

from __future__ import annotations

from trainables.errors import FieldError, suggest
from trainables.methods.base import Batch, Context, Method, check_state
from trainables.methods.bootstrap import Bootstrap, HardBootstrap
from trainables.methods.ce import CrossEntropy
from trainables.methods.dac import Abstaining, Retrained
from trainables.methods.elr import EarlyLearning
from trainables.methods.forward import ForwardEstimated, ForwardGiven
from trainables.methods.gce import GeneralisedCrossEntropy, TruncatedCrossEntropy
from trainables.methods.joint import Joint, JointLabels
from trainables.methods.lrt import LikelihoodRatio
from trainables.methods.nal import NoiseAttention
from trainables.methods.nal_ablations import WithoutAttention, WithoutTargets, WithReverse
from trainables.methods.plc import ProgressiveCorrection
from trainables.methods.sat import SelfAdaptive
from trainables.methods.sce import SymmetricCrossEntropy
from trainables.methods.selc import SelfEnsemble

METHODS: dict[str, type[Method]] = {
    method.name: method
    for method in (
        CrossEntropy,
        ForwardEstimated,
        ForwardGiven,
        Bootstrap,
        HardBootstrap,
        GeneralisedCrossEntropy,
        TruncatedCrossEntropy,
        JointLabels,
        Joint,
        Abstaining,
        Retrained,
        SymmetricCrossEntropy,
        LikelihoodRatio,
        ProgressiveCorrection,
        EarlyLearning,
        SelfAdaptive,
        SelfEnsemble,
        NoiseAttention,
        WithoutTargets,
        WithoutAttention,
        WithReverse,
    )
}


def method_of(name: str) -> type[Method]:
    """Return the method of that name.

    Raises:
        FieldError: there is none; names the nearest.
    """
    if name not in METHODS:
        raise FieldError("method", f"unknown method '{name}': {suggest(name, METHODS)}")
    return METHODS[name]


__all__ = ["METHODS", "Batch", "Context", "Method", "check_state", "method_of"]
