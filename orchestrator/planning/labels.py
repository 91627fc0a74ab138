"""The noisy labels of a plan: that they can be drawn, and which annotations they are drawn from."""

from __future__ import annotations

from typing import TYPE_CHECKING

from trainables.labels import keep_labels
from trainables.noise import noise_of
from trainables.noise.from_file import read_label_file
from trainables.realisation import labels_digest, realise, subset_of

if TYPE_CHECKING:
    from pathlib import Path

    from search_spaces.schema import Study
    from trainables.datasets.base import Dataset

LABEL_FILES = "labels"
"""Folder of the user's label files in the data folder."""


def check_labels(
    study: Study, dataset: Dataset, data_dir: Path, home: Path | None
) -> dict[str, str]:
    """See that the labels of every scenario can be drawn; return which annotations they read.

    Labels that are drawn from a trained network can only be drawn once there is one.

    Args:
        study: whose scenarios are meant.
        dataset: with its labels and annotations.
        data_dir: that holds label files of the user's.
        home: where the labels of such files are kept for the runs; None keeps none.

    Returns:
        The SHA-256 of the annotations, by each scenario that reads some: see `RunSpec.annotations`.

    Raises:
        DataError: the data, or a file of the user's, do not allow the noise.
    """
    digests = {}
    seeds = study.seeds(study.confirm.seeds[0])
    for scenario in study.scenarios:
        noise, annotations = noise_of(scenario), dict(dataset.annotations)
        if noise.label_file:
            folder, classes = data_dir / LABEL_FILES, len(dataset.classes)
            labels = read_label_file(folder, noise.label_file, dataset.train.labels, classes)
            annotations[noise.annotation] = labels
            if home is not None:
                keep_labels(labels, home)
        if noise.annotation:
            digests[scenario] = labels_digest(annotations[noise.annotation])
        if noise.needs_posterior:
            subset_of(dataset, seeds, study.subset, balanced=study.balanced)
        else:
            realise(
                dataset,
                scenario,
                seeds,
                study.subset,
                balanced=study.balanced,
                annotations=annotations,
            )
    return digests
