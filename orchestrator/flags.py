"""The flags of `sweep` and `train`, and what they change in a study."""

from __future__ import annotations

import shlex
from dataclasses import dataclass
from typing import TYPE_CHECKING

from orchestrator.home import DEFAULT_HOME, Home
from search_spaces.loader import Change, LoadedStudy, load_study, parse_set
from search_spaces.resolve import matched_recipe
from trainables.errors import StudyError

if TYPE_CHECKING:
    from pathlib import Path


@dataclass(frozen=True, slots=True)
class StudyFlags:
    """A study and the flags that change it or say where its files are.

    Attributes:
        study: name, or path of a YAML file.
        trials: of each search.
        epochs: of each training; what counts epochs is scaled with it.
        seeds: number of confirm seeds, 0 to seeds - 1.
        scenarios: those to keep; empty for all.
        methods: those to compare; None for the study's.
        subset: number of training samples.
        sets: KEY=VALUE for any other key.
        data_dir: where the dataset is; None for the home's own.
        home: where everything is written.
        ray_address: of a running cluster; None to start Ray here.
        tracking_uri: of an MLflow store; None for the home's own.
    """

    study: str
    trials: int | None = None
    epochs: int | None = None
    seeds: int | None = None
    scenarios: tuple[str, ...] = ()
    methods: tuple[str, ...] | None = None
    subset: int | None = None
    sets: tuple[str, ...] = ()
    data_dir: Path | None = None
    home: Path = DEFAULT_HOME
    ray_address: str | None = None
    tracking_uri: str | None = None

    def load(self) -> LoadedStudy:
        """Load the study and apply the flags.

        Raises:
            StudyError: a flag, or the study, says something that cannot be.
        """
        loaded = load_study(self.study, self._changes())
        if self.epochs is None or self.epochs == matched_recipe(loaded.study).epochs:
            return loaded
        return loaded.with_epochs(self.epochs)

    def _changes(self) -> list[Change]:
        changes = [parse_set(text) for text in self.sets]
        if self.trials is not None:
            changes.append(Change("search.trials", self.trials, "--trials"))
        if self.seeds is not None:
            if self.seeds < 1:
                raise StudyError(f"--seeds: must be at least 1, got {self.seeds}")
            changes.append(Change("confirm.seeds", list(range(self.seeds)), "--seeds"))
        if self.scenarios:
            changes.append(Change("scenarios", list(self.scenarios), "--scenario"))
        if self.methods is not None:
            changes.append(Change("methods", list(self.methods), "--methods"))
        if self.subset is not None:
            changes.append(Change("subset", self.subset, "--subset"))
        return changes

    @property
    def paths(self) -> Home:
        """The home folder, absolute."""
        return Home(self.home.expanduser().resolve())

    @property
    def data(self) -> Path:
        """Where the dataset is, absolute."""
        return self.data_dir.expanduser().resolve() if self.data_dir else self.paths.data

    def command(self, verb: str = "sweep") -> str:
        """Return the command line that says the same; `ui` takes no study."""
        words = ["python", "-m", "orchestrator", verb]
        if verb != "ui":
            words.append(self.study)
        for flag, value in (
            ("--trials", self.trials),
            ("--epochs", self.epochs),
            ("--seeds", self.seeds),
            ("--methods", None if self.methods is None else ",".join(self.methods)),
            ("--subset", self.subset),
            ("--data-dir", self.data_dir),
            ("--home", None if self.home == DEFAULT_HOME else self.home),
            ("--ray-address", self.ray_address),
            ("--tracking-uri", self.tracking_uri),
        ):
            if value is not None:
                words += [flag, str(value)]
        for scenario in self.scenarios:
            words += ["--scenario", scenario]
        for text in self.sets:
            words += ["--set", text]
        return shlex.join(words)
