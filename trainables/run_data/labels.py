"""The noisy labels of a run: drawn as its spec says, and pinned when they are first drawn.

A spec names what labels are drawn from. What came out is recorded under the home at the first draw,
in `realisations/`, and every later run with the same key compares its labels before it trains: a
draw that has changed meanwhile can never stand beside an older one in a table.

Labels from a file of the user's are kept in `labels/` under their SHA-256, as vectors of the whole
training split, and read from there ever after: the file itself may be edited or removed.
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
    realise,
    realise_with,
    subset_of,
)

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    from trainables.datasets.base import Dataset
    from trainables.run.spec import RunSpec

LABELS = "labels"
REALISATIONS = "realisations"

POSTERIOR = "posterior"
"""Role of the run on clean labels whose class probabilities labels are drawn from."""


@dataclass(frozen=True, eq=False)
class Posterior:
    """Class probabilities that labels are drawn from.

    Attributes:
        probabilities: of the samples that the run was trained on, shape (n, K).
        folder: of the run that left them.
    """

    probabilities: NDArray[np.float64]
    folder: Path


def keep_labels(labels: NDArray[np.int64], home: Path) -> Path:
    """Write a label vector under the home, named by its SHA-256; a damaged file is replaced.

    Raises:
        HomeError: the home cannot be written.
    """
    path = _kept(labels_digest(labels), home)
    content = _npy(labels)
    if write_once(path, content) != content:
        write_atomically(path, content)
    return path


def pinned_labels(
    spec: RunSpec, dataset: Dataset, home: Path, posterior: Posterior | None = None
) -> Realisation:
    """Return the labels that a run sees, the same as at the first draw.

    Args:
        spec: of the run.
        dataset: with its labels and annotations.
        home: that holds `labels/` and `realisations/`.
        posterior: of the run that the spec needs as "posterior", if any.

    Raises:
        DataError: the data do not allow the noise, annotations are missing or other ones than the
            spec names, or other labels came out at the first draw.
        RecordError: the record of the first draw cannot be read.
        HomeError: the home cannot be written.
    """
    key = _key(spec)
    name = digest_of(key)
    if posterior is None:
        labels = draw(spec, dataset, home)
    else:
        labels = _drawn_once(spec, dataset, home, posterior, f"noise-{name[:16]}.npy")
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
    """Draw the labels that a spec describes, without looking at earlier draws.

    Raises:
        DataError: the data do not allow the noise, or annotations are missing or other ones than
            the spec names.
    """
    return realise(
        dataset,
        spec.scenario,
        spec.seeds,
        spec.subset,
        balanced=spec.balanced,
        annotations=_annotations(spec, dataset, home),
        posterior=None if posterior is None else _of_all_samples(spec, dataset, posterior),
    )


def check_posterior(digest: str, result: RunResult | None, reason: str = "") -> None:
    """See that a run that labels are drawn from has ended well.

    Args:
        digest: of the run.
        result: of the run; None if there is none.
        reason: why there is none.

    Raises:
        NalError: it has not; says why.
    """
    if result is None or result.status is not Status.FINISHED:
        why = reason or "not trained yet" if result is None else f"{result.status} {result.reason}"
        raise NalError(
            f"the network on clean labels that PMD noise is drawn from, {digest[:12]}, could "
            f"not be trained: {why}: change posterior.recipe"
        )


def _key(spec: RunSpec) -> dict[str, Any]:
    """Return all that a draw of labels depends on."""
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


def _drawn_once(
    spec: RunSpec, dataset: Dataset, home: Path, posterior: Posterior, name: str
) -> Realisation:
    """Return labels drawn from a posterior, frozen in the folder of the run that left it."""
    path = posterior.folder / name
    if not path.exists():
        write_once(path, _npy(draw(spec, dataset, home, posterior).noisy))
    noisy = _load(path, "delete it to have them drawn again")
    return realise_with(
        dataset, spec.scenario, noisy, spec.seeds, spec.subset, balanced=spec.balanced
    )


def _annotations(spec: RunSpec, dataset: Dataset, home: Path) -> dict[str, NDArray[np.int64]]:
    """Return the labels that the scenario reads, by name, if it reads any."""
    noise = noise_of(spec.scenario)
    if not noise.annotation:
        return {}
    if noise.label_file:
        labels = _load(_kept(spec.annotations, home), "type the command that planned it again")
    else:
        labels = dataset.annotations[noise.annotation]
    if labels_digest(labels) != spec.annotations:
        raise DataError(
            f"the annotations '{noise.annotation}' of {spec.dataset} have SHA-256 "
            f"{labels_digest(labels)[:12]}, the run was planned with {spec.annotations[:12]}: "
            "restore them, or type the command again to plan it anew"
        )
    return {noise.annotation: labels}


def _of_all_samples(spec: RunSpec, dataset: Dataset, posterior: Posterior) -> NDArray[np.float64]:
    """Return class probabilities of all used samples, shape (n, K).

    Those whose pictures could not be decoded were left out of the training: all classes alike.
    """
    index = subset_of(dataset, spec.seeds, spec.subset, balanced=spec.balanced)
    readable = ~np.isin(index, list(dataset.train.unreadable))
    if readable.all():
        return posterior.probabilities
    classes = posterior.probabilities.shape[1]
    whole = np.full((len(index), classes), 1 / classes)
    whole[readable] = posterior.probabilities
    return whole


def _kept(sha256: str, home: Path) -> Path:
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
            f"{path} is missing or damaged, and holds the labels of a run: {remedy}"
        ) from error
    return labels
