"""The home folder: all that the orchestrator writes lies under it.

format           number of the form in which all this is written
runs/<digest>/   one run each: spec, checkpoints, result
labels/          labels from files of the user's, by their hash
realisations/    what came out when noisy labels were first drawn
environments/    installed packages and their versions, by their hash
sweeps/          which sweep of a study is running now
cache/           decoded datasets, measured costs
data/            downloaded datasets, unless --data-dir says otherwise
optuna.db        searches
mlflow.db        MLflow's runs, unless --tracking-uri says otherwise; artifacts/ beside it
"""

from __future__ import annotations

import json
import os
import shutil
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

from trainables.errors import HomeError
from trainables.locks import acquire

if TYPE_CHECKING:
    from collections.abc import Iterator

DEFAULT_HOME = Path("runs")

FORMAT = "1"
"""How a home is laid out. One in another format is refused: it could be misread."""

DISK_RESERVE = 200e6
"""Bytes that databases, logs and caches may need beside the checkpoints."""


@dataclass(frozen=True, slots=True)
class Home:
    """A home folder, by its absolute path."""

    path: Path

    @property
    def cache(self) -> Path:
        """Where decoded datasets are kept."""
        return self.path / "cache"

    @property
    def data(self) -> Path:
        """Where datasets are downloaded to and looked for by default."""
        return self.path / "data"

    @property
    def search_storage(self) -> str:
        """The database of the searches, as a URL."""
        return f"sqlite:///{self.path / 'optuna.db'}"

    @property
    def artifacts(self) -> Path:
        """Where MLflow keeps artifacts."""
        return self.path / "artifacts"

    def artifacts_for(self, tracking_uri: str) -> Path | None:
        """Return where artifacts go: a server has a place of its own, a file has none."""
        return None if tracking_uri.startswith(("http://", "https://")) else self.artifacts

    def check(self) -> None:
        """See that what is recorded there, if anything, is in the format of this version.

        Raises:
            HomeError: it is in another one.
        """
        try:
            found = (self.path / "format").read_text(errors="replace").strip()
        except OSError:
            found = "none" if any(self.path.glob("runs/*/spec.json")) else FORMAT
        if found != FORMAT:
            raise HomeError(
                f"--home {self.path} was written in another format ({found}; this version has "
                f"{FORMAT}): choose another folder with --home, or use the version that wrote it"
            )

    def create(self) -> None:
        """Create the folder, see that it can be used and written to, and note its format.

        Raises:
            HomeError: it cannot.
        """
        self.check()
        partial = self.path / f".format.{os.getpid()}"
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            partial.write_text(f"{FORMAT}\n")
            partial.replace(self.path / "format")
        except OSError as error:
            raise HomeError(
                f"--home {self.path} cannot be written to ({error.strerror}): "
                "choose another folder with --home"
            ) from error

    def require_space(self, needed: float) -> None:
        """See that the disk has room for what is to come.

        Args:
            needed: bytes of checkpoints.

        Raises:
            HomeError: it has not.
        """
        existing = next(path for path in (self.path, *self.path.parents) if path.exists())
        free = shutil.disk_usage(existing).free
        if free < needed + DISK_RESERVE:
            raise HomeError(
                f"--home {self.path}: the disk has {free / 1e9:.1f} GB free and the runs need "
                f"about {(needed + DISK_RESERVE) / 1e9:.1f} GB: make room, or choose another "
                "folder with --home"
            )

    @contextmanager
    def claimed(self, study: str) -> Iterator[None]:
        """Hold a study in this home, so that two sweeps never work on it at once.

        Raises:
            HomeError: another process holds it; says which.
        """
        path = self.path / "sweeps" / f"{study}.lock"
        try:
            path.parent.mkdir(exist_ok=True)
            opened = path.open("a+")
        except OSError as error:
            raise HomeError(f"cannot write {path}: {error.strerror}") from error
        with opened as lock:
            try:
                acquire(lock, patience_seconds=0)
            except OSError:
                lock.seek(0)
                holder = _holder(lock.read())
                raise HomeError(
                    f"a sweep of '{study}' is already running in {self.path} ({holder}): "
                    "wait for it, end it, or choose another folder with --home"
                ) from None
            lock.truncate(0)
            started = datetime.now().astimezone().strftime("%Y-%m-%d %H:%M:%S")
            lock.write(json.dumps({"pid": os.getpid(), "host": os.uname().nodename, "at": started}))
            lock.flush()
            yield


def _holder(text: str) -> str:
    try:
        who = json.loads(text)
        return f"process {who['pid']} on {who['host']}, since {who['at']}"
    except (ValueError, KeyError):
        return "its process has just begun"
