"""Home folder: the folder to which all results, databases and caches are written.

format           version of the layout of the home folder
runs/<digest>/   spec, checkpoints, log and result of each run
labels/          labels read from the user's files, by their hash
realisations/    hash, flip rate and transition matrix of noisy labels, written when first drawn
environments/    installed packages and their versions, by their hash
sweeps/          plans and progress of sweeps, and the lock of each study
trash/           removed sweeps with their runs, which no command reads
cache/           decoded datasets, measured costs
data/            downloaded datasets, unless --data-dir is given
optuna.db        hyperparameter searches, unless --search-storage is given; locks beside it
mlflow.db        MLflow's runs, unless --tracking-uri is given; artifacts/ beside it
lock             locked by every command that trains, and by those that delete what was trained
"""

from __future__ import annotations

import fcntl
import json
import os
import shlex
import shutil
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

from reports.words import shortened_list
from trainables.errors import HomeError, NalError, UserError
from trainables.locks import is_locked, lock_until_closed

if TYPE_CHECKING:
    from collections.abc import Iterator

DEFAULT_HOME = Path("runs")
"""Home folder that is used without the flag --home."""

LAYOUT_VERSION = "1"
"""Version of the layout of home folders; a home folder with another version is rejected."""

DISK_RESERVE_BYTES = 200e6
"""Free disk space that is reserved for databases, logs and caches, in bytes."""


STUDY_LOCK_PATIENCE_SECONDS = 0.5
"""Longest wait for the lock of a study, in seconds: `is_carried_out` holds it for a moment."""

LOCK_PATIENCE_SECONDS = 60.0
"""Longest wait for a command that removes runs from the home folder, in seconds."""


class StudyLockedError(HomeError):
    """Another process is carrying out a sweep of a study."""


class HomeInUseError(HomeError):
    """Another process trains in the home folder, or removes runs from it."""


def folder_bytes(folder: Path) -> int:
    """Return the space that the files in a folder occupy on the disk, in bytes; 0 if it is missing.

    Links are not followed.
    """
    total = 0
    with suppress(FileNotFoundError, NotADirectoryError), os.scandir(folder) as entries:
        for entry in entries:
            if entry.is_dir(follow_symlinks=False):
                total += folder_bytes(Path(entry.path))
            elif entry.is_file(follow_symlinks=False):
                with suppress(FileNotFoundError):
                    total += 512 * entry.stat(follow_symlinks=False).st_blocks
    return total


