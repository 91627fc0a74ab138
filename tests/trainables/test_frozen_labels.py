from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import pytest
from small_runs import CPU, digits, runnable

from trainables.errors import DataError
from trainables.frozen_labels import freeze, labels_of
from trainables.realisation import labels_digest
from trainables.trainer import Trainer

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray


def noisy_labels() -> NDArray[np.int64]:
    return (digits().train.labels + np.arange(1437) % 3) % 10


def test_kept_labels_are_those_that_a_run_sees(tmp_path: Path) -> None:
    path = freeze(noisy_labels(), tmp_path)
    assert path == tmp_path / f"labels/{labels_digest(noisy_labels())}.npy"
    assert freeze(noisy_labels(), tmp_path) == path
    spec = replace(runnable(), scenario="file-mine", labels=path.stem)
    labels = labels_of(spec, digits(), tmp_path)

    np.testing.assert_array_equal(labels.noisy, noisy_labels())
    trainer = Trainer(spec, digits(), CPU, labels=labels)
    np.testing.assert_array_equal(
        trainer.data.train.labels.numpy(), noisy_labels()[trainer.data.train.index]
    )


def test_labels_that_a_spec_draws_are_drawn(tmp_path: Path) -> None:
    spec = runnable()
    assert labels_of(spec, digits(), tmp_path).digest == spec.labels


def test_missing_damaged_or_other_labels_are_refused(tmp_path: Path) -> None:
    path = freeze(noisy_labels(), tmp_path)
    spec = replace(runnable(), scenario="pmd-1-0.35", labels=path.stem)
    content = path.read_bytes()
    for broken in (content[:50], b""):
        path.write_bytes(broken)
        with pytest.raises(DataError, match=f"{path} is missing or damaged, and holds the labels"):
            labels_of(spec, digits(), tmp_path)
    path.unlink()
    with pytest.raises(DataError, match="type the command that planned the run again"):
        labels_of(spec, digits(), tmp_path)

    np.save(path, noisy_labels()[:-1])
    with pytest.raises(DataError, match="1436 noisy labels were kept for 1437 samples"):
        labels_of(spec, digits(), tmp_path)
    np.save(path, (noisy_labels() + 1) % 10)  # whole, but not what the name says
    with pytest.raises(DataError, match="the noisy labels of 'digits' have SHA-256"):
        Trainer(spec, digits(), CPU, labels=labels_of(spec, digits(), tmp_path))
