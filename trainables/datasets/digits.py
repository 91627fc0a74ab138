"""scikit-learn's digits: 1,797 real handwritten digits of 8×8 pixels, shipped with the library."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from trainables.datasets.base import Dataset, Source, Split

if TYPE_CHECKING:
    from pathlib import Path

TEST_EVERY = 5
"""Distance of the pictures in the test split: the dataset has no test split of its own, so every
fifth picture is in it, whatever the seed."""


class Digits(Source):
    """Handwritten digits of scikit-learn.

    Source: E. Alpaydin, C. Kaynak, Optical Recognition of Handwritten Digits, UCI, 1998 (its test
    part, as shipped by scikit-learn).
    """

    name = "digits"
    title = "digits"
    licence = (
        "UCI Optical Recognition of Handwritten Digits (CC BY 4.0), as shipped by scikit-learn"
    )
    classes = 10
    train_size = 1437
    image = (1, 8, 8)
    layout = "nothing: it comes with scikit-learn"
    offered = "scikit-learn"

    def read(self, data_dir: Path) -> Dataset:  # noqa: ARG002
        """Return the digits in their original order, with pixel values 0..16."""
        from sklearn.datasets import load_digits

        pixels, labels = load_digits(return_X_y=True)
        images = pixels.astype(np.uint8).reshape(-1, 1, 8, 8)
        labels = labels.astype(np.int64)
        test = np.arange(len(labels)) % TEST_EVERY == 0
        return Dataset(
            name=self.name,
            classes=tuple(str(digit) for digit in range(10)),
            train=Split(images[~test], labels[~test]),
            test=Split(images[test], labels[test]),
        )

    def signature(self, data_dir: Path) -> str:  # noqa: ARG002
        """Return a constant: scikit-learn has shipped the same pictures since its first version."""
        return "scikit-learn"
