"""Collection of per-sample diagnostics during a training, without any effect on its result.

In an epoch that is collected, each training step stores the logits, attention weights and gradients
of its samples on the run's device. At the end of the epoch they are sorted by sample and reduced.
So the values are from the training passes: in training mode, on augmented images, one for each
sample. A sample that an epoch skips (in a dropped last batch, or an unreadable picture) keeps older
values.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, Self

import numpy as np
import torch

from trainables.diagnostics import reduce

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from trainables.methods import Batch
    from trainables.training.trainer import Trainer

_Step = tuple[torch.Tensor, torch.Tensor, torch.Tensor | None, torch.Tensor]
"""Values of one training step: the samples' positions in the training part, their logits, logits of
their attention weights, and gradients with respect to their logits."""

DEFAULT_COLLECTIONS = 20
"""Approximate number of epochs of a run whose diagnostics are collected by default."""


def collection_interval(epochs: int, requested: int | None) -> int:
    """Return the number of epochs between collections of diagnostics; 0 disables them.

    Args:
        epochs: number of epochs of the training.
        requested: interval that the study sets; None for about 20 collections in the run.
    """
    return math.ceil(epochs / DEFAULT_COLLECTIONS) if requested is None else requested


class Collector:
    """Observer of a training that collects per-sample diagnostics."""

    def __init__(
        self,
        noisy_labels: torch.Tensor,
        true_labels: torch.Tensor | None,
        positions: NDArray[np.integer],
        classes: int,
        epochs: int,
        interval: int,
    ) -> None:
        """Create tensors for the per-sample values.

        Args:
            noisy_labels: noisy labels of the training part, on the run's device, shape (n,).
            true_labels: true labels, shape (n,); None if they are not known.
            positions: positions of the samples in the dataset's training split, shape (n,).
            classes: number of classes K.
            epochs: number of epochs of the training.
            interval: number of epochs between collections, at least 1; the first and the last epoch
                are collected too.
        """
        self._noisy_labels, self._true_labels = noisy_labels, true_labels
        self._positions = positions
        self._classes, self._epochs, self._interval = classes, epochs, interval
        count, device = len(noisy_labels), noisy_labels.device
        self._logits = torch.zeros(count, classes, device=device)
        # Rows: attention logit, L1 norm of the gradient, entry of the gradient at the noisy label.
        self._sample_values = torch.zeros(3, count, device=device)
        self._collected_mask = torch.zeros(count, dtype=torch.bool, device=device)
        self._has_attention = False
        self._steps: list[_Step] = []
        self._epoch_arrays: list[dict[str, torch.Tensor]] = []
        self._epoch_scalars: list[dict[str, float]] = []
        self._collected_epochs: list[int] = []
        self._final_arrays: dict[str, torch.Tensor] = {}

    @classmethod
    def from_trainer(cls, trainer: Trainer, interval: int) -> Self:
        """Return a collector for the run of a trainer.

        Args:
            trainer: trainer whose data and spec are used.
            interval: number of epochs between collections, at least 1.
        """
        return cls(
            noisy_labels=trainer.data.train.labels,
            true_labels=trainer.data.true if trainer.labels.truth_known else None,
            positions=trainer.data.train.index,
            classes=trainer.labels.classes,
            epochs=trainer.spec.recipe.epochs,
            interval=interval,
        )

    def collects(self, epoch: int) -> bool:
        """Return whether an epoch's diagnostics are collected.

        Those of the first epoch, the last one and every `interval` epochs are.
        """
        return epoch % self._interval == 0 or epoch in (1, self._epochs)

    def record_step(
        self, batch: Batch, attention: torch.Tensor | None, gradient: torch.Tensor
    ) -> None:
        """Store the logits, attention weights and gradients of a training step."""
        attention = None if attention is None else attention.detach()
        self._steps.append((batch.index, batch.logits.detach(), attention, gradient))

    def end_epoch(self, epoch: int, targets: torch.Tensor | None) -> None:
        """Reduce the values that the steps of an epoch have stored.

        Args:
            epoch: number of the epoch that has ended, counted from 1.
            targets: current training targets of the method, shape (n, K); None if they are the
                noisy labels.
        """
        self._sort_by_sample()
        attention, gradient, gradient_label = self._sample_values.cpu().numpy()
        true_labels = self._true_labels
        values = reduce.EpochValues(
            log_p=self._logits.log_softmax(dim=1).cpu().numpy(),
            attention=attention if self._has_attention else None,
            gradient=gradient,
            gradient_label=gradient_label,
            noisy_labels=self._noisy_labels.cpu().numpy(),
            true_labels=None if true_labels is None else true_labels.cpu().numpy(),
            corrected_labels=None if targets is None else targets.argmax(dim=1).cpu().numpy(),
        )
        self._collected_epochs.append(epoch)
        self._epoch_scalars.append(reduce.scalars(values))
        class_dtype = np.uint8 if self._classes <= 256 else np.int32
        arrays: dict[str, NDArray[Any]] = {"predicted": values.predicted.astype(class_dtype)}
        if values.attention is not None:
            arrays["attention"] = values.attention.astype(np.float16)
            arrays["histogram"], arrays["log_histogram"] = reduce.histograms(values)
        self._epoch_arrays.append({name: torch.from_numpy(array) for name, array in arrays.items()})
        if epoch == self._epochs:
            self._final_arrays = self._arrays_of_last_epoch(values, targets)

    def _sort_by_sample(self) -> None:
        """Copy the stored values of an epoch's steps to the rows of their samples."""
        index = torch.cat([index for index, _, _, _ in self._steps])
        logits = torch.cat([logits for _, logits, _, _ in self._steps])
        self._logits[index] = logits[:, : self._classes]
        self._collected_mask[index] = True
        gradients = torch.cat([gradient for _, _, _, gradient in self._steps])
        attention = [logit for _, _, logit, _ in self._steps if logit is not None]
        self._has_attention = bool(attention)
        if attention:
            self._sample_values[0, index] = torch.cat(attention)
        self._sample_values[1, index] = gradients.abs().sum(dim=1)
        labels = self._noisy_labels[index].unsqueeze(1)
        self._sample_values[2, index] = gradients.gather(1, labels).squeeze(1)
        self._steps.clear()

    def _arrays_of_last_epoch(
        self, values: reduce.EpochValues, targets: torch.Tensor | None
    ) -> dict[str, torch.Tensor]:
        """Return the diagnostics arrays that exist for the last epoch only, by name."""
        arrays: dict[str, NDArray[Any]] = {
            "seen": self._collected_mask.cpu().numpy(),
            "loss": values.loss.astype(np.float32),
        }
        if values.attention is not None:
            arrays["last_attention"] = values.attention.copy()
        if values.true_labels is not None:
            arrays |= {f"matrix/{name}": m for name, m in reduce.matrices(values).items()}
        rows = self._logits.softmax(dim=1) if targets is None else targets
        highest, likeliest = rows.max(dim=1)
        return {
            **{name: torch.from_numpy(array) for name, array in arrays.items()},
            "target": likeliest.cpu(),
            "target_probability": (highest / rows.sum(dim=1)).cpu(),
        }

    def series(self) -> dict[str, list[float]]:
        """Return the scalars of all collected epochs by name, and their numbers as "epoch".

        A scalar that an epoch does not have is NaN.
        """
        names = dict.fromkeys(name for row in self._epoch_scalars for name in row)
        columns = {name: [row.get(name, math.nan) for row in self._epoch_scalars] for name in names}
        return {"epoch": [float(epoch) for epoch in self._collected_epochs], **columns}

    def arrays(self) -> dict[str, NDArray[Any]]:
        """Return all diagnostics arrays by name (see `store.Diagnostics`); {} if there are none."""
        if not self._collected_epochs:
            return {}
        arrays = {
            "epochs": np.array(self._collected_epochs),
            "position": np.asarray(self._positions),
            "given": self._noisy_labels.cpu().numpy(),
            **{name: value.numpy() for name, value in self._final_arrays.items()},
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
        """Return all diagnostics collected so far, for a checkpoint."""
        return {
            "watched": self._collected_epochs,
            "series": self._epoch_scalars,
            "collected": self._epoch_arrays,
            "last": self._final_arrays,
            "logits": self._logits,
            "numbers": self._sample_values,
            "seen": self._collected_mask,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore the diagnostics collected before an interruption from a checkpoint."""
        self._collected_epochs = list(state["watched"])
        self._epoch_scalars = list(state["series"])
        self._epoch_arrays = list(state["collected"])
        self._final_arrays = dict(state["last"])
        self._logits.copy_(state["logits"])
        self._sample_values.copy_(state["numbers"])
        self._collected_mask.copy_(state["seen"])
