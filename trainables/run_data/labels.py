"""The noisy labels of a run, drawn according to its spec and pinned at the first draw.

A spec describes how labels are drawn but does not contain them. When labels are drawn for the first
time, their SHA-256 is recorded in the folder `realisations/` of the home folder. Every later run
whose spec describes the same draw compares its labels with this record before training. A table can
therefore never mix runs on different labels.

Labels from a file of the user's are copied to the folder `labels/` of the home folder, as a vector
over the whole training split in a file named by the SHA-256. Runs read this copy, so that the user
may edit or remove the original file.
"""

from __future__ import annotations

import io
import json
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from trainables.errors import DataError, NalError, RecordError
from trainables.noise import noise_of
from trainables.run.identity import digest_of
from trainables.run.record import Record, write_atomically, write_once
from trainables.run.result import LabelStatistics, RunResult, Status
from trainables.run_data.realisation import (
    Realisation,
    draw_realisation,
    labels_digest,
    realisation_of,
    subset_positions,
)

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    from trainables.datasets.base import Dataset
    from trainables.run.spec import RunSpec

LABELS_FOLDER = "labels"
"""Name of the subfolder of the home folder for labels that users provide in files."""
REALISATIONS_FOLDER = "realisations"
"""Name of the subfolder of the home folder for the records of the first draws of labels."""

POSTERIOR_ROLE = "posterior"
"""Key in `RunSpec.needs` of the run from whose class probabilities noisy labels are drawn."""


@dataclass(frozen=True, eq=False)
class Posterior:
    """Class probabilities from a network trained on clean labels, used to draw noisy labels.

    Attributes:
        probabilities: class probabilities of the network's training samples, shape (n, K).
        folder: path of the folder `runs/<digest>/` of the run that trained the network.
    """

    probabilities: NDArray[np.float64]
    folder: Path


def store_labels(labels: NDArray[np.int64], home: Path) -> Path:
    """Store labels in the home folder, in a file named by their SHA-256, and return its path.

    A damaged file of the same name is replaced.

    Args:
        labels: labels of the whole training split, int64, shape (n,).
        home: path of the home folder.

    Raises:
        HomeError: if the home folder cannot be written.
    """
    path = label_file_path(labels_digest(labels), home)
    content = label_file_bytes(labels)
    if write_once(path, content) != content:
        write_atomically(path, content)
    return path


def verified_labels(
    spec: RunSpec, dataset: Dataset, home: Path, posterior: Posterior | None = None
) -> Realisation:
    """Return the noisy labels of a run, verified to equal those of the first draw.

    Args:
        spec: specification of the run.
        dataset: dataset of the run, with labels and annotations.
        home: path of the home folder.
        posterior: class probabilities from the run `spec.needs["posterior"]`, from which labels are
            drawn; None if the spec has no such key.

    Raises:
        DataError: if the data do not allow the noise, annotations are missing or do not match the
            SHA-256 in the spec, or the labels differ from those of the first draw.
        RecordError: if the record of the first draw cannot be read.
        HomeError: if the home folder cannot be written.
    """
    draw_description = _draw_description(spec)
    if posterior is None:
        labels = draw_labels(spec, dataset, home)
    else:
        labels = _draw_once(spec, dataset, home, posterior)
    statistics = LabelStatistics.from_realisation(labels, spec.scenario)
    path = home / REALISATIONS_FOLDER / f"{digest_of(draw_description)}.json"
    content = json.dumps({"key": draw_description, **asdict(statistics)}, indent=1)
    try:
        first_sha256 = str(json.loads(write_once(path, content.encode()))["sha256"])
    except (ValueError, KeyError, TypeError) as error:
        raise RecordError(
            f"{path}, the record of the first draw of labels, is damaged: restore this file, or "
            "choose another home folder with --home"
        ) from error
    if first_sha256 != labels.digest:
        raise DataError(
            f"the labels of {spec.scenario} at noise seed {spec.seeds.noise} have SHA-256 "
            f"{labels.digest[:12]}, but had {first_sha256[:12]} when they were first drawn "
            f"({path}): runs on different labels are not comparable; restore the earlier data and "
            "package versions, or choose another home folder with --home"
        )
    return labels


def draw_labels(
    spec: RunSpec, dataset: Dataset, home: Path, posterior: Posterior | None = None
) -> Realisation:
    """Draw the noisy labels of a run without comparing them with earlier draws.

    Args:
        spec: specification of the run.
        dataset: dataset of the run, with labels and annotations.
        home: path of the home folder.
        posterior: class probabilities from which labels are drawn, if the scenario requires them.

    Raises:
        DataError: if the data do not allow the noise, or annotations are missing or do not match
            the SHA-256 in the spec.
    """
    return draw_realisation(
        dataset,
        spec.scenario,
        spec.seeds,
        spec.subset,
        balanced=spec.balanced,
        annotations=_annotations(spec, dataset, home),
        posterior=None if posterior is None else _complete_probabilities(spec, dataset, posterior),
    )


