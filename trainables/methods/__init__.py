"""Methods of learning from noisy labels, one file each; `METHODS` lists their classes."""

from __future__ import annotations

from trainables.errors import FieldError, suggest
from trainables.extensions import entry_points_of, extension_class, is_extension
from trainables.methods.base import Batch, Context, Method, check_state_size
from trainables.methods.bootstrap import Bootstrap, HardBootstrap
from trainables.methods.ce import CrossEntropy
from trainables.methods.dac import DacAbstention, DacRetraining
from trainables.methods.elr import EarlyLearningRegularisation
from trainables.methods.forward import ForwardEstimatedTransition, ForwardTrueTransition
from trainables.methods.gce import GeneralisedCrossEntropy, TruncatedGeneralisedCrossEntropy
from trainables.methods.joint import JointOptimization, JointOptimizationLabelLearning
from trainables.methods.lrt import LikelihoodRatioTest
from trainables.methods.nal import NoiseAttentionLearning
from trainables.methods.nal_ablations import (
    NalWithoutAttentionBranch,
    NalWithoutTargetEstimation,
    NalWithReverseTerm,
)
from trainables.methods.plc import ProgressiveLabelCorrection
from trainables.methods.sat import SelfAdaptiveTraining
from trainables.methods.sce import SymmetricCrossEntropy
from trainables.methods.selc import SelfEnsembleLabelCorrection

METHODS: dict[str, type[Method]] = {
    method.name: method
    for method in (
        CrossEntropy,
        ForwardEstimatedTransition,
        ForwardTrueTransition,
        Bootstrap,
        HardBootstrap,
        GeneralisedCrossEntropy,
        TruncatedGeneralisedCrossEntropy,
        JointOptimizationLabelLearning,
        JointOptimization,
        DacAbstention,
        DacRetraining,
        SymmetricCrossEntropy,
        LikelihoodRatioTest,
        ProgressiveLabelCorrection,
        EarlyLearningRegularisation,
        SelfAdaptiveTraining,
        SelfEnsembleLabelCorrection,
        NoiseAttentionLearning,
        NalWithoutTargetEstimation,
        NalWithoutAttentionBranch,
        NalWithReverseTerm,
    )
}
"""Classes of the methods in this package, keyed by the name of the method."""


def is_method(name: str) -> bool:
    """Return whether a method has the given name, in this package or in an extension."""
    return name in METHODS or is_extension(name)


def method_of(name: str) -> type[Method]:
    """Return the class of the method with the given name.

    Raises:
        FieldError: if no method has this name; the message suggests similar names.
        CodeError: if the method is an extension and its class lacks a required attribute.
    """
    if is_extension(name):
        return extension_class("method", name, Method)  # type: ignore[type-abstract]
    if name not in METHODS:
        known_names = [*METHODS, *entry_points_of("method")]
        raise FieldError("method", f"unknown method '{name}': {suggest(name, known_names)}")
    return METHODS[name]


__all__ = ["METHODS", "Batch", "Context", "Method", "check_state_size", "is_method", "method_of"]
