from __future__ import annotations

from pathlib import Path

import numpy as np
from sklearn.datasets import load_digits
from small_runs import pixels_of

from trainables.datasets.digits import Digits

# Digest of the pictures in scikit-learn; another value would mean other runs.
DIGEST = "f588ca9cd852a1003e7c85752c3231b28f2263c434d8dde6bac1a333a4fec361"


def test_every_fifth_picture_is_the_test_split() -> None:
    dataset = Digits().read(Path())
    pixels, labels = load_digits(return_X_y=True)

    assert (len(dataset.train), len(dataset.test)) == (Digits.train_size, 360) == (1437, 360)
    assert dataset.image_shape == Digits.image_shape == (1, 8, 8)
    assert pixels_of(dataset.train).dtype == np.uint8
    np.testing.assert_array_equal(pixels_of(dataset.test)[7].ravel(), pixels[35])
    np.testing.assert_array_equal(pixels_of(dataset.train)[4].ravel(), pixels[6])
    np.testing.assert_array_equal(dataset.test.labels, labels[::5])
    assert pixels_of(dataset.train).max() == 16


def test_content_is_what_it_always_was() -> None:
    dataset = Digits().read(Path())

    assert dataset.digest == DIGEST
    assert dataset.classes == tuple("0123456789")
    assert np.bincount(dataset.test.labels).tolist() == [42, 28, 26, 48, 38, 39, 30, 26, 36, 47]