def check_posterior(digest: str, result: RunResult | None, reason: str = "") -> None:
    """Check that the run from whose class probabilities labels are drawn has finished.

    Args:
        digest: digest of the run.
        result: result of the run; None if the run has no result.
        reason: explanation of the missing result for the message.

    Raises:
        NalError: if the run has not finished.
    """
    if result is None or result.status is not Status.FINISHED:
        explanation = (
            reason or "not trained yet" if result is None else f"{result.status} {result.reason}"
        )
        raise NalError(
            f"run {digest[:12]}, which trains the network from which PMD noise is drawn, "
            f"could not be trained: {explanation}: change posterior.recipe"
        )


def _draw_description(spec: RunSpec) -> dict[str, Any]:
    """Return the values of a spec that determine the draw of noisy labels."""
    return {
        "data": spec.data,
        "scenario": spec.scenario,
        "noise": spec.seeds.noise,
        "subset_seed": spec.seeds.subset,
        "subset": spec.subset,
        "balanced": spec.balanced,
        "posterior": spec.needs.get(POSTERIOR_ROLE, ""),
        "annotations": spec.annotations,
        "revision": spec.revision,
    }


def recorded_labels(spec: RunSpec, dataset: Dataset, home: Path) -> NDArray[np.int64]:
    """Return the noisy labels on which a recorded run was trained, shape (n,).

    Labels that were drawn from class probabilities are read, all others are drawn again.

    Args:
        spec: specification of the run.
        dataset: dataset of the run, with labels and annotations.
        home: path of the home folder with the record.

    Raises:
        DataError: if the labels cannot be read or drawn.
    """
    digest = spec.needs.get(POSTERIOR_ROLE)
    if digest is None:
        return draw_labels(spec, dataset, home).noisy_labels
    path = _drawn_labels_path(spec, Record(home, str(digest)).folder)
    return _load_labels(path, "restore the file, or train the run again")


def label_file_bytes(labels: NDArray[np.int64]) -> bytes:
    """Return the content of a .npy file with labels, as little-endian int64."""
    buffer = io.BytesIO()
    np.save(buffer, labels.astype("<i8"), allow_pickle=False)
    return buffer.getvalue()


def _drawn_labels_path(spec: RunSpec, posterior_folder: Path) -> Path:
    """Return the path of the labels that were drawn from class probabilities for a run.

    The file is in the folder of the run that supplies the probabilities.
    """
    return posterior_folder / f"noise-{digest_of(_draw_description(spec))[:16]}.npy"


def _draw_once(spec: RunSpec, dataset: Dataset, home: Path, posterior: Posterior) -> Realisation:
    """Draw noisy labels from class probabilities and store them, or read them if stored before."""
    path = _drawn_labels_path(spec, posterior.folder)
    if not path.exists():
        labels = draw_labels(spec, dataset, home, posterior).noisy_labels
        write_once(path, label_file_bytes(labels))
    noisy_labels = _load_labels(path, "delete the file, so that the labels are drawn again")
    return realisation_of(
        dataset, spec.scenario, noisy_labels, spec.seeds, spec.subset, balanced=spec.balanced
    )


def _annotations(spec: RunSpec, dataset: Dataset, home: Path) -> dict[str, NDArray[np.int64]]:
    """Return the labels that a scenario reads, by name; {} for a scenario that draws labels."""
    noise = noise_of(spec.scenario)
    if not noise.annotation:
        return {}
    if noise.label_file:
        labels = _load_labels(
            label_file_path(spec.annotations, home), "repeat the command that planned the run"
        )
    else:
        labels = dataset.annotations[noise.annotation]
    if labels_digest(labels) != spec.annotations:
        raise DataError(
            f"the annotations '{noise.annotation}' of {spec.dataset} have SHA-256 "
            f"{labels_digest(labels)[:12]}, but the run was planned with "
            f"{spec.annotations[:12]}: restore the annotations, or repeat the command that planned "
            "the run"
        )
    return {noise.annotation: labels}


def _complete_probabilities(
    spec: RunSpec, dataset: Dataset, posterior: Posterior
) -> NDArray[np.float64]:
    """Return class probabilities of all samples of a run, shape (n, K).

    A sample whose picture could not be decoded has no row in `posterior`, and gets equal
    probabilities for all classes.
    """
    index = subset_positions(dataset, spec.seeds, spec.subset, balanced=spec.balanced)
    is_readable = ~np.isin(index, list(dataset.train.unreadable))
    if is_readable.all():
        return posterior.probabilities
    class_count = posterior.probabilities.shape[1]
    probabilities = np.full((len(index), class_count), 1 / class_count)
    probabilities[is_readable] = posterior.probabilities
    return probabilities


def label_file_path(sha256: str, home: Path) -> Path:
    """Return the path of the labels with a SHA-256 that users have provided in files."""
    return home / LABELS_FOLDER / f"{sha256}.npy"


def _load_labels(path: Path, remedy: str) -> NDArray[np.int64]:
    try:
        with path.open("rb") as file:
            labels: NDArray[np.int64] = np.lib.format.read_array(file).astype(np.int64)
    except (OSError, ValueError, EOFError) as error:
        raise DataError(
            f"{path}, which holds the labels of a run, is missing or damaged: {remedy}"
        ) from error
    return labels
