"""Base class of the methods, and the names that a method's file imports.

Nothing here imports torch, since the command line reads the declarations of all methods.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, ClassVar

from trainables.errors import FieldError
from trainables.methods.published import PublishedRecipe, Selection, Setting, Stage
from trainables.run.parameters import FrozenMap, Parameter, Space
from trainables.run.schedules import CosineRestarts, MultiStep

if TYPE_CHECKING:
    import torch

__all__ = [
    "Batch",
    "Context",
    "CosineRestarts",
    "FrozenMap",
    "Method",
    "MultiStep",
    "Parameter",
    "Predict",
    "PublishedRecipe",
    "Selection",
    "Setting",
    "Space",
    "Stage",
    "check_state_size",
]

Predict = Callable[[], "torch.Tensor"]
"""Function that predicts all training samples with the current network, in evaluation mode and
without augmentation. It returns softmax probabilities in the order of the training part, float32,
shape (n, outputs)."""

STATE_LIMIT = 10**9
"""Largest allowed size of a method's per-sample state in bytes; the state is kept on the device and
in every checkpoint."""


@dataclass(frozen=True, slots=True)
class Context:
    """Constant inputs of a method, passed to its constructor before the first epoch.

    Attributes:
        hyperparameters: values of all of the method's parameters.
        labels: noisy labels of the training part, int64, shape (n,), on the run's device.
        classes: number of classes K.
        epochs: number of epochs of the training.
        seed: base seed of the `method` axis.
        inputs: outcomes of the runs that this one needs, by role; rows are the samples of the same
            training part.
        transition: observed P(noisy = j | true = i) of the training part, float32, shape (K, K);
            None unless the method sets `needs_truth`.
    """

    hyperparameters: FrozenMap
    labels: torch.Tensor
    classes: int
    epochs: int
    seed: int
    inputs: Mapping[str, torch.Tensor] = field(default_factory=dict)
    transition: torch.Tensor | None = None


@dataclass(frozen=True, slots=True)
class Batch:
    """Inputs of the loss in one step of the training.

    Attributes:
        logits: outputs of the prediction branch, float32, shape (b, K), or as many columns as
            `Method.outputs` returns.
        attention: output of the attention branch, a logit, float32, shape (b,).
        index: positions of the samples in the training part, int64, shape (b,), without repetition.
        epoch: number of the epoch, counted from 1.
    """

    logits: torch.Tensor
    attention: torch.Tensor
    index: torch.Tensor
    epoch: int


class Method(ABC):
    """Base class of the methods of learning from noisy labels.

    A stateless loss overrides `loss` alone. A method with per-sample state keeps tensors on the
    labels' device, and also overrides `state_dict` and `state_bytes`. A method that acts between
    epochs overrides `end_epoch`. A method made of several trainings declares `stages`: runs of
    other methods, whose outcomes are in `Context.inputs`. The training loop treats them all alike.
    """

    name: ClassVar[str]
    """Name of the method in studies, flags and records."""
    title: ClassVar[str]
    """Name of the method in tables; the paper's, if the paper has the method."""
    source: ClassVar[str]
    """Publication that defines the method, with the equations."""
    parameters: ClassVar[tuple[Parameter, ...]] = ()
    """Hyperparameters of the method."""
    recipe_space: ClassVar[Mapping[str, Space]] = {}
    """Search spaces of the recipe's values that are tuned together with the method."""
    settings: ClassVar[tuple[Setting, ...]] = ()
    """Published hyperparameters, the most specific first."""
    presets: ClassVar[Mapping[str, tuple[Setting, ...]]] = {}
    """Named groups of hyperparameters, by the word that studies use as `preset`."""
    published_recipes: ClassVar[tuple[PublishedRecipe, ...]] = ()
    """Published recipes, the most specific first."""
    stages: ClassVar[tuple[Stage, ...]] = ()
    """Runs whose outcomes the method's own run needs."""
    outcomes: ClassVar[tuple[str, ...]] = ("predictions",)
    """Names of the outcomes that other runs can take from a run of this method."""
    needs_truth: ClassVar[bool] = False
    """Whether the method can be trained only if the true labels are known."""

    def __init__(self, context: Context) -> None:
        self.context = context

    @classmethod
    def check(cls, hyperparameters: FrozenMap, epochs: int) -> None:
        """Raise `FieldError` if hyperparameters do not work together or with the number of epochs.

        Raises:
            FieldError: if a parameter marked `must_be_reached` names an epoch after the last one.
        """
        for name in (parameter.name for parameter in cls.parameters if parameter.must_be_reached):
            first = int(hyperparameters.number(name))
            if first > epochs:
                raise FieldError(
                    name,
                    f"{name} is {first}, after the last epoch ({epochs}): "
                    f"choose one from 1 to {epochs}",
                )

    @classmethod
    def outputs(cls, classes: int) -> int:
        """Return the number of outputs of the prediction branch."""
        return classes

    @classmethod
    def state_bytes(cls, hyperparameters: FrozenMap, samples: int, classes: int) -> int:  # noqa: ARG003
        """Return the size of the per-sample state in bytes."""
        return 0

    @abstractmethod
    def loss(self, batch: Batch) -> torch.Tensor:
        """Update the batch's state if there is any, then return the mean loss, a float32 scalar."""

    def end_epoch(self, epoch: int, predict: Predict) -> None:  # noqa: B027 - optional
        """Update the state between two epochs.

        Args:
            epoch: number of the epoch that has ended, counted from 1.
            predict: function that predicts all training samples; it costs one pass over the data.
        """

    def state_dict(self) -> dict[str, torch.Tensor]:
        """Return the tensors to store in a checkpoint; they must only be changed in place."""
        return {}

    def load_state_dict(self, state: Mapping[str, torch.Tensor]) -> None:
        """Restore the state from a checkpoint."""
        for name, tensor in self.state_dict().items():
            tensor.copy_(state[name])

    def attention_logit(self, batch: Batch) -> torch.Tensor | None:  # noqa: ARG002
        """Return the logit of each sample's weight τ in the loss, shape (b,); None without one."""
        return None

    def estimated_targets(self) -> torch.Tensor | None:
        """Return the current targets, shape (n, K); None if they are the given labels."""
        return None

    def outcome(self, name: str, predict: Predict) -> torch.Tensor:  # noqa: ARG002
        """Return an outcome of the trained run, for a run that needs it.

        Args:
            name: one of `outcomes`; "predictions" are the class probabilities of all training
                samples, shape (n, K).
            predict: function that predicts all training samples.
        """
        return predict()[:, : self.context.classes]


def check_state_size(
    method: type[Method], hyperparameters: FrozenMap, samples: int, classes: int
) -> None:
    """Raise `FieldError` if a method's per-sample state is larger than `STATE_LIMIT`.

    Raises:
        FieldError: if it is larger; the message has the size and the limit.
    """
    size = method.state_bytes(hyperparameters, samples, classes)
    if size > STATE_LIMIT:
        raise FieldError(
            "",
            f"method {method.name} keeps {size / 1e9:.1f} GB of state for {samples} samples of "
            f"{classes} classes, at most {STATE_LIMIT / 1e9:g} GB is reasonable: use a subset, "
            "or leave the method out",
        )
