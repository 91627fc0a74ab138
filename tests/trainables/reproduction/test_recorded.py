from __future__ import annotations

import json
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
from factories import make_result, make_spec

from trainables.errors import UserError
from trainables.reproduction.recorded import check_epochs, read_with_needs
from trainables.run.parameters import FrozenMap
from trainables.run.record import Record
from trainables.run.result import Status
from trainables.run.spec import REVISION

if TYPE_CHECKING:
    from pathlib import Path

    from trainables.run.spec import RunSpec


def record(home: Path, spec: RunSpec, **changes: Any) -> str:
    """Record a run, and return its digest."""
    target = Record(home, spec.digest)
    target.folder.mkdir(parents=True)
    target.record_start(spec)
    target.write_result(make_result(spec, **changes))
    return spec.digest


def alter(home: Path, digest: str, **changes: Any) -> None:
    """Change entries of a recorded result without its checksum."""
    path = home / "runs" / digest / "result.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


def dependent_on(need: str, seed: int = 0) -> RunSpec:
    return make_spec(method="forward", seed=seed, needs=FrozenMap({"predictions": need}))


def test_runs_come_after_those_that_they_need_and_once(tmp_path: Path) -> None:
    need = record(tmp_path, make_spec(method="ce"))
    digests = [record(tmp_path, dependent_on(need, seed)) for seed in (0, 1)]
    runs = read_with_needs(tmp_path, digests)
    assert [run.digest for run in runs] == [need, *digests]
    assert [run.is_need for run in runs] == [True, False, False]
    named = read_with_needs(tmp_path, [*digests, need])
    assert [run.is_need for run in named] == [False, False, False]


def test_an_altered_record_is_read_and_marked(tmp_path: Path) -> None:
    digest = record(tmp_path, make_spec())
    (run,) = read_with_needs(tmp_path, [digest])
    assert not run.is_altered
    alter(tmp_path, digest, parameters=7)
    (run,) = read_with_needs(tmp_path, [digest])
    assert run.is_altered
    assert run.result.parameters == 7


def test_what_cannot_be_compared_is_refused(tmp_path: Path) -> None:
    def message(digest: str) -> str:
        with pytest.raises(UserError) as caught:
            read_with_needs(tmp_path, [digest])
        return str(caught.value)

    missing = make_spec(seed=9).digest
    assert message(missing).startswith(f"run {missing[:12]} has no result in {tmp_path}: ")
    orphan = record(tmp_path, dependent_on(missing))
    assert message(orphan).startswith(
        f"run {missing[:12]}, which run {orphan[:12]} needs, has no result"
    )

    old = record(tmp_path, make_spec(seed=1, revision=REVISION - 1))
    assert message(old) == (
        f"run {old[:12]} was recorded with revision {REVISION - 1} of the training code, but "
        f"revision {REVISION} is installed, which gives other bits: install commit 0123abc to "
        "train it again"
    )

    stopped = record(tmp_path, make_spec(seed=2), status=Status.STOPPED, reason="after epoch 2")
    late = record(tmp_path, dependent_on(stopped, 2))
    assert "is stopped after epoch 2: type its command again" in message(late)
    empty = record(tmp_path, make_spec(seed=3), status=Status.OUT_OF_MEMORY)
    alter(tmp_path, empty, trace=[])
    assert "no epoch is recorded that could be compared" in message(empty)

    damaged = record(tmp_path, make_spec(seed=4))
    (tmp_path / "runs" / damaged / "result.json").write_text("{")
    assert "cannot be read" in message(damaged)
    foreign = record(tmp_path, make_spec(seed=5))
    alter(tmp_path, foreign, spec=make_spec(seed=6).to_dict())
    assert "cannot be read" in message(foreign)


def test_epochs_beyond_the_end_are_refused(tmp_path: Path) -> None:
    need = record(tmp_path, make_spec(method="ce", epochs=2))
    digest = record(tmp_path, dependent_on(need))
    runs = read_with_needs(tmp_path, [digest])
    for epochs in (None, 1, 6):
        check_epochs(runs, epochs)
    for epochs in (0, 7):
        with pytest.raises(UserError, match=f"{epochs} cannot be compared: choose .* from 1 to 6"):
            check_epochs(runs, epochs)


def test_the_expected_time_is_that_of_the_compared_epochs(tmp_path: Path) -> None:
    digest = record(tmp_path, make_spec())
    (run,) = read_with_needs(tmp_path, [digest])
    assert run.recorded_seconds(None) == pytest.approx(0.12)
    assert run.recorded_seconds(2) == pytest.approx(0.04)
    assert not run.uses_gpu
    assert replace(run, environment={"device": "cuda: A100, then cpu: AVX2"}).uses_gpu
