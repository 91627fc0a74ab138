"""Bundle of recorded runs: a folder with which others train them again, without this home folder.

README.md         what the bundle contains, and how it is used
reproduce.sh      installs the packages into venv/ and trains the runs again
environment.txt   packages that training imports, in the recorded versions
record/           home folder with the records of the runs and of those that they need
labels/           noisy labels of each run, by its digest
code/             code of this project
"""

from __future__ import annotations

import os
import shutil
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from orchestrator.home import Home
from orchestrator.reproduction.bundle_texts import environment_text, readme_text, script_text
from orchestrator.reproduction.code import copy_code
from trainables.datasets import load
from trainables.errors import DataError, HomeError, UserError
from trainables.run.provenance import TRAINING_PACKAGES
from trainables.run.record import Record, write_atomically
from trainables.run_data.labels import label_file_bytes, label_file_path, recorded_labels
from trainables.run_data.realisation import labels_digest

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import numpy as np
    from numpy.typing import NDArray

    from orchestrator.flags import Locations
    from trainables.reproduction.recorded import RecordedRun

PRIVATE_ENTRIES = ("host", "environment", "study")
"""Provenance entries that a bundle leaves out: names that others cannot use, or should not read."""


def check_bundle(runs: Sequence[RecordedRun], folder: Path) -> None:
    """Check that runs can be bundled, and that the folder can be written.

    Args:
        runs: recorded runs, with those that they need.
        folder: folder of the bundle, which must not exist.

    Raises:
        UserError: if the folder exists, or a run cannot be trained elsewhere.
    """
    if folder.exists():
        raise UserError(f"--out {folder}: exists already: name a new folder")
    if not folder.absolute().parent.is_dir():
        raise UserError(f"--out {folder}: the folder {folder.parent} does not exist: create it")
    for run in runs:
        if run.is_altered:
            raise UserError(
                f"the record of run {run.digest[:12]} was altered after it was written: "
                f"`reproduce {run.digest[:12]}` says where it differs"
            )
        for name, value in run.spec.backbone_parameters.items():
            if isinstance(value, str) and Path(value).is_absolute():
                raise UserError(
                    f"run {run.digest[:12]} starts from the file {value} ({name}), whose path is "
                    "part of what the run is: it cannot be trained again on another machine"
                )


def write_bundle(runs: Sequence[RecordedRun], locations: Locations, folder: Path) -> str:
    """Write a bundle of recorded runs.

    It is written beside the folder and renamed at the end, so that it is never incomplete.

    Args:
        runs: recorded runs, each after those that it needs, that `check_bundle` has accepted.
        locations: locations of the home folder with the records, and of the data.
        folder: folder of the bundle, which does not exist.

    Returns:
        A sentence that says which code the bundle contains.

    Raises:
        DataError: if the noisy labels of a run cannot be drawn again.
        HomeError: if the folder cannot be written.
    """
    labels = _read_labels(runs, locations)
    partial_folder = folder.absolute().with_name(f".{folder.name}.{os.getpid()}.partial")
    try:
        code = _write_files(runs, labels, locations.home_dir, partial_folder)
        partial_folder.rename(folder)
    except shutil.Error as error:  # of copying several files
        *_, reason = error.args[0][0]
        raise HomeError(f"cannot write {folder}: {reason}") from error
    except OSError as error:
        raise HomeError(f"cannot write {folder}: {error.strerror}") from error
    finally:
        shutil.rmtree(partial_folder, ignore_errors=True)
    return code


def _read_labels(runs: Sequence[RecordedRun], locations: Locations) -> dict[str, NDArray[np.int64]]:
    """Return the noisy labels of runs, by digest, after comparing them with the records."""
    labels = {}
    for run in runs:
        dataset = load(run.spec.dataset, locations.dataset_dir, locations.home.cache_dir)
        labels[run.digest] = recorded_labels(run.spec, dataset, locations.home_dir)
        sha256 = labels_digest(labels[run.digest])
        if sha256 != run.result.labels.sha256:
            raise DataError(
                f"the noisy labels of run {run.digest[:12]} have SHA-256 {sha256[:12]}, but had "
                f"{run.result.labels.sha256[:12]} when it was recorded: restore the data and the "
                "package versions"
            )
    return labels


def _write_files(
    runs: Sequence[RecordedRun],
    labels: Mapping[str, NDArray[np.int64]],
    home_dir: Path,
    folder: Path,
) -> str:
    """Write all files of a bundle, and return a sentence that says which code it contains."""
    folder.mkdir()
    record_home = Home(folder / "record")
    record_home.create()
    (folder / "labels").mkdir()
    for run in runs:
        _write_record(run, home_dir, record_home.path)
        write_atomically(
            folder / "labels" / f"{run.digest}.npy", label_file_bytes(labels[run.digest])
        )
    code = copy_code(runs, folder / "code")
    write_atomically(folder / "environment.txt", environment_text(runs))
    write_atomically(folder / "README.md", readme_text(runs, code))
    script_path = folder / "reproduce.sh"
    write_atomically(script_path, script_text(runs))
    script_path.chmod(0o755)
    return code


def _write_record(run: RecordedRun, home_dir: Path, record_home: Path) -> None:
    """Write the record of a run without what belongs to the machine that trained it."""
    source, target = Record(home_dir, run.digest), Record(record_home, run.digest)
    packages = {
        name: version for name, version in run.environment.items() if name in TRAINING_PACKAGES
    }
    provenance = {
        name: value
        for name, value in (run.result.provenance | packages).items()
        if name not in PRIVATE_ENTRIES
    }
    target.folder.mkdir(parents=True)
    target.record_start(run.spec)
    target.write_result(replace(run.result, provenance=provenance))
    for file in source.read_code_files():
        target.store_code_file(file)
    annotations = label_file_path(run.spec.annotations, home_dir)
    if run.spec.annotations and annotations.exists():
        copied = label_file_path(run.spec.annotations, record_home)
        copied.parent.mkdir(exist_ok=True)
        write_atomically(copied, annotations.read_bytes())
