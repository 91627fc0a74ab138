"""Base class of the training methods, and the types that methods declare and receive.

Types of other modules are exported here again, so that the file of a method imports all its types
from this module. Torch is not imported, since commands that train nothing read the declarations of
all methods.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, ClassVar

from trainables.errors import FieldError
from trainables.methods.published import EpochSelection, PublishedRecipe, Setting, Stage
from trainables.run.parameters import AnySpace, ChoiceSpace, FrozenMap, Parameter, Prior, Space
from trainables.run.schedules import CosineRestarts, MultiStep

if TYPE_CHECKING:
    import torch

    from trainables.run.recipe import Recipe

__all__ = [
    "Batch",
    "ChoiceSpace",
    "Context",
    "CosineRestarts",
    "EpochSelection",
    "FrozenMap",
    "Method",
    "MultiStep",
    "Parameter",
    "PredictFunction",
    "Prior",
    "PublishedRecipe",
    "Setting",
    "Space",
    "Stage",
    "check_state_size",
]

PredictFunction = Callable[[], "torch.Tensor"]
"""Function that predicts all training samples with the current network, in evaluation mode and
without augmentation. It returns softmax probabilities, float32, shape (n, output_count); row i
belongs to training sample i."""

MAX_STATE_BYTES = 10**9
"""Largest allowed size of a method's per-sample state in bytes; the state is kept on the device and
in every checkpoint."""


@dataclass(frozen=True, slots=True)
class Context:
    """Data and settings of a training run that a method receives in its constructor.

    Attributes:
        hyperparameters: values of all of the method's parameters.
        labels: noisy labels of the training samples, int64, shape (n,), on the run's device.
        class_count: number of classes K.
        epochs: number of epochs of the training run.
        seed: base seed of the method's own random draws.
        inputs: tensors that preceding runs computed for this run, keyed by `Stage.role`, such as
            the predictions of a cross entropy run; row i belongs to the sample of `labels[i]`.
        transition: true transition matrix, whose entry (i, j) is the fraction of the samples of
            true class i that have the noisy label j, float32, shape (K, K); None unless the method
            sets `needs_truth`.
    """

    hyperparameters: FrozenMap
    labels: torch.Tensor
    class_count: int
    epochs: int
    seed: int
    inputs: Mapping[str, torch.Tensor] = field(default_factory=dict)
    transition: torch.Tensor | None = None


@dataclass(frozen=True, slots=True)
class Batch:
    """Batch of training samples in one training step, from which a method computes the loss.

    Attributes:
        logits: outputs of the prediction branch, float32, shape (b, K), or (b, output_count) if the
            method overrides `Method.output_count`.
        attention: outputs of the attention branch, logits of the attention weights τ, float32,
            shape (b,).
        index: indices of the samples among the training samples, int64, shape (b,), all distinct.
        epoch: number of the current epoch, counted from 1.
    """

    logits: torch.Tensor
    attention: torch.Tensor
    index: torch.Tensor
    epoch: int


class Method(ABC):
    """Base class of the methods of learning from noisy labels.

    A method without state overrides only `loss`. A method with per-sample state keeps its tensors
    on the labels' device, and also overrides `state_dict` and `state_bytes`. A method that acts
    between epochs overrides `end_epoch`. A method that consists of several training runs declares
    `stages`: runs of other methods that come first, and whose results are in `Context.inputs`.
    """

    name: ClassVar[str]
    """Name of the method in studies, flags and records."""
    title: ClassVar[str]
    """Name of the method in tables; the NAL paper's name for methods that the paper compares."""
    source: ClassVar[str]
    """Publication that defines the method, with the numbers of the equations."""
    parameters: ClassVar[tuple[Parameter, ...]] = ()
    """Hyperparameters of the method."""
    recipe_space: ClassVar[Mapping[str, AnySpace]] = {}
    """Search spaces of recipe values, such as the learning rate, keyed by name; a search tunes them
    together with the hyperparameters."""
    settings: ClassVar[tuple[Setting, ...]] = ()
    """Published hyperparameter values by dataset and noise; the first matching entry is used."""
    presets: ClassVar[Mapping[str, tuple[Setting, ...]]] = {}
    """Named groups of hyperparameter values, keyed by the name that a study sets as `preset`."""
    published_recipes: ClassVar[tuple[PublishedRecipe, ...]] = ()
    """Published training recipes by dataset and noise; the first matching entry is used."""
    stages: ClassVar[tuple[Stage, ...]] = ()
    """Runs of other methods that are trained first, because this method uses their results."""
    outcomes: ClassVar[tuple[str, ...]] = ("predictions",)
    """Names of the results that a run of this method can pass to other runs."""
    needs_truth: ClassVar[bool] = False
    """Whether the method requires the true labels of the training samples."""

    def __init__(self, context: Context) -> None:
        self.context = context

    @classmethod
    def check(cls, hyperparameters: FrozenMap, epochs: int) -> None:
        """Check that hyperparameters fit each other and the number of epochs.

        Raises:
            FieldError: if a parameter with `must_be_reached` is greater than the number of epochs,
                or one with `must_be_followed` is not less than it.
        """
        for name in (parameter.name for parameter in cls.parameters if parameter.must_be_followed):
            epoch_count = int(hyperparameters.number(name))
            if epoch_count >= epochs:
                raise FieldError(
                    name,
                    f"{name} is {epoch_count} of {epochs} epochs, but at least one epoch must "
                    f"follow: train for at least {epoch_count + 1} epochs",
                )
        for name in (parameter.name for parameter in cls.parameters if parameter.must_be_reached):
            epoch = int(hyperparameters.number(name))
            if epoch > epochs:
                raise FieldError(
                    name,
                    f"{name} is {epoch}, after the last epoch ({epochs}): "
                    f"choose an epoch from 1 to {epochs}",
                )

    @classmethod
    def remedies(cls, hyperparameters: FrozenMap, recipe: Recipe) -> tuple[str, ...]:  # noqa: ARG003
        """Return settings worth trying where the tuned method is less accurate than cross entropy.

        They are texts for the notes of tables. Settings that the runs have already are left out.

        Args:
            hyperparameters: values of the method's parameters, with those that were chosen.
            recipe: recipe of the runs.
        """
        return ()

    @classmethod
    def output_count(cls, class_count: int) -> int:
        """Return the number of outputs of the prediction branch: by default one for each class."""
        return class_count

    @classmethod
    def state_bytes(cls, hyperparameters: FrozenMap, sample_count: int, class_count: int) -> int:  # noqa: ARG003
        """Return the size in bytes of the state that the method keeps for all training samples."""
        return 0

    @abstractmethod
    def loss(self, batch: Batch) -> torch.Tensor:
        """Return the mean loss of a batch as a float32 scalar, and update per-sample state."""

    def end_epoch(self, epoch: int, predict: PredictFunction) -> None:  # noqa: B027 - optional
        """Update the method's state after an epoch.

        Args:
            epoch: number of the epoch that has ended, counted from 1.
            predict: function that returns the predictions of all training samples; each call is a
                forward pass over all of them.
        """

    def state_dict(self) -> dict[str, torch.Tensor]:
        """Return the tensors of the method's state, by name; methods change them only in place."""
        return {}

    def load_state_dict(self, state: Mapping[str, torch.Tensor]) -> None:
        """Restore the method's state from a checkpoint."""
        for name, tensor in self.state_dict().items():
            tensor.copy_(state[name])

    def attention_logit(self, batch: Batch) -> torch.Tensor | None:  # noqa: ARG002
        """Return the logit of each sample's attention weight, (b,); None for methods without it."""
        return None

    def estimated_targets(self) -> torch.Tensor | None:
        """Return the training targets, shape (n, K); None if training uses the noisy labels."""
        return None

    def outcome(self, name: str, predict: PredictFunction) -> torch.Tensor:  # noqa: ARG002
        """Return a result of the finished training run, which another run uses.

        Args:
            name: entry of `outcomes`; "predictions" are the class probabilities of all training
                samples, shape (n, K).
            predict: function that returns the predictions of all training samples.
        """
        return predict()[:, : self.context.class_count]


def check_state_size(
    method: type[Method], hyperparameters: FrozenMap, sample_count: int, class_count: int
) -> None:
    """Check that the per-sample state of a method is at most `MAX_STATE_BYTES` large.

    Args:
        method: class of the method.
        hyperparameters: values of all of the method's parameters.
        sample_count: number of training samples.
        class_count: number of classes K.

    Raises:
        FieldError: if the state is larger; the message gives the size and the limit.
    """
    state_bytes = method.state_bytes(hyperparameters, sample_count, class_count)
    if state_bytes > MAX_STATE_BYTES:
        raise FieldError(
            "",
            f"method {method.name} would keep {state_bytes / 1e9:.1f} GB of state for "
            f"{sample_count} samples of {class_count} classes, above the limit of "
            f"{MAX_STATE_BYTES / 1e9:g} GB: train on a subset of the samples, or leave the method "
            "out",
        )
