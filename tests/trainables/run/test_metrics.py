from __future__ import annotations

from dataclasses import replace

import numpy as np

from trainables.datasets.base import Dataset, Split
from trainables.run.metrics import dataset_columns


def small_dataset(**changes: object) -> Dataset:
    split = Split(np.zeros((4, 1, 2, 2), dtype=np.uint8), np.arange(4))
    plain = Dataset("made up", tuple("abcd"), split, split)
    return replace(plain, digest="", **changes)  # type: ignore[arg-type]


def test_dataset_columns_of_a_dataset() -> None:
    split = small_dataset().test
    assert dataset_columns(small_dataset()) == {}
    assert dataset_columns(small_dataset(validation=split)) == {
        "test/accuracy_best_clean_val": "epoch chosen by clean validation"
    }
    assert dataset_columns(small_dataset(top_k=(1, 5))) == {
        "test/test/top1_last": "test, top-1, last epoch",
        "test/test/top5_last": "test, top-5, last epoch",
    }