@dataclass(frozen=True, slots=True)
class Home:
    """A home folder, to which all results, databases and caches are written.

    Attributes:
        path: absolute path of the home folder.
    """

    path: Path

    @property
    def cache_dir(self) -> Path:
        """Folder for decoded datasets and measured costs."""
        return self.path / "cache"

    @property
    def data_dir(self) -> Path:
        """Default folder for datasets."""
        return self.path / "data"

    @property
    def search_database(self) -> Path:
        """SQLite database in which Optuna stores the hyperparameter searches."""
        return self.path / "optuna.db"

    @property
    def trash_dir(self) -> Path:
        """Folder to which removed sweeps and their runs are moved."""
        return self.path / "trash"

    @property
    def artifact_dir(self) -> Path:
        """Folder for MLflow's artifacts."""
        return self.path / "artifacts"

    @property
    def exists(self) -> bool:
        """Whether a command has created the home folder."""
        return (self.path / "format").exists()

    def artifact_dir_for(self, tracking_uri: str) -> Path | None:
        """Return the folder for MLflow's artifacts; None if a server determines their location.

        Args:
            tracking_uri: URI of the MLflow store.
        """
        return None if tracking_uri.startswith(("http://", "https://")) else self.artifact_dir

    def check_layout(self) -> None:
        """Check that this version of the program can use the home folder, if the folder exists.

        Raises:
            HomeError: if the home folder has the layout of another version.
        """
        try:
            version = (self.path / "format").read_text(errors="replace").strip()
        except OSError:
            version = "none" if any(self.path.glob("runs/*/spec.json")) else LAYOUT_VERSION
        if version != LAYOUT_VERSION:
            raise HomeError(
                f"the home folder {self.path} was written by another version of this program "
                f"(format {version}, expected {LAYOUT_VERSION}): choose another folder, or use the "
                "program version that wrote this one",
                "--home names the folder",
            )

    def create(self) -> None:
        """Create the home folder if it is missing, and write the version of its layout.

        Raises:
            HomeError: if the folder cannot be written, or has the layout of another version.
        """
        self.check_layout()
        temp_file = self.path / f".format.{os.getpid()}"
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            temp_file.write_text(f"{LAYOUT_VERSION}\n")
            temp_file.replace(self.path / "format")
        except OSError as error:
            raise HomeError(
                f"--home {self.path} cannot be written to ({error.strerror}): "
                "choose another folder with --home"
            ) from error

    def remove_incomplete_files(self) -> None:
        """Remove incomplete files of killed processes, unless another process uses the folder.

        Those in the folder of a run are removed when the run is continued.
        """
        with suppress(HomeError, OSError), self.not_in_use():
            for folder in self.path.iterdir():
                if not folder.is_dir() or folder.name in ("runs", "artifacts", "data", "trash"):
                    continue
                for path in folder.rglob(".*"):
                    if path.suffix in (".partial", ".new"):
                        path.unlink(missing_ok=True)

    @contextmanager
    def removed_if_refused(self) -> Iterator[None]:
        """Remove the home folder again if a command that has created it is refused.

        Nothing is removed from a folder that was not empty before. Of another one, only what
        `create` and the locks have written is removed, and folders that are empty.
        """
        had_folder = self.path.exists()
        was_empty = not had_folder or (self.path.is_dir() and not any(self.path.iterdir()))
        try:
            yield
        except NalError:
            if was_empty and self.exists:
                with suppress(HomeError), self.not_in_use():  # another process may use it by now
                    self._remove_if_unused(keeps_folder=had_folder)
            raise

    def _remove_if_unused(self, *, keeps_folder: bool) -> None:
        for path in (*self.path.glob("sweeps/*.lock"), *self.path.glob("cache/*.lock")):
            path.unlink(missing_ok=True)
        with suppress(OSError):  # a folder that is missing or not empty
            (self.path / "sweeps").rmdir()
        with suppress(OSError):
            self.cache_dir.rmdir()
        paths = list(self.path.iterdir())
        if {path.name for path in paths} - {"format", "lock"}:
            return
        for path in paths:
            path.unlink()
        if not keeps_folder:
            self.path.rmdir()

    def full_digest(self, prefix: str) -> str:
        """Return the complete digest of the recorded run whose digest begins with a prefix.

        Raises:
            UserError: if no run in the home folder has such a digest, or several have.
        """
        runs_folder = self.path / "runs"
        matches = sorted(
            path.name for path in runs_folder.glob("*") if path.name.startswith(prefix)
        )
        if not matches:
            raise UserError(
                f"no run in {runs_folder} has a digest that begins with '{prefix}': `python -m "
                f"orchestrator ui --home {shlex.quote(str(self.path))}` shows the recorded runs"
            )
        if len(matches) > 1:
            digests = shortened_list([digest[:12] for digest in matches], 5)
            raise UserError(
                f"the digests of {len(matches)} runs begin with '{prefix}' ({digests}): write more "
                "digits of the digest"
            )
        return matches[0]

    def require_space(self, needed_bytes: float) -> None:
        """Check that the disk of the home folder has enough free space for a sweep.

        Args:
            needed_bytes: size of the checkpoints that will be written, in bytes.

        Raises:
            HomeError: if the disk has too little free space.
        """
        existing_folder = next(path for path in (self.path, *self.path.parents) if path.exists())
        free_bytes = shutil.disk_usage(existing_folder).free
        required_bytes = needed_bytes + DISK_RESERVE_BYTES
        if free_bytes < required_bytes:
            raise HomeError(
                f"--home {self.path}: the disk has {free_bytes / 1e9:.1f} GB free and the runs "
                f"need about {required_bytes / 1e9:.1f} GB: free some space, or choose another "
                "folder with --home"
            )

    def _lock_path(self, study: str) -> Path:
        """Return the path of the file that a process locks while it carries out a study."""
        return self.path / "sweeps" / f"{study}.lock"

    def is_carried_out(self, study: str) -> bool:
        """Return whether a process is carrying out a sweep of a study in this home folder.

        Raises:
            HomeError: if the lock file cannot be read.
        """
        path = self._lock_path(study)
        try:
            return is_locked(path)
        except OSError as error:
            raise HomeError(f"cannot read {path}: {error.strerror}") from error

    @contextmanager
    def in_use(self) -> Iterator[None]:
        """Keep other processes from removing runs for the duration of the context.

        Any number of processes may use the home folder at the same time.

        Raises:
            HomeInUseError: if another process is removing runs, and does not end soon.
            HomeError: if the lock file cannot be written.
        """
        message = (
            f"another command is removing runs from {self.path}: type this command again when it "
            "has ended"
        )
        with self._lock(fcntl.LOCK_SH, LOCK_PATIENCE_SECONDS, message):
            yield

    @contextmanager
    def not_in_use(self) -> Iterator[None]:
        """Keep other processes from training in the home folder for the duration of the context.

        Raises:
            HomeInUseError: if another process is training there, or removing runs.
            HomeError: if the lock file cannot be written.
        """
        message = (
            f"a sweep or another command that trains is running in {self.path}: wait until it has "
            "ended, or end it"
        )
        with self._lock(fcntl.LOCK_EX, 0, message):
            yield

    @contextmanager
    def _lock(self, kind: int, patience_seconds: float, message: str) -> Iterator[None]:
        path = self.path / "lock"
        try:
            file = path.open("a")
        except OSError as error:
            raise HomeError(f"cannot write {path}: {error.strerror}") from error
        with file:
            try:
                lock_until_closed(file, patience_seconds, kind)
            except TimeoutError:
                raise HomeInUseError(message) from None
            yield

    @contextmanager
    def study_lock(self, study: str) -> Iterator[None]:
        """Lock a study in this home folder for the duration of the context.

        The lock prevents two processes from carrying out sweeps of one study at the same time, and
        other processes from removing runs.

        Args:
            study: name of the study.

        Raises:
            StudyLockedError: if another process has locked the study, which the message names.
            HomeInUseError: if another process is removing runs, and does not end soon.
            HomeError: if the lock file cannot be written.
        """
        lock_path = self._lock_path(study)
        try:
            lock_path.parent.mkdir(exist_ok=True)
            file = lock_path.open("a+")
        except OSError as error:
            raise HomeError(f"cannot write {lock_path}: {error.strerror}") from error
        with file as lock, self.in_use():
            try:
                lock_until_closed(lock, STUDY_LOCK_PATIENCE_SECONDS)
            except OSError:
                lock.seek(0)
                process_text = _describe_process(lock.read())
                raise StudyLockedError(
                    f"a sweep of '{study}' is already running in {self.path} ({process_text}): "
                    "wait until that process ends, stop it, or choose another folder with --home"
                ) from None
            lock.truncate(0)
            start_time = datetime.now().astimezone().strftime("%Y-%m-%d %H:%M:%S")
            lock.write(
                json.dumps({"pid": os.getpid(), "host": os.uname().nodename, "at": start_time})
            )
            lock.flush()
            yield


def _describe_process(lock_text: str) -> str:
    """Return which process holds a lock, according to the text of its lock file."""
    try:
        process = json.loads(lock_text)
        return f"process {process['pid']} on {process['host']}, since {process['at']}"
    except (ValueError, KeyError):
        return "the process has just started"
