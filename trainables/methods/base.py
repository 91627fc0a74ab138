"""Base class of the training methods, and the other names that a method's file imports.

This module does not import torch, since the command line reads the declarations of all methods.
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
        seed: base seed of the random draws that a method makes itself.
        inputs: results of the runs that this run needs, by `Stage.role`, such as the predictions
            of a cross entropy run. Rows are the same samples as in `labels`.
        transition: fraction of the samples of true class i (row) with noisy label j (column),
            float32, shape (K, K); None unless the method sets `needs_truth`.
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
        logits: outputs of the prediction branch, float32, shape (b, K) unless `Method.outputs`
            returns another number of columns.
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

    A method without state overrides only `loss`. A method with per-sample state keeps its tensors
    on the labels' device, and also overrides `state_dict` and `state_bytes`. A method that acts
    between epochs overrides `end_epoch`. A method made of several trainings declares `stages`: runs
    of other methods, whose results are in `Context.inputs`. The training loop treats all methods
    alike.
    """

    name: ClassVar[str]
    """Name of the method in studies, flags and records."""
    title: ClassVar[str]
    """Name of the method in tables; as in the NAL paper, if it compares with the method."""
    source: ClassVar[str]
    """Publication that defines the method, and the numbers of the equations."""
    parameters: ClassVar[tuple[Parameter, ...]] = ()
    """Hyperparameters of the method."""
    recipe_space: ClassVar[Mapping[str, Space]] = {}
    """Search spaces of recipe values, such as the learning rate, that are tuned with the method."""
    settings: ClassVar[tuple[Setting, ...]] = ()
    """Published hyperparameters by dataset and noise; the first entry that matches is used."""
    presets: ClassVar[Mapping[str, tuple[Setting, ...]]] = {}
    """Named groups of hyperparameter values, by the name that a study sets as `preset`."""
    published_recipes: ClassVar[tuple[PublishedRecipe, ...]] = ()
    """Published recipes by dataset and noise; the first entry that matches is used."""
    stages: ClassVar[tuple[Stage, ...]] = ()
    """Runs of other methods that are trained first, and whose results the method uses."""
    outcomes: ClassVar[tuple[str, ...]] = ("predictions",)
    """Names of the results of a run of this method that other runs can use."""
    needs_truth: ClassVar[bool] = False
    """Whether the method can be trained only if the true labels are known."""

    def __init__(self, context: Context) -> None:
        self.context = context

    @classmethod
    def check(cls, hyperparameters: FrozenMap, epochs: int) -> None:
        """Check that hyperparameters fit each other and the number of epochs.

        Raises:
            FieldError: if a parameter with `must_be_reached` is an epoch after the last one.
        """
        for name in (parameter.name for parameter in cls.parameters if parameter.must_be_reached):
            epoch = int(hyperparameters.number(name))
            if epoch > epochs:
                raise FieldError(
                    name,
                    f"{name} is {epoch}, after the last epoch ({epochs}): "
                    f"choose one from 1 to {epochs}",
                )

    @classmethod
    def outputs(cls, classes: int) -> int:
        """Return the number of outputs of the prediction branch for a number of classes."""
        return classes

    @classmethod
    def state_bytes(cls, hyperparameters: FrozenMap, samples: int, classes: int) -> int:  # noqa: ARG003
        """Return the size of the method's per-sample state in bytes."""
        return 0

    @abstractmethod
    def loss(self, batch: Batch) -> torch.Tensor:
        """Return the mean loss of a batch, a float32 scalar; update per-sample state before."""

    def end_epoch(self, epoch: int, predict: Predict) -> None:  # noqa: B027 - optional
        """Update the method's state after an epoch.

        Args:
            epoch: number of the epoch that has ended, counted from 1.
            predict: function that predicts all training samples; a call takes one pass over them.
        """

    def state_dict(self) -> dict[str, torch.Tensor]:
        """Return the state tensors for a checkpoint; methods may change them only in place."""
        return {}

    def load_state_dict(self, state: Mapping[str, torch.Tensor]) -> None:
        """Restore the method's state from a checkpoint."""
        for name, tensor in self.state_dict().items():
            tensor.copy_(state[name])

    def attention_logit(self, batch: Batch) -> torch.Tensor | None:  # noqa: ARG002
        """Return the logits of the samples' weights in the loss, (b,); None without weights."""
        return None

    def estimated_targets(self) -> torch.Tensor | None:
        """Return the current training targets, shape (n, K); None if they are the noisy labels."""
        return None

    def outcome(self, name: str, predict: Predict) -> torch.Tensor:  # noqa: ARG002
        """Return a result of the finished training, for another run that uses it.

        Args:
            name: entry of `outcomes`; "predictions" are the class probabilities of all training
                samples, shape (n, K).
            predict: function that predicts all training samples.
        """
        return predict()[:, : self.context.classes]


def check_state_size(
    method: type[Method], hyperparameters: FrozenMap, samples: int, classes: int
) -> None:
    """Check that the per-sample state of a method is not larger than `STATE_LIMIT`.

    Args:
        method: class of the method.
        hyperparameters: values of all of the method's parameters.
        samples: number of training samples.
        classes: number of classes K.

    Raises:
        FieldError: if the state is larger; the message has its size and the limit.
    """
    size = method.state_bytes(hyperparameters, samples, classes)
    if size > STATE_LIMIT:
        raise FieldError(
            "",
            f"method {method.name} keeps {size / 1e9:.1f} GB of state for {samples} samples of "
            f"{classes} classes, at most {STATE_LIMIT / 1e9:g} GB is reasonable: use a subset, "
            "or leave the method out",
        )
