"""Averages of the predictions of each training sample over the epochs of a run.

A network learns the wrong labels of its training samples last, and at length. The averages over the
epochs therefore tell wrong labels better than the predictions of the last epoch. The margin is that
of Pleiss et al., *Identifying Mislabeled Data using the Area Under the Margin Ranking*, NeurIPS
2020. A step only stores its logits; they are averaged once per epoch.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch

if TYPE_CHECKING:
    from numpy.typing import NDArray


class PredictionHistory:
    """Sums of the predictions of each training sample over all epochs so far.

    The predictions are those of the training steps: of the network in training mode, on augmented
    images. A sample that an epoch skips does not count in that epoch.
    """

    def __init__(self, noisy_labels: torch.Tensor, class_count: int) -> None:
        """Create a history without epochs.

        Args:
            noisy_labels: noisy labels of the training samples, on the run's device, shape (n,).
            class_count: number of classes K.
        """
        self._labels, self._class_count = noisy_labels, class_count
        # Columns: probability of each class, margin, whether the prediction is not the noisy
        # label, and 1.
        self._sums = torch.zeros(len(noisy_labels), class_count + 3, device=noisy_labels.device)
        self._last_epoch = 0
        self._is_complete = True
        self._steps: list[tuple[torch.Tensor, torch.Tensor]] = []

    def record_step(self, positions: torch.Tensor, logits: torch.Tensor) -> None:
        """Store the logits of a training step until the end of the epoch.

        Args:
            positions: positions of the samples among the run's training samples, shape (b,).
            logits: detached logits of the samples, shape (b, outputs).
        """
        self._steps.append((positions, logits))

    @torch.no_grad()
    def end_epoch(self, epoch: int) -> None:
        """Add the stored predictions to the sums.

        Args:
            epoch: number of the epoch that has ended, counted from 1. If it does not follow the
                epoch before, as in a run that continues from a checkpoint without a history, the
                history is incomplete, and has no averages.
        """
        positions = torch.cat([positions for positions, _ in self._steps])
        logits = torch.cat([logits for _, logits in self._steps])[:, : self._class_count].float()
        self._steps.clear()
        self._is_complete &= epoch == self._last_epoch + 1
        self._last_epoch = epoch
        labels = self._labels[positions].unsqueeze(1)
        other_logits = logits.scatter(1, labels, -torch.inf).amax(dim=1, keepdim=True)
        margin = logits.gather(1, labels) - other_logits
        columns = [logits.softmax(dim=1), margin, (margin < 0).float(), torch.ones_like(margin)]
        self._sums.index_add_(0, positions, torch.cat(columns, dim=1))

    def arrays(self) -> dict[str, NDArray[Any]]:
        """Return the averages by name; {} if there is no epoch or the history is incomplete.

        `store.Diagnostics` describes the arrays. The averages of a sample that was never seen are
        0.
        """
        if not self._is_complete or not self._last_epoch:
            return {}
        probability_sums, margin_sums, disagreements, epochs = torch.split(
            self._sums, [self._class_count, 1, 1, 1], dim=1
        )
        divisors = epochs.clamp(min=1)
        probabilities = probability_sums / divisors
        arrays = {
            "history/epochs": epochs.squeeze(1).int(),
            "history/disagreements": disagreements.squeeze(1).int(),
            "history/margin": (margin_sums / divisors).squeeze(1),
            "history/label_probability": probabilities.gather(1, self._labels[:, None]).squeeze(1),
            "history/probabilities": probabilities.half(),
        }
        return {name: array.cpu().numpy() for name, array in arrays.items()}

    def state_dict(self) -> dict[str, Any]:
        """Return the sums after the last complete epoch, for a checkpoint."""
        return {
            "sums": self._sums,
            "epoch": self._last_epoch,
            "complete": self._is_complete,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore the sums that `state_dict` returned before an interruption."""
        self._sums.copy_(state["sums"])
        self._last_epoch = state["epoch"]
        self._is_complete = state["complete"]
