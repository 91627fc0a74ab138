from __future__ import annotations

import errno
import json
import os
import shutil
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from factories import make_result
from recorded_runs import create_home, record
from small_runs import digits, runnable

from orchestrator.flags import Locations
from orchestrator.reproduction import bundle
from orchestrator.reproduction.bundle import check_bundle, write_bundle
from trainables.errors import DataError, HomeError, UserError
from trainables.extensions import CodeFile
from trainables.reproduction.recorded import RecordedRun, read_with_needs
from trainables.run.parameters import FrozenMap
from trainables.run.record import Record
from trainables.run_data.labels import store_labels
from trainables.run_data.realisation import labels_digest

if TYPE_CHECKING:
    from pathlib import Path

    from trainables.run.spec import RunSpec


def recorded_run(spec: RunSpec | None = None, **changes: Any) -> RecordedRun:
    fields = {"is_altered": False, "environment": {}, "is_need": False, **changes}
    return RecordedRun(make_result(spec), **fields)


@pytest.fixture
def home(tmp_path: Path) -> Path:
    return create_home(tmp_path / "home").path


def test_what_others_cannot_use_is_refused(tmp_path: Path) -> None:
    def message(run: RecordedRun, folder: Path) -> str:
        with pytest.raises(UserError) as caught:
            check_bundle([run], folder)
        return str(caught.value)

    run, new = recorded_run(), tmp_path / "new"
    check_bundle([run], new)
    assert message(run, tmp_path).endswith("exists already: name a new folder")
    assert message(run, tmp_path / "a" / "b").endswith(f"{tmp_path}/a does not exist: create it")
    altered = message(recorded_run(is_altered=True), new)
    assert altered.endswith(f"`reproduce {run.digest[:12]}` says where it differs")
    weights = FrozenMap({"weights": "/models/resnet50.pt", "weights_sha256": "a"})
    spec = replace(run.spec, backbone_parameters=weights)
    assert "starts from the file /models/resnet50.pt (weights)" in message(recorded_run(spec), new)


def test_the_record_is_complete_but_for_the_machine(tmp_path: Path, home: Path) -> None:
    digest = record(create_home(home), runnable())
    code = CodeFile("mine.py", b"# mine\n")
    Record(home, digest).store_code_file(code)
    runs = read_with_needs(home, [digest])
    folder = tmp_path / "bundle"
    write_bundle(runs, Locations(home_dir=home), folder)

    (copied,) = read_with_needs(folder / "record", [digest])
    (original,) = runs
    assert copied.environment == original.environment
    assert not copied.is_altered
    assert Record(folder / "record", digest).read_code_files()[0].content == code.content
    assert copied.result.provenance.keys() >= {"device", "processor", "commit", "scikit-learn"}
    assert not copied.result.provenance.keys() & {"host", "environment", "study"}
    same = replace(original.result, provenance=copied.result.provenance)
    assert copied.result == same


def test_labels_of_the_user_are_part_of_it(tmp_path: Path, home: Path) -> None:
    labels = (digits().train.labels + np.arange(1437) % 3) % 10
    store_labels(labels, home)
    spec = replace(runnable(scenario="file-mine"), annotations=labels_digest(labels))
    digest = record(create_home(home), spec)
    folder = tmp_path / "bundle"
    write_bundle(read_with_needs(home, [digest]), Locations(home_dir=home), folder)
    np.testing.assert_array_equal(np.load(folder / f"labels/{digest}.npy"), labels)
    copied = folder / f"record/labels/{labels_digest(labels)}.npy"
    np.testing.assert_array_equal(np.load(copied), labels)


def test_labels_that_are_others_now_are_refused(tmp_path: Path, home: Path) -> None:
    digest = record(create_home(home), runnable())
    path = home / "runs" / digest / "result.json"
    content = json.loads(path.read_text())
    content["labels"]["sha256"] = "0" * 64
    path.write_text(json.dumps(content))
    runs = read_with_needs(home, [digest])
    with pytest.raises(DataError, match="but had 000000000000 when it was recorded"):
        write_bundle(runs, Locations(home_dir=home), tmp_path / "bundle")
    assert [path.name for path in tmp_path.iterdir()] == ["home"]


@pytest.mark.parametrize(
    "error",
    [
        OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)),
        shutil.Error([("a.py", "b.py", "[Errno 28] No space left on device: 'b.py'")]),
    ],
    ids=["file", "folder"],
)
def test_a_bundle_is_never_incomplete(
    tmp_path: Path, home: Path, monkeypatch: pytest.MonkeyPatch, error: OSError
) -> None:
    digest = record(create_home(home), runnable())
    runs = read_with_needs(home, [digest])

    def full(*_: object) -> None:
        raise error

    monkeypatch.setattr(bundle, "copy_code", full)
    with pytest.raises(HomeError, match="No space left on device"):
        write_bundle(runs, Locations(home_dir=home), tmp_path / "bundle")
    assert [path.name for path in tmp_path.iterdir()] == ["home"]
