"""Diagnostics as they are kept with a run: the arrays of `diagnostics.npz`; NumPy only."""

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

FILE = "diagnostics.npz"


@dataclass(frozen=True)
class Diagnostics:
    """What was collected while a run trained.

    Attributes:
        arrays: by name. Of the E watched epochs, K classes and n training samples:
            "epochs" (E,); "predicted" (E, n), class in training mode; "attention" (E, n), logit of
            τ in float16; "histogram" (E, G, 50) and "log_histogram" (E, G, 40), see
            `reduce.histograms`, G being clean and mislabelled, or all where truth is not known;
            "position" (n,) in the dataset's training split; "given" (n,); "true" (n,);
            after the last epoch, "seen" (n,), whether a watched epoch had the sample at all (a
            picture that cannot be decoded is in none), "loss" (n,), cross entropy to the given
            label, "last_attention" (n,) in float32, "target" (n,), class that the method takes for
            the label (or predicts, where it takes it as given), and "target_probability" (n,);
            "matrix/..." (K, K), see `reduce.matrices`; "series/..." (E,), see `reduce.series`;
            "over_time/..." (E,), mean τ of easy, hard and mislabelled samples, see
            `reduce.group_samples`.
            What a run does not have (attention, truth) is not there.
    """

    arrays: Mapping[str, NDArray[np.generic]]

    def __getitem__(self, name: str) -> NDArray[np.generic]:
        return self.arrays[name]

    def integers(self, name: str) -> NDArray[np.int64]:
        """Return an array of whole numbers."""
        return self.arrays[name].astype(np.int64)

    def floats(self, name: str) -> NDArray[np.float64]:
        """Return an array of numbers."""
        return self.arrays[name].astype(np.float64)

    def __contains__(self, name: str) -> bool:
        return name in self.arrays

    @property
    def truth_known(self) -> bool:
        """Whether true labels are known."""
        return "true" in self.arrays


def save(folder: Path, collector: Collector) -> None:
    """Keep a run's diagnostics in its folder.

    Raises:
        HomeError: it cannot be written.
    """
    arrays = collector.arrays()
    if arrays:
        buffer = io.BytesIO()
        np.savez_compressed(buffer, **arrays)  # type: ignore[arg-type]
        write_atomically(folder / FILE, buffer.getvalue())


def load(folder: Path) -> Diagnostics | None:
    """Read a run's diagnostics; None if it has none.

    Raises:
        RecordError: the file is damaged.
    """
    path = folder / FILE
    try:
        with np.load(path, allow_pickle=False) as file:
            return Diagnostics({name: file[name] for name in file.files})
    except FileNotFoundError:
        return None
    except (OSError, ValueError, zipfile.BadZipFile) as error:
        raise RecordError(f"{path} cannot be read ({error}): train the run again") from error
