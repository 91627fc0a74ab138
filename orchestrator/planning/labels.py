"""The noisy labels of a plan: drawn, hashed, and kept where a spec cannot draw them again."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from trainables.frozen_labels import freeze
from trainables.noise import Given, noise_of
from trainables.noise.label_files import read_label_file
from trainables.posterior import posterior_path
from trainables.realisation import realise_with, subset_of

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    from search_spaces.schema import Study
    from trainables.datasets.base import Dataset
    from trainables.realisation import Realisation
    from trainables.seeds import Seeds
    from trainables.spec import RunSpec

LABEL_FILES = "labels"
"""Folder of the user's label files in the data folder."""


CLEAN = "clean"


class LabelBook:
    """Draws each realisation once."""

    def __init__(
        self,
        dataset: Dataset,
        study: Study,
        data_dir: Path | None = None,
        home: Path | None = None,
        *,
        writes: bool = False,
        draws: bool = True,
    ) -> None:
        """Open an empty book.

        Args:
            dataset: whose labels noise is laid over.
            study: says which subset is used.
            data_dir: that holds label files of the user's.
            home: that holds runs and kept labels.
            writes: whether labels may be kept there.
            draws: whether labels are drawn; without, a plan can be counted, not carried out.
        """
        self._dataset, self._study = dataset, study
        self._data_dir, self._home = data_dir, home
        self._writes, self._draws = writes, draws
        self._digests: dict[tuple[str, int, int, str], str] = {}

    def opened_anew(self, study: Study, *, draws: bool = True) -> LabelBook:
        """Return an empty book of the same places for a study."""
        return LabelBook(
            self._dataset, study, self._data_dir, self._home, writes=self._writes, draws=draws
        )

    def digest(self, scenario: str, seeds: Seeds, posterior: RunSpec | None) -> str:
        """Return the SHA-256 of a scenario's labels.

        As long as the run that they are drawn from has not ended, or where the book draws none, a
        text in its place that no hash looks like: such a plan can be counted, not carried out.

        Raises:
            DataError: the data, or a file of the user's, do not allow the noise.
        """
        needed = "" if posterior is None else posterior.digest
        key = (scenario, seeds.noise, seeds.subset, needed)
        if key not in self._digests:
            lacks = posterior is not None and self.lacks(posterior)
            # Labels as they come cost nothing, and are in the spec of the run that others need.
            if lacks or not (self._draws or scenario == CLEAN):
                return f"not drawn: {scenario}, {seeds.noise}, {seeds.subset}, from '{needed}'"
            labels = self.realise(scenario, seeds, posterior)
            if self._writes and self._home is not None and noise_of(scenario).frozen:
                freeze(labels.noisy, self._home)
            self._digests[key] = labels.digest
        return self._digests[key]

    def lacks(self, posterior: RunSpec) -> bool:
        """Tell whether a run that labels are drawn from has not ended yet."""
        return self._probabilities(posterior) is None

    def realise(self, scenario: str, seeds: Seeds, posterior: RunSpec | None) -> Realisation:
        """Draw a scenario's labels.

        Raises:
            DataError: as for `digest`.
        """
        dataset, study, noise = self._dataset, self._study, noise_of(scenario)
        index = subset_of(dataset, seeds, study.subset, balanced=study.balanced)
        given = Given(
            labels=dataset.train.labels,
            index=index,
            classes=len(dataset.classes),
            dataset=dataset.name,
            annotations={**dataset.annotations, **self._from_file(noise.label_file)},
            posterior=None if posterior is None else self._of_all(posterior, index),
        )
        noisy = noise.apply(given, seeds.noise)
        return realise_with(dataset, scenario, noisy, seeds, study.subset, balanced=study.balanced)

    def _from_file(self, name: str) -> dict[str, NDArray[np.int64]]:
        if not name or self._data_dir is None:
            return {}
        labels, classes = self._dataset.train.labels, len(self._dataset.classes)
        folder = self._data_dir / LABEL_FILES
        return {f"file-{name}": read_label_file(folder, name, labels, classes)}

    def _of_all(self, posterior: RunSpec, index: NDArray[np.int64]) -> NDArray[np.float64] | None:
        """Return class probabilities of all used samples.

        Those whose pictures could not be decoded were left out of the training: all classes alike.
        """
        found = self._probabilities(posterior)
        readable = ~np.isin(index, list(self._dataset.train.unreadable))
        if found is None or readable.all():
            return found
        whole = np.full((len(index), found.shape[1]), 1 / found.shape[1])
        whole[readable] = found
        return whole

    def _probabilities(self, posterior: RunSpec) -> NDArray[np.float64] | None:
        if self._home is None:
            return None
        path = posterior_path(self._home, posterior.digest)
        if not path.exists():
            return None
        probabilities: NDArray[np.float64] = np.load(path, allow_pickle=False).astype(np.float64)
        return probabilities
