"""Per-sample state that several methods share: rings of recent predictions, and targets."""

from __future__ import annotations

from trainables.lazy import functional, torch
from trainables.methods.base import Batch, Context, FrozenMap, Method, Parameter, Space

TARGET_MOMENTUM = Parameter(
    "alpha",
    default=0.9,
    low=0,
    high=1,
    high_open=True,
    help="momentum α of the targets (SAT and SELC code: 0.9)",
    space=Space(0.5, 0.99),
)


def one_hot(labels: torch.Tensor, classes: int) -> torch.Tensor:
    """Return one-hot rows of labels, float32, shape (n, K)."""
    return functional.one_hot(labels, classes).to(torch.float32)


def soft_cross_entropy(logits: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    """Return -tᵀ log p of each sample, shape (b,)."""
    return -(targets * functional.log_softmax(logits, dim=1)).sum(dim=1)


class RecentPredictions:
    """Ring buffer of each sample's softmax predictions in the latest epochs, in training mode.

    The slot of an epoch keeps its old prediction of a sample that the epoch leaves out.
    """

    def __init__(self, labels: torch.Tensor, epochs: int, classes: int) -> None:
        """Create an empty ring.

        Args:
            labels: labels of the samples, shape (n,), on the device that the ring is kept on.
            epochs: number of epochs that the ring holds.
            classes: number of classes K.
        """
        self.ring = torch.zeros(len(labels), epochs, classes, device=labels.device)

    def record(self, logits: torch.Tensor, index: torch.Tensor, epoch: int) -> None:
        """Store the predictions of a step, detached."""
        self.ring[index, (epoch - 1) % self.ring.shape[1]] = logits.detach().softmax(dim=1)

    def mean(self, epoch: int) -> torch.Tensor:
        """Return the mean prediction over the latest epochs up to `epoch`, shape (n, K)."""
        count = min(epoch, self.ring.shape[1])
        return self.ring.sum(dim=1) / count

    @staticmethod
    def size_bytes(samples: int, epochs: int, classes: int) -> int:
        """Return the size of a ring in bytes."""
        return 4 * samples * epochs * classes


def first_target_epoch(default: int, source: str) -> Parameter:
    """Return the parameter for the first epoch in which moving targets replace the labels."""
    return Parameter(
        "first_target_epoch",
        default=default,
        low=1,
        in_epochs=True,
        must_be_reached=True,
        help=f"first epoch with targets in the place of labels ({source})",
    )


class TargetTable(Method):
    """Base class of methods with a target t of each sample, float32, shape (n, K).

    A target is initially the sample's one-hot label, unless a subclass overwrites it.
    """

    def __init__(self, context: Context) -> None:
        super().__init__(context)
        self.targets = one_hot(context.labels, context.classes)

    @classmethod
    def state_bytes(cls, hyperparameters: FrozenMap, samples: int, classes: int) -> int:  # noqa: ARG003
        """Return the size of the targets in bytes."""
        return 4 * samples * classes

    def estimated_targets(self) -> torch.Tensor | None:
        """Return the targets."""
        return self.targets

    def state_dict(self) -> dict[str, torch.Tensor]:
        """Return the targets."""
        return {"targets": self.targets}


class MovingTargets(TargetTable):
    """Base class of methods whose targets are moving averages of the predictions.

    From `first_target_epoch` on, t becomes α t + (1 - α) p at each step, p being the step's
    prediction in training mode, detached. A subclass defines the loss.
    """

    def __init__(self, context: Context) -> None:
        super().__init__(context)
        self.alpha = context.hyperparameters.number("alpha")
        self.first_epoch = int(context.hyperparameters.number("first_target_epoch"))

    def update_targets(self, batch: Batch) -> torch.Tensor:
        """Update the batch's targets from the first target epoch on; return them, shape (b, K)."""
        targets = self.targets[batch.index]
        if batch.epoch >= self.first_epoch:
            p = batch.logits.detach().softmax(dim=1)
            targets = self.alpha * targets + (1 - self.alpha) * p
            self.targets[batch.index] = targets
        return targets
