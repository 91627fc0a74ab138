"""Per-sample state that several methods share: recent predictions and training targets."""

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


def one_hot(labels: torch.Tensor, class_count: int) -> torch.Tensor:
    """Return labels as one-hot rows, float32, shape (n, K)."""
    return functional.one_hot(labels, class_count).to(torch.float32)


def soft_cross_entropy(logits: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    """Return each sample's cross entropy -tᵀ log p to a soft target t, shape (b,)."""
    return -(targets * functional.log_softmax(logits, dim=1)).sum(dim=1)


class RecentPredictions:
    """Ring buffer of each sample's predictions in the training steps of the latest epochs.

    If an epoch does not train on a sample, the sample's prediction of `epoch_count` epochs before
    stays in the buffer.

    Attributes:
        buffer: softmax probabilities, float32, shape (n, epoch_count, K); initially zeros.
    """

    def __init__(self, labels: torch.Tensor, epoch_count: int, class_count: int) -> None:
        """Create a ring buffer of zeros.

        Args:
            labels: labels of the samples, shape (n,), on the device on which the buffer is created.
            epoch_count: number of latest epochs whose predictions are stored.
            class_count: number of classes K.
        """
        self.buffer = torch.zeros(len(labels), epoch_count, class_count, device=labels.device)

    def record(self, logits: torch.Tensor, index: torch.Tensor, epoch: int) -> None:
        """Store the detached softmax probabilities of a training step.

        Args:
            logits: outputs of the prediction branch, shape (b, K).
            index: indices of the samples among the training samples, shape (b,).
            epoch: number of the current epoch, counted from 1.
        """
        self.buffer[index, (epoch - 1) % self.buffer.shape[1]] = logits.detach().softmax(dim=1)

    def mean(self, epoch: int) -> torch.Tensor:
        """Return each sample's mean prediction over the latest epochs, shape (n, K).

        Args:
            epoch: number of the latest epoch with recorded predictions, counted from 1.
        """
        recorded_epochs = min(epoch, self.buffer.shape[1])
        return self.buffer.sum(dim=1) / recorded_epochs

    @staticmethod
    def size_bytes(sample_count: int, epoch_count: int, class_count: int) -> int:
        """Return the size of a ring buffer in bytes."""
        return 4 * sample_count * epoch_count * class_count


def first_target_epoch_parameter(default: int, source: str) -> Parameter:
    """Return the parameter `first_target_epoch`: the first epoch trained on moving targets.

    Args:
        default: default value of the parameter, counted from 1.
        source: origin of the default value, for the help text.
    """
    return Parameter(
        "first_target_epoch",
        default=default,
        low=1,
        in_epochs=True,
        must_be_reached=True,
        help=f"first epoch in which moving targets replace the labels ({source})",
    )


class MethodWithTargets(Method):
    """Base class of methods that keep a training target for each sample.

    Attributes:
        targets: training targets, float32, shape (n, K); initially the one-hot noisy labels, unless
            a subclass overwrites them.
    """

    def __init__(self, context: Context) -> None:
        super().__init__(context)
        self.targets = one_hot(context.labels, context.class_count)

    @classmethod
    def state_bytes(cls, hyperparameters: FrozenMap, sample_count: int, class_count: int) -> int:  # noqa: ARG003
        """Return the size of the training targets in bytes."""
        return 4 * sample_count * class_count

    def estimated_targets(self) -> torch.Tensor | None:
        """Return the training targets, shape (n, K)."""
        return self.targets

    def state_dict(self) -> dict[str, torch.Tensor]:
        """Return the training targets, for a checkpoint."""
        return {"targets": self.targets}


class MethodWithMovingTargets(MethodWithTargets):
    """Base class of methods whose targets are moving averages of the predictions.

    From `first_target_epoch` on, each training step on a sample changes the sample's target t to
    α t + (1 - α) p, where p is the detached prediction of the step. Subclasses define the loss.
    """

    def __init__(self, context: Context) -> None:
        super().__init__(context)
        self.alpha = context.hyperparameters.number("alpha")
        self.first_target_epoch = int(context.hyperparameters.number("first_target_epoch"))

    def update_targets(self, batch: Batch) -> torch.Tensor:
        """Update a batch's targets from `first_target_epoch` on, and return them, shape (b, K)."""
        targets = self.targets[batch.index]
        if batch.epoch >= self.first_target_epoch:
            predictions = batch.logits.detach().softmax(dim=1)
            targets = self.alpha * targets + (1 - self.alpha) * predictions
            self.targets[batch.index] = targets
        return targets
