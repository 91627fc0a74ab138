"""Per-sample tables that several methods keep: of recent predictions, and of targets.

Targets may move from the labels to the predictions, as SAT's and SELC's do.
"""

from __future__ import annotations

from trainables.lazy import functional, torch
from trainables.methods.base import Batch, Context, FrozenMap, Method, Parameter, Space

MOMENTUM = Parameter(
    "alpha",
    default=0.9,
    low=0,
    high=1,
    high_open=True,
    help="momentum α of the targets (SAT and SELC code: 0.9)",
    space=Space(0.5, 0.99),
)


def one_hot(labels: torch.Tensor, classes: int) -> torch.Tensor:
    """Return labels as rows, float32, shape (n, K)."""
    return functional.one_hot(labels, classes).to(torch.float32)


def soft_cross_entropy(logits: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    """Return -tᵀ log p per sample, shape (b,)."""
    return -(targets * functional.log_softmax(logits, dim=1)).sum(dim=1)


class RecentPredictions:
    """Softmax of each sample in the latest epochs, as training saw it: a ring over epochs.

    A sample that an epoch left out keeps what the slot had of it.
    """

    def __init__(self, labels: torch.Tensor, epochs: int, classes: int) -> None:
        """Make an empty ring.

        Args:
            labels: of the samples, shape (n,); says where the ring is kept.
            epochs: how many it holds.
            classes: number of classes K.
        """
        self.ring = torch.zeros(len(labels), epochs, classes, device=labels.device)

    def note(self, logits: torch.Tensor, index: torch.Tensor, epoch: int) -> None:
        """Keep the predictions of a step, detached."""
        self.ring[index, (epoch - 1) % self.ring.shape[1]] = logits.detach().softmax(dim=1)

    def mean(self, epoch: int) -> torch.Tensor:
        """Return the mean over the latest epochs, up to this one, shape (n, K)."""
        held = min(epoch, self.ring.shape[1])
        return self.ring.sum(dim=1) / held


def ring_bytes(samples: int, epochs: int, classes: int) -> int:
    """Return the size of `RecentPredictions`."""
    return 4 * samples * epochs * classes


def first_target_epoch(default: int, source: str) -> Parameter:
    """Return the parameter that says when targets take the place of labels."""
    return Parameter(
        "first_target_epoch",
        default=default,
        low=1,
        in_epochs=True,
        must_come=True,
        help=f"first epoch with targets in the place of labels ({source})",
    )


class TargetTable(Method):
    """Keeps a target t of each sample, float32, shape (n, K).

    It begins as the sample's one-hot label where a subclass doesn't change it.
    """

    def __init__(self, context: Context) -> None:
        super().__init__(context)
        self.targets = one_hot(context.labels, context.classes)

    @classmethod
    def state_bytes(cls, hyperparameters: FrozenMap, samples: int, classes: int) -> int:  # noqa: ARG003
        """Return the size of the targets."""
        return 4 * samples * classes

    def estimated_targets(self) -> torch.Tensor | None:
        """Return the targets."""
        return self.targets

    def state_dict(self) -> dict[str, torch.Tensor]:
        """Return the targets."""
        return {"targets": self.targets}


class MovingTargets(TargetTable):
    """Keeps t, which from `first_target_epoch` on becomes α t + (1 - α) p at each step.

    p is the step's prediction in training mode, detached. A subclass says what it makes of t.
    """

    def __init__(self, context: Context) -> None:
        super().__init__(context)
        self.momentum = context.hyperparameters.number("alpha")
        self.first = int(context.hyperparameters.number("first_target_epoch"))

    def moved(self, batch: Batch) -> torch.Tensor:
        """Move the batch's targets if it is time; return them, shape (b, K)."""
        targets = self.targets[batch.index]
        if batch.epoch >= self.first:
            p = batch.logits.detach().softmax(dim=1)
            targets = self.momentum * targets + (1 - self.momentum) * p
            self.targets[batch.index] = targets
        return targets
