"""Noisy labels of runs: drawn, read from annotations, and pinned at the first draw."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from small_runs import CPU, digits, runnable

from trainables.errors import DataError, RecordError
from trainables.noise.symmetric import SymmetricNoise
from trainables.run.identity import digest_of
from trainables.run.parameters import FrozenMap
from trainables.run.spec import REVISION
from trainables.run_data.labels import recorded_labels, store_labels, verified_labels
from trainables.run_data.realisation import draw_realisation, labels_digest
from trainables.training.trainer import Trainer

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    from trainables.noise import NoiseContext
    from trainables.run.spec import RunSpec


def noisy_labels() -> NDArray[np.int64]:
    return (digits().train.labels + np.arange(1437) % 3) % 10


def from_file(labels: NDArray[np.int64], **options: Any) -> RunSpec:
    spec = runnable(scenario="file-mine", **options)
    return replace(spec, annotations=labels_digest(labels))


# --- the first draw


def test_labels_of_a_recorded_run_are_drawn_again_and_not_recorded(tmp_path: Path) -> None:
    spec = runnable(seed=3)
    labels = recorded_labels(spec, digits(), tmp_path)
    assert labels_digest(labels) == verified_labels(spec, digits(), tmp_path / "other").digest
    assert not (tmp_path / "realisations").exists()


def test_labels_from_a_needed_run_are_read(tmp_path: Path) -> None:
    spec = replace(runnable(scenario="pmd-2-0.35"), needs=FrozenMap({"posterior": "a" * 64}))
    with pytest.raises(DataError, match="is missing or damaged: restore the file, or train"):
        recorded_labels(spec, digits(), tmp_path)


def test_the_first_draw_is_recorded_with_its_source(tmp_path: Path) -> None:
    spec = runnable(seed=3)
    labels = verified_labels(spec, digits(), tmp_path)

    assert labels.digest == draw_realisation(digits(), "symmetric-0.4", spec.seeds).digest
    key = {
        "data": digits().digest,
        "scenario": "symmetric-0.4",
        "noise": 3,
        "subset_seed": 0,
        "subset": None,
        "balanced": False,
        "posterior": "",
        "annotations": "",
        "revision": REVISION,
    }
    stored = json.loads((tmp_path / f"realisations/{digest_of(key)}.json").read_text())
    assert stored["key"] == key
    assert (stored["sha256"], stored["count"]) == (labels.digest, 1437)
    assert stored["flip_rate"] == 575 / 1437
    assert np.array(stored["transition"]).shape == (10, 10)


def test_methods_and_recipes_share_a_draw_and_seeds_do_not(tmp_path: Path) -> None:
    for spec in (
        runnable(),
        runnable(method="ce"),
        runnable(evaluate=(), epochs=9),
        replace(runnable(), seeds=replace(runnable().seeds, init=5, split=6)),
    ):
        verified_labels(spec, digits(), tmp_path)
    assert len(list((tmp_path / "realisations").iterdir())) == 1
    verified_labels(runnable(seed=1), digits(), tmp_path)
    verified_labels(runnable(subset=100), digits(), tmp_path)
    assert len(list((tmp_path / "realisations").iterdir())) == 3


def test_a_draw_that_changes_between_two_methods_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = verified_labels(runnable(method="ce"), digits(), tmp_path)
    draw = SymmetricNoise.apply

    def one_flip_more(self: SymmetricNoise, context: NoiseContext, seed: int) -> NDArray[np.int64]:
        labels = draw(self, context, seed)
        labels[0] = (labels[0] + 1) % 10
        return labels

    monkeypatch.setattr(SymmetricNoise, "apply", one_flip_more)
    changed = draw_realisation(digits(), "symmetric-0.4", runnable().seeds).digest
    (pin,) = (tmp_path / "realisations").iterdir()
    with pytest.raises(DataError) as refused:
        verified_labels(runnable(method="nal"), digits(), tmp_path)
    assert str(refused.value) == (
        f"the labels of symmetric-0.4 at noise seed 0 have SHA-256 {changed[:12]}, but "
        f"had {first.digest[:12]} when they were first drawn ({pin}): runs on different labels are "
        "not comparable; restore the earlier data and package versions, or choose another home "
        "folder with --home"
    )


def test_a_damaged_record_of_the_first_draw_is_refused(tmp_path: Path) -> None:
    verified_labels(runnable(), digits(), tmp_path)
    (pin,) = (tmp_path / "realisations").iterdir()
    for broken in ("", "{}", "[]", "1", pin.read_text()[:40]):
        pin.write_text(broken)
        with pytest.raises(RecordError, match=f"{pin}, the record of the first draw .* damaged"):
            verified_labels(runnable(), digits(), tmp_path)


# --- annotations


def test_labels_from_a_file_are_read_from_the_home(tmp_path: Path) -> None:
    path = store_labels(noisy_labels(), tmp_path)
    assert path == tmp_path / f"labels/{labels_digest(noisy_labels())}.npy"
    assert store_labels(noisy_labels(), tmp_path) == path
    spec = from_file(noisy_labels())
    labels = verified_labels(spec, digits(), tmp_path)

    np.testing.assert_array_equal(labels.noisy_labels, noisy_labels())
    trainer = Trainer(spec, digits(), CPU, labels=labels)
    np.testing.assert_array_equal(
        trainer.data.train.labels.numpy(), noisy_labels()[trainer.data.train.index]
    )
    some = verified_labels(from_file(noisy_labels(), subset=100), digits(), tmp_path)
    np.testing.assert_array_equal(some.noisy_labels, noisy_labels()[some.index])


def test_damaged_labels_are_replaced_when_stored_again(tmp_path: Path) -> None:
    path = store_labels(noisy_labels(), tmp_path)
    whole = path.read_bytes()
    for broken in (b"", whole[:50], b"PK" + whole[2:]):
        path.write_bytes(broken)
        assert store_labels(noisy_labels(), tmp_path).read_bytes() == whole


def test_missing_damaged_or_different_labels_are_refused(tmp_path: Path) -> None:
    path = store_labels(noisy_labels(), tmp_path)
    spec = from_file(noisy_labels())
    content = path.read_bytes()
    for broken in (content[:50], b"", b"PK" + content[2:]):
        path.write_bytes(broken)
        with pytest.raises(DataError, match=f"{path}, which holds the labels of a run, is missing"):
            verified_labels(spec, digits(), tmp_path)
    path.unlink()
    with pytest.raises(DataError, match="repeat the command that planned the run"):
        verified_labels(spec, digits(), tmp_path)
    for wrong in (noisy_labels()[:-1], (noisy_labels() + 1) % 10):
        np.save(path, wrong)
        with pytest.raises(DataError, match="the annotations 'file-mine' of digits have SHA-256"):
            verified_labels(spec, digits(), tmp_path)


def test_annotations_that_differ_from_the_spec_are_refused(tmp_path: Path) -> None:
    dataset = replace(digits(), annotations={"worse": noisy_labels()})
    spec = replace(
        runnable(dataset, scenario="human-worse"), annotations=labels_digest(noisy_labels())
    )
    assert verified_labels(spec, dataset, tmp_path).digest == spec.annotations
    other = replace(dataset, annotations={"worse": (noisy_labels() + 1) % 10})
    with pytest.raises(DataError, match="the annotations 'worse' of digits have SHA-256"):
        verified_labels(spec, other, tmp_path)
