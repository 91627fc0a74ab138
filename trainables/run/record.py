"""The record of a run: the folder `runs/<digest>/` in the home folder.

The record contains `spec.json`, the checkpoints and, after the run has ended, `result.json`. A run
that was stopped or ran out of memory can be continued; a run with any other result cannot.
"""

from __future__ import annotations

import hashlib
import json
import os
import zipfile
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from trainables.errors import HomeError, RecordError
from trainables.extensions import CodeFile, loaded_files
from trainables.lazy import torch
from trainables.locks import file_lock, is_locked
from trainables.run.result import RunResult
from trainables.run.spec import RunSpec

if TYPE_CHECKING:
    from collections.abc import Iterator


def write_atomically(path: Path, content: str | bytes) -> None:
    """Write a file atomically, so that the file is never incomplete, even after a power cut.

    Raises:
        HomeError: if the disk is full or the folder is not writable.
    """
    content_bytes = content.encode() if isinstance(content, str) else content
    partial_path = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        with partial_path.open("wb") as file:
            file.write(content_bytes)
            file.flush()
            os.fsync(file.fileno())
        partial_path.replace(path)
    except OSError as error:
        with suppress(OSError):
            partial_path.unlink()
        raise HomeError(f"cannot write {path}: {error.strerror}") from error


def write_once(path: Path, content: bytes) -> bytes:
    """Write a file if it does not exist yet, and return the content of the file.

    The folder of the file is created. If several processes write the file at the same time, the
    content of the first one stays.

    Returns:
        Content of the file on disk, which differs from `content` if the file existed before.

    Raises:
        HomeError: if the disk is full or the folder is not writable.
    """
    new_path = path.with_name(f".{path.name}.{os.getpid()}.new")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        if not path.exists():
            write_atomically(new_path, content)
            try:
                os.link(new_path, path)
            except FileExistsError:
                pass
            except OSError:  # a file system without hard links
                new_path.replace(path)
            new_path.unlink(missing_ok=True)
        return path.read_bytes()
    except OSError as error:
        raise HomeError(f"cannot write {path}: {error.strerror}") from error


