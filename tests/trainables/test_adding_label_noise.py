"""Example of docs/adding-label-noise.md, in a file beside a study."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from documents import write_shown_files

from search_spaces.loader import load_study
from trainables.noise import NoiseContext, noise_of

if TYPE_CHECKING:
    from pathlib import Path


def test_the_noise_moves_labels_to_the_next_class(tmp_path: Path) -> None:
    path = write_shown_files("docs/adding-label-noise.md", tmp_path)
    study = load_study(str(path), is_allowed=lambda _file: True).study
    noise = noise_of(study.scenarios[0])
    true = np.arange(100) % 4

    noisy = noise.apply(NoiseContext(true, np.arange(100), 4), seed=0)

    assert (noise.title, noise.nominal_rate) == ("pair flips 30 %", 0.3)
    assert np.bincount((noisy - true) % 4).tolist() == [70, 30]
    assert study.search.scenario == study.scenarios[0]


def test_a_sample_has_the_same_draw_in_a_subset(tmp_path: Path) -> None:
    path = write_shown_files("docs/adding-label-noise.md", tmp_path)
    study = load_study(str(path), is_allowed=lambda _file: True).study
    noise = noise_of(study.scenarios[0].replace("0.3", "0.9"))
    true, even = np.arange(100) % 4, np.arange(0, 100, 2)

    all_labels = noise.apply(NoiseContext(true, np.arange(100), 4), seed=0)
    labels = noise.apply(NoiseContext(true, even, 4), seed=0)

    assert np.mean(labels == all_labels[even]) > 0.9
