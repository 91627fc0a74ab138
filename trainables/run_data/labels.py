"""The noisy labels of a run, drawn according to its spec and pinned at the first draw.

A spec names only the source of its labels. The SHA-256 of the labels is recorded under the home at
the first draw, in `realisations/`, and every later run with the same key compares its labels with
it before training. A draw that has changed can therefore never share a table with an older one.

Labels from a file of the user's are copied to `labels/` under their SHA-256, as vectors over the
whole training split, and read from there, so that the file may be edited or removed.
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
from trainables.run.record import write_atomically, write_once
from trainables.run.result import LabelFacts, RunResult, Status
from trainables.run_data.realisation import (
    Realisation,
    labels_digest,
    realisation_of,
    realise,
    subset_positions,
)

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    from trainables.datasets.base import Dataset
    from trainables.run.spec import RunSpec

LABELS = "labels"
"""Name of the folder under the home that holds label vectors."""
REALISATIONS = "realisations"
"""Name of the folder under the home that holds the records of first draws."""

POSTERIOR = "posterior"
"""Role of the run on clean labels from whose class probabilities noisy labels are drawn."""


@dataclass(frozen=True, eq=False)
class Posterior:
    """Class probabilities that labels are drawn from.

    Attributes:
        probabilities: probabilities for the samples that the run was trained on, shape (n, K).
        folder: path of the record of that run.
    """

    probabilities: NDArray[np.float64]
    folder: Path


def store_labels(labels: NDArray[np.int64], home: Path) -> Path:
    """Write a label vector under the home, named by its SHA-256, and return the file's path.

    A damaged file of the same name is replaced.

    Raises:
        HomeError: if the home cannot be written.
    """
    path = _stored_path(labels_digest(labels), home)
    content = _npy(labels)
    if write_once(path, content) != content:
        write_atomically(path, content)
    return path


def pinned_labels(
    spec: RunSpec, dataset: Dataset, home: Path, posterior: Posterior | None = None
) -> Realisation:
    """Return the noisy labels of a run after comparing them with those of the first draw.

    Args:
        spec: specification of the run.
        dataset: dataset of the run, with labels and annotations.
        home: path of the folder that holds `labels/` and `realisations/`.
        posterior: class probabilities from the run that the spec needs as "posterior", if any.

    Raises:
        DataError: if the data do not allow the noise, annotations are missing or differ from those
            that the spec names, or the labels differ from those of the first draw.
        RecordError: if the record of the first draw cannot be read.
        HomeError: if the home cannot be written.
    """
    key = _key(spec)
    name = digest_of(key)
    if posterior is None:
        labels = draw(spec, dataset, home)
    else:
        labels = _frozen_draw(spec, dataset, home, posterior, f"noise-{name[:16]}.npy")
    facts = LabelFacts.of(labels, spec.scenario)
    path = home / REALISATIONS / f"{name}.json"
    content = json.dumps({"key": key, **asdict(facts)}, indent=1)
    try:
        first = str(json.loads(write_once(path, content.encode()))["sha256"])
    except (ValueError, KeyError, TypeError) as error:
        raise RecordError(
            f"{path}, the record of the first draw of labels, is damaged: restore it, or choose "
            "another folder with --home"
        ) from error
    if first != labels.digest:
        raise DataError(
            f"the labels of {spec.scenario} at noise seed {spec.seeds.noise} have SHA-256 "
            f"{labels.digest[:12]}, but {first[:12]} when labels were first drawn ({path}): runs "
            "on different labels are not compared; restore what has changed, or choose another "
            "folder with --home"
        )
    return labels


def draw(
    spec: RunSpec, dataset: Dataset, home: Path, posterior: Posterior | None = None
) -> Realisation:
    """Draw the noisy labels of a run without comparing them with earlier draws.

    Raises:
        DataError: if the data do not allow the noise, or annotations are missing or differ from
            those that the spec names.
    """
    return realise(
        dataset,
        spec.scenario,
        spec.seeds,
        spec.subset,
        balanced=spec.balanced,
        annotations=_annotations(spec, dataset, home),
        posterior=None if posterior is None else _complete_probabilities(spec, dataset, posterior),
    )


def check_posterior(digest: str, result: RunResult | None, reason: str = "") -> None:
    """Check that a run whose class probabilities labels are drawn from is finished.

    Args:
        digest: digest of the run.
        result: result of the run; None if there is none.
        reason: reason why there is no result, for the message.

    Raises:
        NalError: if the run is not finished.
    """
    if result is None or result.status is not Status.FINISHED:
        why = reason or "not trained yet" if result is None else f"{result.status} {result.reason}"
        raise NalError(
            f"the network on clean labels that PMD noise is drawn from, {digest[:12]}, could "
            f"not be trained: {why}: change posterior.recipe"
        )


def _key(spec: RunSpec) -> dict[str, Any]:
    """Return all values that a draw of labels depends on."""
    return {
        "data": spec.data,
        "scenario": spec.scenario,
        "noise": spec.seeds.noise,
        "subset_seed": spec.seeds.subset,
        "subset": spec.subset,
        "balanced": spec.balanced,
        "posterior": spec.needs.get(POSTERIOR, ""),
        "annotations": spec.annotations,
        "revision": spec.revision,
    }


def _frozen_draw(
    spec: RunSpec, dataset: Dataset, home: Path, posterior: Posterior, name: str
) -> Realisation:
    """Return labels drawn from a posterior, which are stored in the folder of its run."""
    path = posterior.folder / name
    if not path.exists():
        write_once(path, _npy(draw(spec, dataset, home, posterior).noisy))
    noisy = _load(path, "delete it to have them drawn again")
    return realisation_of(
        dataset, spec.scenario, noisy, spec.seeds, spec.subset, balanced=spec.balanced
    )


def _annotations(spec: RunSpec, dataset: Dataset, home: Path) -> dict[str, NDArray[np.int64]]:
    """Return the annotations that the scenario reads by name, or {} if it reads none."""
    noise = noise_of(spec.scenario)
    if not noise.annotation:
        return {}
    if noise.label_file:
        labels = _load(
            _stored_path(spec.annotations, home), "run the command that planned it again"
        )
    else:
        labels = dataset.annotations[noise.annotation]
    if labels_digest(labels) != spec.annotations:
        raise DataError(
            f"the annotations '{noise.annotation}' of {spec.dataset} have SHA-256 "
            f"{labels_digest(labels)[:12]}, the run was planned with {spec.annotations[:12]}: "
            "restore them, or run the command again to plan it anew"
        )
    return {noise.annotation: labels}


def _complete_probabilities(
    spec: RunSpec, dataset: Dataset, posterior: Posterior
) -> NDArray[np.float64]:
    """Return the class probabilities of all used samples, shape (n, K).

    The posterior lacks samples whose pictures could not be decoded; these get equal probabilities.
    """
    index = subset_positions(dataset, spec.seeds, spec.subset, balanced=spec.balanced)
    readable = ~np.isin(index, list(dataset.train.unreadable))
    if readable.all():
        return posterior.probabilities
    classes = posterior.probabilities.shape[1]
    probabilities = np.full((len(index), classes), 1 / classes)
    probabilities[readable] = posterior.probabilities
    return probabilities


def _stored_path(sha256: str, home: Path) -> Path:
    return home / LABELS / f"{sha256}.npy"


def _npy(labels: NDArray[np.int64]) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, labels.astype("<i8"), allow_pickle=False)
    return buffer.getvalue()


def _load(path: Path, remedy: str) -> NDArray[np.int64]:
    try:
        with path.open("rb") as file:
            labels: NDArray[np.int64] = np.lib.format.read_array(file).astype(np.int64)
    except (OSError, ValueError, EOFError) as error:
        raise DataError(
            f"{path}, which holds the labels of a run, is missing or damaged: {remedy}"
        ) from error
    return labels
