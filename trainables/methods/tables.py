"""Per-sample tables that several methods keep."""

from __future__ import annotations

from trainables.lazy import functional, torch


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
