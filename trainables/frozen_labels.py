"""Noisy labels that a spec cannot draw again by itself: kept as files, named by their hash.

`labels/<SHA-256>.npy` under the home holds the labels of one realisation, for noise that comes from
a trained network or from a file of the user's. The driver writes it when a run is planned; the
run's spec names it by its hash.
"""

from __future__ import annotations

import io
from typing import TYPE_CHECKING

import numpy as np

from trainables.errors import DataError
from trainables.noise import noise_of
from trainables.realisation import labels_digest, realise, realise_with
from trainables.record import write_atomically

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    from trainables.datasets.base import Dataset
    from trainables.realisation import Realisation
    from trainables.spec import RunSpec

FOLDER = "labels"


def freeze(labels: NDArray[np.int64], home: Path) -> Path:
    """Keep labels under the home; a no-op if they are kept already.

    Raises:
        HomeError: the home cannot be written.
    """
    path = home / FOLDER / f"{labels_digest(labels)}.npy"
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        buffer = io.BytesIO()
        np.save(buffer, labels.astype("<i8"), allow_pickle=False)
        write_atomically(path, buffer.getvalue())
    return path


def labels_of(spec: RunSpec, dataset: Dataset, home: Path) -> Realisation:
    """Return the labels that a run sees, drawn or read.

    Raises:
        DataError: kept labels are missing or damaged.
    """
    subset, balanced = spec.subset, spec.balanced
    if not noise_of(spec.scenario).frozen:
        return realise(dataset, spec.scenario, spec.seeds, subset, balanced=balanced)
    path = home / FOLDER / f"{spec.labels}.npy"
    try:
        noisy = np.load(path, allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise DataError(
            f"{path} is missing or damaged, and holds the labels of scenario {spec.scenario}: "
            "type the command that planned the run again"
        ) from error
    return realise_with(
        dataset, spec.scenario, noisy.astype(np.int64), spec.seeds, subset, balanced=balanced
    )
