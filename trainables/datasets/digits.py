"""scikit-learn's digits: 1,797 real handwritten digits of 8×8 pixels, shipped with the library."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from trainables.datasets.base import Dataset, Source, Split

if TYPE_CHECKING:
    from pathlib import Path

TEST_EVERY = 5
"""The dataset has no test split of its own: it is every fifth picture, whatever the seed."""


def read(_data_dir: Path) -> Dataset:
    """Return the digits: uint8 images (n, 1, 8, 8) with values 0..16, in the original order.

    Source: E. Alpaydin, C. Kaynak, Optical Recognition of Handwritten Digits, UCI, 1998 (its test
    part, as scikit-learn ships it).
    """
    from sklearn.datasets import load_digits

    pixels, labels = load_digits(return_X_y=True)
    images = pixels.astype(np.uint8).reshape(-1, 1, 8, 8)
    labels = labels.astype(np.int64)
    test = np.arange(len(labels)) % TEST_EVERY == 0
    return Dataset(
        name=DIGITS.name,
        classes=tuple(str(digit) for digit in range(10)),
        train=Split(images[~test], labels[~test]),
        test=Split(images[test], labels[test]),
    )


def signature(_data_dir: Path) -> str:
    """Return a constant: the library has shipped the same pictures since its first version."""
    return "scikit-learn"


DIGITS = Source(
    name="digits",
    title="digits",
    classes=10,
    train_size=1437,
    image=(1, 8, 8),
    read=read,
    signature=signature,
    licence="UCI Optical Recognition of Handwritten Digits (CC BY 4.0), as shipped by scikit-learn",
    layout="nothing: it comes with scikit-learn",
    offered="scikit-learn",
)
