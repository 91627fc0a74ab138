"""The digits dataset of scikit-learn: 1,797 images of handwritten digits with 8×8 pixels."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from trainables.datasets.base import Dataset, Source, Split

if TYPE_CHECKING:
    from pathlib import Path

TEST_INTERVAL = 5
"""Every fifth image is a test image. scikit-learn itself does not split the dataset."""


class Digits(Source):
    """The digits dataset of scikit-learn.

    The images are the test split of: E. Alpaydin and C. Kaynak, Optical Recognition of Handwritten
    Digits, UCI, 1998.
    """

    name = "digits"
    title = "digits"
    licence = (
        "UCI Optical Recognition of Handwritten Digits (CC BY 4.0), as shipped by scikit-learn"
    )
    class_count = 10
    train_size = 1437
    image_shape = (1, 8, 8)
    layout = "no files: the images are part of scikit-learn"
    distributor = "scikit-learn"

    def read(self, data_dir: Path) -> Dataset:  # noqa: ARG002
        """Return the images in the order of scikit-learn, with pixel values from 0 to 16."""
        from sklearn.datasets import load_digits

        pixels, labels = load_digits(return_X_y=True)
        images = pixels.astype(np.uint8).reshape(-1, 1, 8, 8)
        labels = labels.astype(np.int64)
        is_test = np.arange(len(labels)) % TEST_INTERVAL == 0
        return Dataset(
            name=self.name,
            classes=tuple(str(digit) for digit in range(10)),
            train=Split(images[~is_test], labels[~is_test]),
            test=Split(images[is_test], labels[is_test]),
        )

    def signature(self, data_dir: Path) -> str:  # noqa: ARG002
        """Return a constant, since every version of scikit-learn has the same images."""
        return "scikit-learn"
