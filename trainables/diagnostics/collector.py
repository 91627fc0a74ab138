"""Collection of per-sample diagnostics during a run, without any effect on the result.

In a collected epoch, each training step stores the logits, attention weights and gradients of its
samples on the run's device. At the end of the epoch these values are sorted by sample and reduced.
They therefore come from the network in training mode, on augmented images. A sample that an epoch
skips (in a dropped last batch, or because its picture is unreadable) keeps its earlier values.
Averages of the predictions are collected in every epoch.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, Self

import numpy as np
import torch

from trainables.diagnostics import reduce
from trainables.diagnostics.history import PredictionHistory

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from trainables.methods import Batch
    from trainables.training.trainer import Trainer

_StepValues = tuple[torch.Tensor, torch.Tensor, torch.Tensor | None, torch.Tensor]
"""Values of one training step: positions of the samples among the run's training samples, logits of
the classes, logits of the attention weights, and gradients with respect to the class logits."""

DEFAULT_COLLECTION_COUNT = 20
"""Approximate number of epochs per run in which diagnostics are collected by default."""


def collection_interval(epochs: int, requested_interval: int | None) -> int:
    """Return the number of epochs between collections of diagnostics; 0 for no collections.

    Args:
        epochs: number of epochs of the run.
        requested_interval: interval that the study sets; None for about 20 collections per run.
    """
    if requested_interval is None:
        return math.ceil(epochs / DEFAULT_COLLECTION_COUNT)
    return requested_interval


class Collector:
    """Collector of per-sample diagnostics, which observes the training steps of a run."""

    def __init__(
        self,
        noisy_labels: torch.Tensor,
        true_labels: torch.Tensor | None,
        positions: NDArray[np.integer],
        class_count: int,
        epochs: int,
        interval: int,
    ) -> None:
        """Create a collector, with memory for the values of all samples.

        Args:
            noisy_labels: noisy labels of the training samples, on the run's device, shape (n,).
            true_labels: true labels, shape (n,); None if they are unknown.
            positions: positions of the samples in the dataset's training split, shape (n,).
            class_count: number of classes K.
            epochs: number of epochs of the run.
            interval: number of epochs between collections, at least 1; the first and the last epoch
                are always collected.
        """
        self._noisy_labels, self._true_labels = noisy_labels, true_labels
        self._positions = positions
        self._class_count, self._epochs, self._interval = class_count, epochs, interval
        count, device = len(noisy_labels), noisy_labels.device
        self._logits = torch.zeros(count, class_count, device=device)
        # Rows: attention logit, L1 norm of the gradient, entry of the gradient at the noisy label.
        self._sample_values = torch.zeros(3, count, device=device)
        self._collected_mask = torch.zeros(count, dtype=torch.bool, device=device)
        self._has_attention = False
        self._history = PredictionHistory(noisy_labels, class_count)
        self._steps: list[_StepValues] = []
        self._epoch_arrays: list[dict[str, torch.Tensor]] = []
        self._epoch_scalars: list[dict[str, float]] = []
        self._collected_epochs: list[int] = []
        self._final_arrays: dict[str, torch.Tensor] = {}

    @classmethod
    def from_trainer(cls, trainer: Trainer, interval: int) -> Self:
        """Create a collector for the run of a trainer.

        Args:
            trainer: trainer whose data and spec are used.
            interval: number of epochs between collections, at least 1.
        """
        return cls(
            noisy_labels=trainer.data.train.labels,
            true_labels=trainer.data.true_labels if trainer.labels.true_labels_known else None,
            positions=trainer.data.train.index,
            class_count=trainer.labels.class_count,
            epochs=trainer.spec.recipe.epochs,
            interval=interval,
        )

    def collects(self, epoch: int) -> bool:
        """Return whether more than the predictions of an epoch is collected.

        This holds for the first epoch, the last epoch, and every `interval` epochs.
        """
        return epoch % self._interval == 0 or epoch in (1, self._epochs)

    def record_predictions(self, positions: torch.Tensor, logits: torch.Tensor) -> None:
        """Store the predictions of a training step."""
        self._history.record_step(positions, logits)

    def record_step(
        self, batch: Batch, attention: torch.Tensor | None, gradient: torch.Tensor
    ) -> None:
        """Store the logits, attention weights and gradients of a training step."""
        attention = None if attention is None else attention.detach()
        self._steps.append((batch.index, batch.logits.detach(), attention, gradient))

    def end_epoch(self, epoch: int, targets: Callable[[], torch.Tensor | None]) -> None:
        """Reduce the values that the training steps of an epoch have stored.

        Args:
            epoch: number of the epoch that has ended, counted from 1.
            targets: function that returns the current training targets of the method, shape (n, K);
                None if the targets are the noisy labels.
        """
        self._history.end_epoch(epoch)
        if self.collects(epoch):
            self._reduce_epoch(epoch, targets())

    def _reduce_epoch(self, epoch: int, targets: torch.Tensor | None) -> None:
        """Reduce the logits, attention weights and gradients of a collected epoch."""
        self._sort_by_sample()
        attention_logits, gradient_norm, label_gradient = self._sample_values.cpu().numpy()
        true_labels = self._true_labels
        values = reduce.EpochValues(
            log_probabilities=self._logits.log_softmax(dim=1).cpu().numpy(),
            attention_logits=attention_logits if self._has_attention else None,
            gradient_norm=gradient_norm,
            label_gradient=label_gradient,
            noisy_labels=self._noisy_labels.cpu().numpy(),
            true_labels=None if true_labels is None else true_labels.cpu().numpy(),
            corrected_labels=None if targets is None else targets.argmax(dim=1).cpu().numpy(),
        )
        self._collected_epochs.append(epoch)
        self._epoch_scalars.append(reduce.epoch_scalars(values))
        class_dtype = np.uint8 if self._class_count <= 256 else np.int32
        arrays: dict[str, NDArray[Any]] = {
            "predicted": values.predicted_classes.astype(class_dtype)
        }
        if values.attention_logits is not None:
            arrays["attention"] = values.attention_logits.astype(np.float16)
            arrays["histogram"], arrays["log_histogram"] = reduce.attention_histograms(values)
        self._epoch_arrays.append({name: torch.from_numpy(array) for name, array in arrays.items()})
        if epoch == self._epochs:
            self._final_arrays = self._arrays_of_last_epoch(values, targets)

    def _sort_by_sample(self) -> None:
        """Copy the stored values of all training steps to the rows of their samples."""
        index = torch.cat([index for index, _, _, _ in self._steps])
        logits = torch.cat([logits for _, logits, _, _ in self._steps])
        self._logits[index] = logits[:, : self._class_count]
        self._collected_mask[index] = True
        gradients = torch.cat([gradient for _, _, _, gradient in self._steps])
        attention_logits = [logit for _, _, logit, _ in self._steps if logit is not None]
        self._has_attention = bool(attention_logits)
        if attention_logits:
            self._sample_values[0, index] = torch.cat(attention_logits)
        self._sample_values[1, index] = gradients.abs().sum(dim=1)
        labels = self._noisy_labels[index].unsqueeze(1)
        self._sample_values[2, index] = gradients.gather(1, labels).squeeze(1)
        self._steps.clear()

    def _arrays_of_last_epoch(
        self, values: reduce.EpochValues, targets: torch.Tensor | None
    ) -> dict[str, torch.Tensor]:
        """Return the arrays that are stored for the last epoch only, by name."""
        arrays: dict[str, NDArray[Any]] = {
            "seen": self._collected_mask.cpu().numpy(),
            "loss": values.loss.astype(np.float32),
        }
        if values.attention_logits is not None:
            arrays["last_attention"] = values.attention_logits.copy()
        if values.true_labels is not None:
            arrays |= {
                f"matrix/{name}": matrix for name, matrix in reduce.label_matrices(values).items()
            }
        weights = self._logits.softmax(dim=1) if targets is None else targets
        max_weight, likeliest_class = weights.max(dim=1)
        return {
            **{name: torch.from_numpy(array) for name, array in arrays.items()},
            "target": likeliest_class.cpu(),
            "target_probability": (max_weight / weights.sum(dim=1)).cpu(),
        }

    def series(self) -> dict[str, list[float]]:
        """Return the values of each scalar diagnostic in all collected epochs, by name.

        The numbers of the collected epochs are under "epoch". A scalar is NaN in epochs in which it
        is not available.
        """
        names = dict.fromkeys(name for row in self._epoch_scalars for name in row)
        series = {name: [row.get(name, math.nan) for row in self._epoch_scalars] for name in names}
        return {"epoch": [float(epoch) for epoch in self._collected_epochs], **series}

    def arrays(self) -> dict[str, NDArray[Any]]:
        """Return the arrays of `store.Diagnostics`, by name; {} if no epoch was collected."""
        if not self._collected_epochs:
            return {}
        arrays = {
            "epochs": np.array(self._collected_epochs),
            "position": np.asarray(self._positions),
            "given": self._noisy_labels.cpu().numpy(),
            **{name: value.numpy() for name, value in self._final_arrays.items()},
            **self._history.arrays(),
        }
        if self._true_labels is not None:
            arrays["true"] = self._true_labels.cpu().numpy()
        for name in self._epoch_arrays[-1]:
            arrays[name] = np.stack([epoch[name].numpy() for epoch in self._epoch_arrays])
        if "true" in arrays and "attention" in arrays:
            masks = reduce.group_samples(arrays["predicted"], arrays["given"], arrays["true"])
            over_time = reduce.attention_over_time(arrays["attention"], masks)
            arrays |= {f"over_time/{name}": values for name, values in over_time.items()}
        for name, values in self.series().items():
            if name != "epoch":
                arrays[f"series/{name}"] = np.array(values)
        return arrays

    def state_dict(self) -> dict[str, Any]:
        """Return the diagnostics collected so far, for a checkpoint."""
        return {
            "watched": self._collected_epochs,
            "series": self._epoch_scalars,
            "collected": self._epoch_arrays,
            "last": self._final_arrays,
            "logits": self._logits,
            "numbers": self._sample_values,
            "seen": self._collected_mask,
            "history": self._history.state_dict(),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore the diagnostics that `state_dict` returned before an interruption."""
        self._collected_epochs = list(state["watched"])
        self._epoch_scalars = list(state["series"])
        self._epoch_arrays = list(state["collected"])
        self._final_arrays = dict(state["last"])
        self._logits.copy_(state["logits"])
        self._sample_values.copy_(state["numbers"])
        self._collected_mask.copy_(state["seen"])
        if "history" in state:  # checkpoints of earlier versions have none
            self._history.load_state_dict(state["history"])
