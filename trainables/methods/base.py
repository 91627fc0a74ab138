"""What every method offers. Nothing here imports torch: the command line reads the declarations."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

if TYPE_CHECKING:
    import torch

    from trainables.parameters import FrozenMap, Parameter


@dataclass(frozen=True, slots=True)
class Context:
    """What a method is given once, before the first epoch.

    Attributes:
        hyperparameters: complete values of the method's parameters.
        labels: noisy labels of the training part, int64, shape (n,), on the run's device.
        classes: number of classes K.
        epochs: length of the training.
        seed: base seed of the `method` axis.
    """

    hyperparameters: FrozenMap
    labels: torch.Tensor
    classes: int
    epochs: int
    seed: int


@dataclass(frozen=True, slots=True)
class Batch:
    """What a method is given at each step.

    Attributes:
        logits: float32, shape (b, K) (or as many outputs as the method asks for).
        attention: logit of the attention branch, float32, shape (b,).
        index: positions in the training part, int64, shape (b,).
        epoch: counted from 1.
    """

    logits: torch.Tensor
    attention: torch.Tensor
    index: torch.Tensor
    epoch: int


class Method(ABC):
    """One way of learning from noisy labels: a loss, and what it keeps per sample.

    A stateless loss overrides `loss` alone. A method with per-sample state keeps tensors on the
    labels' device and gives them in `state_dict`. One that acts between epochs overrides
    `end_epoch`.
    """

    name: ClassVar[str]
    title: ClassVar[str]
    """As tables print it."""
    source: ClassVar[str]
    """Where it is defined."""
    parameters: ClassVar[tuple[Parameter, ...]] = ()

    def __init__(self, context: Context) -> None:
        self.context = context

    @classmethod  # noqa: B027 - optional
    def check(cls, hyperparameters: FrozenMap, epochs: int) -> None:
        """Refuse combinations that cannot work.

        Raises:
            FieldError: names the parameter, what it is and what is allowed.
        """

    @classmethod
    def outputs(cls, classes: int) -> int:
        """Return the number of outputs of the prediction branch."""
        return classes

    @abstractmethod
    def loss(self, batch: Batch) -> torch.Tensor:
        """Return the mean loss of a batch (a float32 scalar), updating the state it needs first."""

    def end_epoch(self, epoch: int) -> None:  # noqa: B027 - optional
        """Act after an epoch's last step."""

    def state_dict(self) -> dict[str, torch.Tensor]:
        """Return the state that a checkpoint must hold."""
        return {}

    def load_state_dict(self, state: dict[str, torch.Tensor]) -> None:  # noqa: B027 - optional
        """Take the state of a checkpoint."""
