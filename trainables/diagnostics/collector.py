"""Collects what the paper's figures are drawn from, while a run trains and without changing it.

In a watched epoch each step leaves its samples' logits, attention weights and gradients on the
run's device; the epoch's end brings them into the samples' order and reduces them. So the numbers
are those of the training passes themselves: in training mode, on augmented images, each sample
once. A sample that an epoch leaves out (with the smaller last batch, or an unreadable picture)
keeps what it had.
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
"""Positions in the training part, logits, logits of the attention weights, gradients."""

DEFAULT_COLLECTIONS = 20
"""About how many epochs of a run are watched, unless a study says otherwise."""


def cadence(epochs: int, wanted: int | None) -> int:
    """Return the number of epochs between collections; 0 for none.

    Args:
        epochs: of the training.
        wanted: as a study says it; None for about 20 collections in all.
    """
    return math.ceil(epochs / DEFAULT_COLLECTIONS) if wanted is None else wanted


class Collector:
    """An observer of a training; see `trainables.training.trainer.Observer`."""

    def __init__(
        self,
        given: torch.Tensor,
        true: torch.Tensor | None,
        position: NDArray[np.integer],
        classes: int,
        epochs: int,
        every: int,
    ) -> None:
        """Prepare for the first epoch.

        Args:
            given: noisy labels of the training part, on the run's device, shape (n,).
            true: true labels; None where they are not known.
            position: of these samples in the dataset's training split, shape (n,).
            classes: number of classes K.
            epochs: of the training.
            every: epochs between collections, at least 1; the first and the last are watched too.
        """
        self._given, self._true, self._position = given, true, position
        self._classes, self._epochs, self._every = classes, epochs, every
        count, device = len(given), given.device
        self._logits = torch.zeros(count, classes, device=device)
        self._numbers = torch.zeros(3, count, device=device)  # attention, gradient, its label's
        self._seen = torch.zeros(count, dtype=torch.bool, device=device)
        self._attends = False
        self._steps: list[_Step] = []
        self._collected: list[dict[str, torch.Tensor]] = []
        self._series: list[dict[str, float]] = []
        self._watched: list[int] = []
        self._last: dict[str, torch.Tensor] = {}

    @classmethod
    def of(cls, trainer: Trainer, every: int) -> Self:
        """Make an observer for a trainer."""
        return cls(
            given=trainer.data.train.labels,
            true=trainer.data.true if trainer.labels.truth_known else None,
            position=trainer.data.train.index,
            classes=trainer.labels.classes,
            epochs=trainer.spec.recipe.epochs,
            every=every,
        )

    def watches(self, epoch: int) -> bool:
        """Tell whether this epoch is collected: every so many, the first and the last."""
        return epoch % self._every == 0 or epoch in (1, self._epochs)

    def note(self, batch: Batch, attention: torch.Tensor | None, gradient: torch.Tensor) -> None:
        """Keep what a step shows of its samples."""
        weight = None if attention is None else attention.detach()
        self._steps.append((batch.index, batch.logits.detach(), weight, gradient))

    def end_epoch(self, epoch: int, targets: torch.Tensor | None) -> None:
        """Reduce what the epoch's steps left."""
        self._gather()
        attention, gradient, label = self._numbers.cpu().numpy()
        seen = reduce.Epoch(
            log_p=self._logits.log_softmax(dim=1).cpu().numpy(),
            attention=attention if self._attends else None,
            gradient=gradient,
            gradient_label=label,
            given=self._given.cpu().numpy(),
            true=None if self._true is None else self._true.cpu().numpy(),
            corrected=None if targets is None else targets.argmax(dim=1).cpu().numpy(),
        )
        self._watched.append(epoch)
        self._series.append(reduce.series(seen))
        small = np.uint8 if self._classes <= 256 else np.int32
        collected: dict[str, NDArray[Any]] = {"predicted": seen.predicted.astype(small)}
        if seen.attention is not None:
            collected["attention"] = seen.attention.astype(np.float16)
            collected["histogram"], collected["log_histogram"] = reduce.histograms(seen)
        self._collected.append({k: torch.from_numpy(v) for k, v in collected.items()})
        if epoch == self._epochs:
            self._last = self._last_epoch(seen, targets)

    def _gather(self) -> None:
        """Bring what the steps left into the order of the samples."""
        at = torch.cat([index for index, _, _, _ in self._steps])
        logits = torch.cat([logits for _, logits, _, _ in self._steps])
        self._logits[at] = logits[:, : self._classes]
        self._seen[at] = True
        gradients = torch.cat([gradient for _, _, _, gradient in self._steps])
        attention = [weight for _, _, weight, _ in self._steps if weight is not None]
        self._attends = bool(attention)
        if attention:
            self._numbers[0, at] = torch.cat(attention)
        self._numbers[1, at] = gradients.abs().sum(dim=1)
        self._numbers[2, at] = gradients.gather(1, self._given[at].unsqueeze(1)).squeeze(1)
        self._steps.clear()

    def _last_epoch(
        self, seen: reduce.Epoch, targets: torch.Tensor | None
    ) -> dict[str, torch.Tensor]:
        kept: dict[str, NDArray[Any]] = {
            "seen": self._seen.cpu().numpy(),
            "loss": seen.loss.astype(np.float32),
        }
        if seen.attention is not None:
            kept["last_attention"] = seen.attention.copy()
        if seen.true is not None:
            kept |= {f"matrix/{name}": m for name, m in reduce.matrices(seen).items()}
        rows = self._logits.softmax(dim=1) if targets is None else targets
        highest, best = rows.max(dim=1)
        return {
            **{name: torch.from_numpy(array) for name, array in kept.items()},
            "target": best.cpu(),
            "target_probability": (highest / rows.sum(dim=1)).cpu(),
        }

    def series(self) -> dict[str, list[float]]:
        """Return scalars over the watched epochs; "epoch" among them, NaN where there is none."""
        names = dict.fromkeys(name for row in self._series for name in row)
        numbers = {name: [row.get(name, math.nan) for row in self._series] for name in names}
        return {"epoch": [float(epoch) for epoch in self._watched], **numbers}

    def arrays(self) -> dict[str, NDArray[Any]]:
        """Return everything as arrays, see `store.Diagnostics`; nothing before the first epoch."""
        if not self._watched:
            return {}
        arrays = {
            "epochs": np.array(self._watched),
            "position": np.asarray(self._position),
            "given": self._given.cpu().numpy(),
            **{name: value.numpy() for name, value in self._last.items()},
        }
        if self._true is not None:
            arrays["true"] = self._true.cpu().numpy()
        for name in self._collected[-1]:
            arrays[name] = np.stack([epoch[name].numpy() for epoch in self._collected])
        if "true" in arrays and "attention" in arrays:
            masks = reduce.group_samples(arrays["predicted"], arrays["given"], arrays["true"])
            over_time = reduce.attention_over_time(arrays["attention"], masks)
            arrays |= {f"over_time/{name}": values for name, values in over_time.items()}
        for name, values in self.series().items():
            if name != "epoch":
                arrays[f"series/{name}"] = np.array(values)
        return arrays

    def state_dict(self) -> dict[str, Any]:
        """Return what was collected so far."""
        return {
            "watched": self._watched,
            "series": self._series,
            "collected": self._collected,
            "last": self._last,
            "logits": self._logits,
            "numbers": self._numbers,
            "seen": self._seen,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from what was collected before an interruption."""
        self._watched = list(state["watched"])
        self._series = list(state["series"])
        self._collected = list(state["collected"])
        self._last = dict(state["last"])
        self._logits.copy_(state["logits"])
        self._numbers.copy_(state["numbers"])
        self._seen.copy_(state["seen"])