def read_checkpoint(path: Path) -> dict[str, Any] | None:
    """Return the content of a checkpoint file, or None if the file is missing or damaged.

    The checksums in the file are verified, since `torch.load` does not detect flipped bits.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            if archive.testzip() is not None:
                return None
        state: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
    except Exception:  # noqa: BLE001 - a damaged file may raise any exception
        return None
    return state


CHECKSUM_KEY = "content_sha256"
"""Key under which a result file stores the SHA-256 of all its other entries."""


def _to_json(json_object: dict[str, Any]) -> str:
    """Return the JSON text of an object, with a checksum of its entries."""
    return json.dumps({**json_object, CHECKSUM_KEY: _content_digest(json_object)})


def _from_json(text: str) -> dict[str, Any]:
    """Return the object in a JSON text from `_to_json`, after verifying the checksum.

    Raises:
        ValueError: if the text is not JSON or does not match the checksum.
    """
    json_object = json.loads(text)
    if not isinstance(json_object, dict) or (
        json_object.pop(CHECKSUM_KEY, None) != _content_digest(json_object)
    ):
        raise ValueError("its content does not match its checksum")
    return json_object


def _content_digest(json_object: dict[str, Any]) -> str:
    # Unlike `canonical_json`, NaN is allowed.
    text = json.dumps(json_object, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()


class Record:
    """Record of one run: the folder `runs/<digest>/` in the home folder.

    Attributes:
        digest: digest of the run's spec.
        folder: path of the folder.
        checkpoint_path: path of the latest checkpoint.
        previous_checkpoint_path: path of the checkpoint before the latest.
        damaged_checkpoint_path: path of a checkpoint that could not be read.
        log_path: path of the log file, which the processes that train the run append to.
    """

    def __init__(self, home: Path, digest: str) -> None:
        self.digest = digest
        self.folder = home / "runs" / digest
        self.checkpoint_path = self.folder / "checkpoint.pt"
        self.previous_checkpoint_path = self.folder / "checkpoint.previous.pt"
        self.damaged_checkpoint_path = self.folder / "checkpoint.damaged.pt"
        self.log_path = self.folder / "log.txt"
        self._result_path = self.folder / "result.json"
        self._code_folder = self.folder / "code"
        self._standalone_path = self.folder / "standalone"
        self._cleaned_path = self.folder / "checkpoint.deleted"

    def read_result(self) -> RunResult | None:
        """Return the recorded result of the run, or None if the run has not ended.

        Raises:
            RecordError: if the result file is damaged or belongs to another run.
            HomeError: if the folder cannot be read.
        """
        try:
            result = RunResult.from_dict(_from_json(self._result_path.read_text()))
        except FileNotFoundError:
            return None
        except OSError as error:
            raise HomeError(f"cannot read {self._result_path}: {error.strerror}") from error
        except (RecordError, ValueError) as error:
            raise RecordError(
                f"{self._result_path} cannot be read ({error}): delete its folder to "
                "train the run again"
            ) from error
        if result.digest != self.digest:
            raise RecordError(
                f"{self._result_path} belongs to run {result.digest[:12]}: move it to the "
                "folder of that run"
            )
        return result

    def read_altered_result(self) -> tuple[RunResult | None, bool]:
        """Return the recorded result even if it was altered, and whether it was.

        Raises:
            RecordError: if the result file is not a result, or belongs to another run.
            HomeError: if the folder cannot be read.
        """
        try:
            return self.read_result(), False
        except RecordError as error:
            try:
                result = RunResult.from_dict(json.loads(self._result_path.read_text()))
                result.check_values()
            except Exception:  # noqa: BLE001 - a damaged file may raise any exception
                raise error from None
            if result.digest != self.digest:
                raise
            return result, True

    def result_time_ns(self) -> int | None:
        """Return when the result was written, in nanoseconds; None if the run has not ended.

        Raises:
            HomeError: if the folder cannot be read.
        """
        try:
            return self._result_path.stat().st_mtime_ns
        except FileNotFoundError:
            return None
        except OSError as error:
            raise HomeError(f"cannot read {self._result_path}: {error.strerror}") from error

    @property
    def is_claimed(self) -> bool:
        """Whether a process trains the run, or uses its record exclusively for another reason.

        Raises:
            HomeError: if the folder cannot be read.
        """
        try:
            return is_locked(self.folder / "lock")
        except OSError as error:
            raise HomeError(f"cannot read {self.folder}: {error.strerror}") from error

    @property
    def is_standalone(self) -> bool:
        """Whether a command has carried out the run by itself, not only as a part of sweeps."""
        return self._standalone_path.exists()

    def mark_as_standalone(self) -> None:
        """Mark the run as carried out by itself, so that it stays when its sweeps are removed.

        Raises:
            HomeError: if the folder cannot be written.
        """
        if not self.is_standalone:
            write_atomically(self._standalone_path, "")

    @property
    def is_cleaned(self) -> bool:
        """Whether the checkpoint of the run was deleted by `delete_checkpoints`."""
        return self._cleaned_path.exists() and not (
            self.checkpoint_path.exists() or self.previous_checkpoint_path.exists()
        )

    def delete_checkpoints(self) -> None:
        """Delete the checkpoints of the run, which has ended and must be locked by `claimed`.

        Raises:
            HomeError: if the folder cannot be written.
        """
        write_atomically(self._cleaned_path, "")
        try:
            self.damaged_checkpoint_path.unlink(missing_ok=True)
            self.previous_checkpoint_path.unlink(missing_ok=True)
            self.checkpoint_path.unlink(missing_ok=True)
        except OSError as error:
            raise HomeError(f"cannot delete {self.checkpoint_path}: {error.strerror}") from error

    @property
    def has_outcomes(self) -> bool:
        """Whether arrays that other runs use have been computed from the checkpoint of the run."""
        return any(self.folder.glob("*.npy"))

    def discard_if_cleaned(self) -> None:
        """Discard the result of a run whose checkpoint was deleted, since another run needs it.

        The run is then trained again, with the same result.

        Raises:
            HomeError: if the folder cannot be written, or a process is training the run.
        """
        if self.is_cleaned and not self.has_outcomes:
            with self.claimed(patience_seconds=0):
                self._result_path.unlink(missing_ok=True)

    def read_latest_checkpoint(self) -> dict[str, Any] | None:
        """Return the content of the latest undamaged checkpoint, or None if no such file exists."""
        return read_checkpoint(self.checkpoint_path) or read_checkpoint(
            self.previous_checkpoint_path
        )

    def recover_checkpoint(self) -> tuple[dict[str, Any] | None, bool]:
        """Return the content of the latest undamaged checkpoint, for a run that is locked.

        A damaged file is renamed, so that it does not replace the one before it when the next
        checkpoint is written.

        Returns:
            The content, or None if no such file exists; and whether a damaged file was renamed.

        Raises:
            HomeError: if the folder cannot be written.
        """
        is_damaged = False
        for path in (self.checkpoint_path, self.previous_checkpoint_path):
            state = read_checkpoint(path)
            if state is not None:
                return state, is_damaged
            try:
                if path.exists():
                    path.replace(self.damaged_checkpoint_path)
                    is_damaged = True
            except OSError as error:
                raise HomeError(f"cannot rename {path}: {error.strerror}") from error
        return None, is_damaged

    def read_spec(self) -> RunSpec | None:
        """Return the recorded spec of the run, or None if the run was never started.

        Raises:
            RecordError: if the spec file is damaged or was written by another version.
            HomeError: if the folder cannot be read.
        """
        path = self.folder / "spec.json"
        try:
            return RunSpec.from_dict(json.loads(path.read_text()))
        except FileNotFoundError:
            return None
        except OSError as error:
            raise HomeError(f"cannot read {path}: {error.strerror}") from error
        except (RecordError, ValueError) as error:
            raise RecordError(f"{path} cannot be read: {error}") from error

    def record_start(self, spec: RunSpec) -> int:
        """Record that the run is started or continued: write the spec and count the start.

        Incomplete files of killed processes are removed, so the run must be locked by `claimed`.

        Returns:
            Number of times that the run has been started, including this start.

        Raises:
            HomeError: if the folder cannot be written.
        """
        for partial_path in self.folder.glob(".*.partial"):
            partial_path.unlink(missing_ok=True)
        write_atomically(self.folder / "spec.json", json.dumps(spec.to_dict(), indent=1))
        path = self.folder / "attempts"
        old_count = path.read_text() if path.exists() else ""
        attempts = 1 + (int(old_count) if old_count.isdecimal() else 0)
        write_atomically(path, str(attempts))
        return attempts

    def store_code(self, spec: RunSpec) -> None:
        """Copy the source files of the run's extensions to `code/`, each named by its SHA-256.

        Extensions from installed packages are not copied, since the record contains the versions of
        all packages.

        Raises:
            HomeError: if the folder cannot be written.
        """
        for file in loaded_files():
            if file.sha256 in spec.code.values():
                self.store_code_file(file)

    def store_code_file(self, file: CodeFile) -> None:
        """Copy a source file of an extension to `code/`, named by its SHA-256.

        Raises:
            HomeError: if the folder cannot be written.
        """
        write_once(self._code_folder / f"{file.sha256}.py", file.content)

    def read_code_files(self) -> list[CodeFile]:
        """Return the copied source files of extensions, after checking their SHA-256.

        Raises:
            RecordError: if a file has been changed since it was stored.
        """
        files = [
            CodeFile(str(path), path.read_bytes())
            for path in sorted(self._code_folder.glob("*.py"))
        ]
        for file in files:
            if Path(file.path).stem != file.sha256:
                raise RecordError(f"{file.path} has been changed: its SHA-256 is {file.sha256}")
        return files

    def write_result(self, result: RunResult) -> None:
        """Write the result of the run; if the result is final, delete the previous checkpoint.

        Raises:
            HomeError: if the folder cannot be written.
        """
        write_atomically(self._result_path, _to_json(result.to_dict()))
        if result.is_final:
            self.previous_checkpoint_path.unlink(missing_ok=True)

    @contextmanager
    def claimed(self, patience_seconds: float = 60.0) -> Iterator[None]:
        """Lock the run for the duration of the context, so that no other process trains it.

        Args:
            patience_seconds: longest wait, in seconds, for another process to end, such as a worker
                of a killed sweep.

        Raises:
            HomeError: if the folder cannot be written, or another process still holds the lock.
        """
        with ExitStack() as stack:
            try:
                self.folder.mkdir(parents=True, exist_ok=True)
                stack.enter_context(file_lock(self.folder / "lock", patience_seconds))
            except TimeoutError:
                raise HomeError(
                    f"run {self.digest[:12]} is being trained by another process: "
                    "wait until that process has ended, or end it"
                ) from None
            except OSError as error:
                raise HomeError(f"cannot write {self.folder}: {error.strerror}") from error
            yield
