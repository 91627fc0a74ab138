"""What every method offers, and what its file is written in.

Nothing here imports torch: the command line reads the declarations.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, ClassVar

from trainables.errors import FieldError
from trainables.methods.published import Published, Selection, Setting, Stage
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
    "Published",
    "Selection",
    "Setting",
    "Space",
    "Stage",
    "check_state",
]

Predict = Callable[[], "torch.Tensor"]
"""Softmax of the network as it is, of every training sample in order, float32, shape (n, outputs):
in evaluation mode, without augmentation."""

STATE_LIMIT = 10**9
"""Most bytes of per-sample state that is kept on the device and in every checkpoint."""


@dataclass(frozen=True, slots=True)
class Context:
    """What a method is given once, before the first epoch.

    Attributes:
        hyperparameters: complete values of the method's parameters.
        labels: noisy labels of the training part, int64, shape (n,), on the run's device.
        classes: number of classes K.
        epochs: length of the training.
        seed: base seed of the `method` axis.
        inputs: outcomes of the runs that this one needs, by role; rows are samples of the same
            training part.
        transition: observed P(noisy = j | true = i) of the training part, float32, shape (K, K);
            None unless the method asks for it by `needs_truth`.
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
    """What a method is given at each step.

    Attributes:
        logits: float32, shape (b, K) (or as many outputs as the method asks for).
        attention: logit of the attention branch, float32, shape (b,).
        index: positions in the training part, int64, shape (b,), each at most once.
        epoch: counted from 1.
    """

    logits: torch.Tensor
    attention: torch.Tensor
    index: torch.Tensor
    epoch: int


class Method(ABC):
    """One way of learning from noisy labels.

    There are three kinds, and the training loop knows none of them. A stateless loss overrides
    `loss` alone. A method with per-sample state keeps tensors on the labels' device, names them in
    `state_dict` and their size in `state_bytes`. One that acts between epochs overrides
    `end_epoch`. A method made of several trainings declares `stages`: runs of other methods, whose
    outcomes it finds in `Context.inputs`.
    """

    name: ClassVar[str]
    title: ClassVar[str]
    """As tables print it; the paper's, where the paper has it."""
    source: ClassVar[str]
    """Where it is defined."""
    parameters: ClassVar[tuple[Parameter, ...]] = ()
    recipe_space: ClassVar[Mapping[str, Space]] = {}
    """Values of the recipe that are searched with the method where it is tuned."""
    settings: ClassVar[tuple[Setting, ...]] = ()
    """Published values, the most special first."""
    presets: ClassVar[Mapping[str, tuple[Setting, ...]]] = {}
    """Named groups of values, by the word that studies give as `preset`."""
    published: ClassVar[tuple[Published, ...]] = ()
    """Published recipes, the most special first."""
    stages: ClassVar[tuple[Stage, ...]] = ()
    outcomes: ClassVar[tuple[str, ...]] = ("predictions",)
    """What other runs may take from a run of it."""
    needs_truth: ClassVar[bool] = False
    """Whether it can be trained only where true labels are known."""

    def __init__(self, context: Context) -> None:
        self.context = context

    @classmethod
    def check(cls, hyperparameters: FrozenMap, epochs: int) -> None:
        """Refuse combinations that cannot work, such as a first epoch after the last.

        Raises:
            FieldError: names the parameter, what it is and what is allowed.
        """
        for name in (parameter.name for parameter in cls.parameters if parameter.must_come):
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
        """Return the size of the per-sample state."""
        return 0

    @abstractmethod
    def loss(self, batch: Batch) -> torch.Tensor:
        """Return the mean loss of a batch (a float32 scalar), updating the state it needs first."""

    def end_epoch(self, epoch: int, predict: Predict) -> None:  # noqa: B027 - optional
        """Act after an epoch's last step.

        Args:
            epoch: that has ended, counted from 1.
            predict: a pass over all training samples, for who needs one.
        """

    def state_dict(self) -> dict[str, torch.Tensor]:
        """Return the tensors that a checkpoint must hold; they are changed in place only."""
        return {}

    def load_state_dict(self, state: Mapping[str, torch.Tensor]) -> None:
        """Take the state of a checkpoint."""
        for name, tensor in self.state_dict().items():
            tensor.copy_(state[name])

    def attention_logit(self, batch: Batch) -> torch.Tensor | None:  # noqa: ARG002
        """Return the logit of the weight τ that the loss gives each sample; None without one."""
        return None

    def estimated_targets(self) -> torch.Tensor | None:
        """Return what the method takes for the labels now, shape (n, K); None if as given."""
        return None

    def outcome(self, name: str, predict: Predict) -> torch.Tensor:  # noqa: ARG002
        """Return what another run takes from this one after its last epoch.

        Args:
            name: one of `outcomes`. "predictions": softmax of all training samples, shape (n, K).
            predict: a pass over all training samples.
        """
        return predict()[:, : self.context.classes]


def check_state(method: type[Method], values: FrozenMap, samples: int, classes: int) -> None:
    """Refuse per-sample state that would not be reasonable.

    Raises:
        FieldError: says what it would need and how much is allowed.
    """
    size = method.state_bytes(values, samples, classes)
    if size > STATE_LIMIT:
        raise FieldError(
            "",
            f"method {method.name} keeps {size / 1e9:.1f} GB of state for {samples} samples of "
            f"{classes} classes, at most {STATE_LIMIT / 1e9:g} GB is reasonable: use a subset, "
            "or leave the method out",
        )
