"""Who looks on while a run trains."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    import torch

    from trainables.methods import Batch


class Observer(Protocol):
    """Looks on while a run trains; what it does must not change a bit of it."""

    def watches(self, epoch: int) -> bool:
        """Tell whether it wants to see this epoch."""

    def note(self, batch: Batch, attention: torch.Tensor | None, gradient: torch.Tensor) -> None:
        """Take note of a step.

        Args:
            batch: of the step.
            attention: logit of the weight τ that the loss gives each sample, shape (b,), if it
                gives one.
            gradient: of each sample's loss with respect to its logits, shape (b, outputs).
        """

    def end_epoch(self, epoch: int, targets: torch.Tensor | None) -> None:
        """Take note of an epoch's end, and of what the method takes for the labels then."""
