"""Example of docs/adding-a-dataset.md, in a file beside a study."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from documents import write_shown_files

from search_spaces.loader import load_study
from trainables.datasets import load

if TYPE_CHECKING:
    from pathlib import Path


def test_the_dataset_is_read_and_cached(tmp_path: Path) -> None:
    path = write_shown_files("docs/adding-a-dataset.md", tmp_path)
    study = load_study(str(path), is_allowed=lambda _file: True).study

    read = load(study.dataset, tmp_path, tmp_path / "cache")
    cached = load(study.dataset, tmp_path, tmp_path / "cache")

    assert (read.image_shape, len(read.train), len(read.test)) == ((1, 8, 8), 300, 100)
    assert np.bincount(read.train.labels).tolist() == [75, 75, 75, 75]
    assert cached.digest == read.digest
