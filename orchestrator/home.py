"""Home folder, under which the orchestrator writes all its files.

format           version of the folder's layout
runs/<digest>/   spec, checkpoints and result of each run
labels/          labels from files of the user, by their hash
realisations/    hash, flip rate and transition matrix of noisy labels, written when first drawn
environments/    installed packages and their versions, by their hash
sweeps/          plans of sweeps, and the lock of each study
cache/           decoded datasets, measured costs
data/            downloaded datasets, unless --data-dir is given
optuna.db        searches
mlflow.db        MLflow's runs, unless --tracking-uri is given; artifacts/ beside it
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
"""Home folder that is used without the flag --home."""

FORMAT = "1"
"""Version of the layout of a home folder; a folder of another version is rejected."""

DISK_RESERVE = 200e6
"""Disk space in bytes that is reserved for databases, logs and caches."""


@dataclass(frozen=True, slots=True)
class Home:
    """A home folder, to which everything is written.

    Attributes:
        path: absolute path of the home folder.
    """

    path: Path

    @property
    def cache(self) -> Path:
        """Folder for decoded datasets and measured costs."""
        return self.path / "cache"

    @property
    def data(self) -> Path:
        """Default folder for datasets."""
        return self.path / "data"

    @property
    def search_storage(self) -> str:
        """SQLAlchemy URL of the database that Optuna stores searches in."""
        return f"sqlite:///{self.path / 'optuna.db'}"

    @property
    def artifacts(self) -> Path:
        """Folder for MLflow's artifacts."""
        return self.path / "artifacts"

    def artifacts_for(self, tracking_uri: str) -> Path | None:
        """Return the folder for MLflow's artifacts; None if a server determines their location.

        Args:
            tracking_uri: URI of the MLflow store.
        """
        return None if tracking_uri.startswith(("http://", "https://")) else self.artifacts

    def check(self) -> None:
        """Check that the home folder, if it exists, has the layout of this version.

        Raises:
            HomeError: if it has the layout of another version.
        """
        try:
            version = (self.path / "format").read_text(errors="replace").strip()
        except OSError:
            version = "none" if any(self.path.glob("runs/*/spec.json")) else FORMAT
        if version != FORMAT:
            raise HomeError(
                f"--home {self.path} was written in another format ({version}; this version has "
                f"{FORMAT}): choose another folder with --home, or use the version that wrote it"
            )

    def create(self) -> None:
        """Create the home folder if it is missing, and write the version of its layout.

        Raises:
            HomeError: if the folder cannot be written, or has the layout of another version.
        """
        self.check()
        temp_file = self.path / f".format.{os.getpid()}"
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            temp_file.write_text(f"{FORMAT}\n")
            temp_file.replace(self.path / "format")
        except OSError as error:
            raise HomeError(
                f"--home {self.path} cannot be written to ({error.strerror}): "
                "choose another folder with --home"
            ) from error

    def require_space(self, needed_bytes: float) -> None:
        """Check that the disk of the home folder has enough free space.

        Args:
            needed_bytes: size of the checkpoints to write, in bytes.

        Raises:
            HomeError: if there is too little space.
        """
        existing_folder = next(path for path in (self.path, *self.path.parents) if path.exists())
        free_bytes = shutil.disk_usage(existing_folder).free
        required_bytes = needed_bytes + DISK_RESERVE
        if free_bytes < required_bytes:
            raise HomeError(
                f"--home {self.path}: the disk has {free_bytes / 1e9:.1f} GB free and the runs "
                f"need about {required_bytes / 1e9:.1f} GB: free some space, or choose another "
                "folder with --home"
            )

    @contextmanager
    def claimed(self, study: str) -> Iterator[None]:
        """Lock a study in this home folder for the duration of the context.

        Two processes thus never carry out sweeps of the same study at the same time.

        Args:
            study: name of the study.

        Raises:
            HomeError: if another process has locked the study; the message names the process.
        """
        lock_path = self.path / "sweeps" / f"{study}.lock"
        try:
            lock_path.parent.mkdir(exist_ok=True)
            file = lock_path.open("a+")
        except OSError as error:
            raise HomeError(f"cannot write {lock_path}: {error.strerror}") from error
        with file as lock:
            try:
                acquire(lock, patience_seconds=0)
            except OSError:
                lock.seek(0)
                holder = _describe_holder(lock.read())
                raise HomeError(
                    f"a sweep of '{study}' is already running in {self.path} ({holder}): "
                    "wait for it, end it, or choose another folder with --home"
                ) from None
            lock.truncate(0)
            start_time = datetime.now().astimezone().strftime("%Y-%m-%d %H:%M:%S")
            lock.write(
                json.dumps({"pid": os.getpid(), "host": os.uname().nodename, "at": start_time})
            )
            lock.flush()
            yield


def _describe_holder(text: str) -> str:
    try:
        holder = json.loads(text)
        return f"process {holder['pid']} on {holder['host']}, since {holder['at']}"
    except (ValueError, KeyError):
        return "its process has just begun"
