"""Storage of a run's per-sample diagnostics in the file `diagnostics.npz`.

This module uses NumPy only.
"""

from __future__ import annotations

import io
import zipfile
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from trainables.errors import RecordError
from trainables.run.record import write_atomically

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from numpy.typing import NDArray

    from trainables.diagnostics.collector import Collector

DIAGNOSTICS_FILE = "diagnostics.npz"
"""Name of the file in a run's folder that stores the run's diagnostics."""


@dataclass(frozen=True)
class Diagnostics:
    """Diagnostics of a run with E collected epochs, K classes and n training samples.

    Attributes:
        arrays: arrays by name, where τ is the attention weight of a sample. Arrays that depend on
            attention weights or true labels are missing if the run has none.

            - "epochs", shape (E,): numbers of the collected epochs.
            - "predicted", shape (E, n): predicted class, with the network in training mode.
            - "attention", shape (E, n): logit of τ, float16.
            - "histogram", shape (E, G, 50), and "log_histogram", shape (E, G, 40): counts from
              `reduce.attention_histograms`; the G groups are clean and mislabelled samples, or only
              all samples if true labels are unknown.
            - "position", shape (n,): position in the dataset's training split.
            - "given" and "true", shape (n,): noisy and true labels.
            - "series/...", shape (E,): scalars from `reduce.epoch_scalars`.
            - "over_time/...", shape (E,): mean τ of easy, hard and mislabelled samples, from
              `reduce.attention_over_time`.

            Averages over all epochs, missing in records of versions that did not collect them:

            - "history/epochs" and "history/disagreements", shape (n,): number of epochs in which
              the sample was seen, and of those whose prediction was not the noisy label.
            - "history/margin", shape (n,): mean difference between the logit of the noisy label and
              the largest other logit.
            - "history/label_probability", shape (n,): mean probability of the noisy label.
            - "history/probabilities", shape (n, K): mean probability of each class, float16.

            Arrays of the last epoch only:

            - "seen", shape (n,): whether any collected epoch has values of the sample; false for
              pictures that cannot be decoded.
            - "loss", shape (n,): cross entropy between prediction and noisy label.
            - "last_attention", shape (n,): logit of τ, float32.
            - "target", shape (n,): likeliest class of the training target; the predicted class if
              the method does not estimate targets.
            - "target_probability", shape (n,): probability of the class in "target".
            - "matrix/...", shape (K, K): matrices from `reduce.label_matrices`.
    """

    arrays: Mapping[str, NDArray[np.generic]]

    def __getitem__(self, name: str) -> NDArray[np.generic]:
        return self.arrays[name]

    def integers(self, name: str) -> NDArray[np.int64]:
        """Return the array with the given name, converted to int64."""
        return self.arrays[name].astype(np.int64)

    def floats(self, name: str) -> NDArray[np.float64]:
        """Return the array with the given name, converted to float64."""
        return self.arrays[name].astype(np.float64)

    def __contains__(self, name: str) -> bool:
        return name in self.arrays

    @property
    def true_labels_known(self) -> bool:
        """Whether the true labels of the run's training samples are known."""
        return "true" in self.arrays

    @property
    def has_history(self) -> bool:
        """Whether the averages over all epochs were collected."""
        return "history/epochs" in self.arrays


def save_diagnostics(folder: Path, collector: Collector) -> None:
    """Write the diagnostics of a run to its folder, unless no epoch was collected.

    Raises:
        HomeError: if the file `diagnostics.npz` cannot be written.
    """
    arrays = collector.arrays()
    if arrays:
        buffer = io.BytesIO()
        np.savez_compressed(buffer, **arrays)  # type: ignore[arg-type]
        write_atomically(folder / DIAGNOSTICS_FILE, buffer.getvalue())


def load_diagnostics(folder: Path) -> Diagnostics | None:
    """Read the diagnostics of a run from its folder; None if the run has none.

    Raises:
        RecordError: if the file `diagnostics.npz` cannot be read.
    """
    path = folder / DIAGNOSTICS_FILE
    try:
        with np.load(path, allow_pickle=False) as file:
            return Diagnostics({name: file[name] for name in file.files})
    except FileNotFoundError:
        return None
    except (OSError, ValueError, zipfile.BadZipFile) as error:
        raise RecordError(f"{path} cannot be read ({error}): train the run again") from error
