"""Per-sample state that several methods use: recent predictions, and training targets."""

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
    """Return labels as one-hot rows, float32, shape (n, K)."""
    return functional.one_hot(labels, classes).to(torch.float32)


def soft_cross_entropy(logits: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    """Return each sample's cross entropy -tᵀ log p to a soft target t, shape (b,)."""
    return -(targets * functional.log_softmax(logits, dim=1)).sum(dim=1)


class RecentPredictions:
    """Ring buffer of each sample's softmax predictions in the latest epochs, in training mode.

    If an epoch leaves a sample out, the sample's older prediction in the same slot is kept.
    """

    def __init__(self, labels: torch.Tensor, epochs: int, classes: int) -> None:
        """Create a ring buffer of zeros.

        Args:
            labels: labels of the samples, shape (n,), on the device on which the buffer is created.
            epochs: number of latest epochs whose predictions are stored.
            classes: number of classes K.
        """
        self.ring = torch.zeros(len(labels), epochs, classes, device=labels.device)

    def record(self, logits: torch.Tensor, index: torch.Tensor, epoch: int) -> None:
        """Store the detached softmax predictions of a training step."""
        self.ring[index, (epoch - 1) % self.ring.shape[1]] = logits.detach().softmax(dim=1)

    def mean(self, epoch: int) -> torch.Tensor:
        """Return each sample's mean prediction over the latest epochs, shape (n, K).

        Args:
            epoch: number of the last epoch with predictions, counted from 1.
        """
        count = min(epoch, self.ring.shape[1])
        return self.ring.sum(dim=1) / count

    @staticmethod
    def size_bytes(samples: int, epochs: int, classes: int) -> int:
        """Return the size of a ring buffer in bytes."""
        return 4 * samples * epochs * classes


def first_target_epoch(default: int, source: str) -> Parameter:
    """Return the parameter for the first epoch in which moving targets replace the labels.

    Args:
        default: default value, counted from 1.
        source: origin of the default value, for the help text.
    """
    return Parameter(
        "first_target_epoch",
        default=default,
        low=1,
        in_epochs=True,
        must_be_reached=True,
        help=f"first epoch with targets in the place of labels ({source})",
    )


class TargetTable(Method):
    """Base class of methods with a training target for each sample: `targets`, (n, K), float32.

    Initially a target is the sample's one-hot noisy label, unless a subclass overwrites it.
    """

    def __init__(self, context: Context) -> None:
        super().__init__(context)
        self.targets = one_hot(context.labels, context.classes)

    @classmethod
    def state_bytes(cls, hyperparameters: FrozenMap, samples: int, classes: int) -> int:  # noqa: ARG003
        """Return the size of the training targets in bytes."""
        return 4 * samples * classes

    def estimated_targets(self) -> torch.Tensor | None:
        """Return the training targets, shape (n, K)."""
        return self.targets

    def state_dict(self) -> dict[str, torch.Tensor]:
        """Return the training targets, for a checkpoint."""
        return {"targets": self.targets}


class MovingTargets(TargetTable):
    """Base class of methods whose targets are moving averages of the predictions.

    From `first_target_epoch` on, a sample's target t becomes α t + (1 - α) p at each step, where p
    is the detached prediction of the step. Subclasses define the loss.
    """

    def __init__(self, context: Context) -> None:
        super().__init__(context)
        self.alpha = context.hyperparameters.number("alpha")
        self.first_epoch = int(context.hyperparameters.number("first_target_epoch"))

    def update_targets(self, batch: Batch) -> torch.Tensor:
        """Return a batch's targets, (b, K); from `first_target_epoch` on, update them before."""
        targets = self.targets[batch.index]
        if batch.epoch >= self.first_epoch:
            p = batch.logits.detach().softmax(dim=1)
            targets = self.alpha * targets + (1 - self.alpha) * p
            self.targets[batch.index] = targets
        return targets
