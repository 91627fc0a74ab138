"""The record of a run: the folder `runs/<digest>/` under the home.

It holds `spec.json`, the checkpoints and, once the run has ended, `result.json`. A final result
means that nothing is left to train; a run that was stopped or ran out of memory may be continued.
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
from trainables.locks import locked
from trainables.run.result import RunResult
from trainables.run.spec import RunSpec

if TYPE_CHECKING:
    from collections.abc import Iterator


def write_atomically(path: Path, content: str | bytes) -> None:
    """Write a file atomically, so that readers never find half of it, even after a power cut.

    Raises:
        HomeError: if the disk is full or the folder is not writable.
    """
    data = content.encode() if isinstance(content, str) else content
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        with partial.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        partial.replace(path)
    except OSError as error:
        with suppress(OSError):
            partial.unlink()
        raise HomeError(f"cannot write {path}: {error.strerror}") from error


def write_once(path: Path, content: bytes) -> bytes:
    """Write a file and its folder unless the file exists.

    If several processes write the file at the same time, one of them succeeds.

    Returns:
        Content of the file, which may be that of an earlier write.

    Raises:
        HomeError: if the disk is full or the folder is not writable.
    """
    partial = path.with_name(f".{path.name}.{os.getpid()}.new")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        if not path.exists():
            write_atomically(partial, content)
            try:
                os.link(partial, path)
            except FileExistsError:
                pass
            except OSError:  # a file system without hard links
                partial.replace(path)
            partial.unlink(missing_ok=True)
        return path.read_bytes()
    except OSError as error:
        raise HomeError(f"cannot write {path}: {error.strerror}") from error


def read_checkpoint(path: Path) -> dict[str, Any] | None:
    """Return the content of a checkpoint, or None if it is missing or damaged.

    The checksums are verified first, since `torch.load` does not detect flipped bits.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            if archive.testzip() is not None:
                return None
        state: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
    except Exception:  # noqa: BLE001 - a damaged file may raise any exception
        return None
    return state


CONTENT = "content_sha256"
"""Key of the digest of all other entries of a result file."""


def _to_json(plain: dict[str, Any]) -> str:
    """Return JSON values as text, with the digest of their content."""
    return json.dumps({**plain, CONTENT: _content_digest(plain)})


def _from_json(text: str) -> dict[str, Any]:
    """Return the JSON values that `_to_json` wrote.

    Raises:
        ValueError: if the text is not JSON or does not match its digest.
    """
    plain = json.loads(text)
    if not isinstance(plain, dict) or plain.pop(CONTENT, None) != _content_digest(plain):
        raise ValueError("its content does not match its checksum")
    return plain


def _content_digest(plain: dict[str, Any]) -> str:
    # Unlike `canonical_json`, NaN is allowed.
    text = json.dumps(plain, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()


class Record:
    """Folder of one run under the home.

    Attributes:
        digest: digest of the run's spec.
        folder: path of the folder.
        checkpoint: path of the latest checkpoint.
        previous_checkpoint: path of the checkpoint before the latest.
    """

    def __init__(self, home: Path, digest: str) -> None:
        self.digest = digest
        self.folder = home / "runs" / digest
        self.checkpoint = self.folder / "checkpoint.pt"
        self.previous_checkpoint = self.folder / "checkpoint.previous.pt"
        self._result = self.folder / "result.json"
        self._code = self.folder / "code"

    def result(self) -> RunResult | None:
        """Return the result, or None if the run has not ended.

        Raises:
            RecordError: if the file is damaged or belongs to another run.
            HomeError: if the folder cannot be read.
        """
        try:
            result = RunResult.from_dict(_from_json(self._result.read_text()))
        except FileNotFoundError:
            return None
        except OSError as error:
            raise HomeError(f"cannot read {self._result}: {error.strerror}") from error
        except (RecordError, ValueError) as error:
            raise RecordError(
                f"{self._result} cannot be read ({error}): delete its folder to train the run again"
            ) from error
        if result.digest != self.digest:
            raise RecordError(f"{self._result} holds run {result.digest[:12]}: move it back")
        return result

    def checkpoint_state(self) -> dict[str, Any] | None:
        """Return the latest checkpoint that is not damaged, or None if there is none."""
        return read_checkpoint(self.checkpoint) or read_checkpoint(self.previous_checkpoint)

    def spec(self) -> RunSpec | None:
        """Return the spec, or None if the run was never started.

        Raises:
            RecordError: if the file is damaged or of another version.
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

    def begin(self, spec: RunSpec) -> int:
        """Write the spec and return the number of times that the run was started, with this one.

        The run must be claimed, since partial files of killed processes are removed.

        Raises:
            HomeError: if the folder cannot be written.
        """
        for partial in self.folder.glob(".*.partial"):
            partial.unlink(missing_ok=True)
        write_atomically(self.folder / "spec.json", json.dumps(spec.to_dict(), indent=1))
        path = self.folder / "attempts"
        previous = path.read_text() if path.exists() else ""
        attempts = 1 + (int(previous) if previous.isdecimal() else 0)
        write_atomically(path, str(attempts))
        return attempts

    def keep_code(self, spec: RunSpec) -> None:
        """Write the files that a run's extensions come from into `code/`, by their SHA-256.

        Code of installed packages is not copied: the record names their versions.

        Raises:
            HomeError: if the folder cannot be written.
        """
        for file in loaded_files():
            if file.sha256 in spec.code.values():
                write_once(self._code / f"{file.sha256}.py", file.content)

    def code(self) -> list[CodeFile]:
        """Return the files in `code/`, each of them unchanged since it was written.

        Raises:
            RecordError: if one has been changed.
        """
        files = [CodeFile(str(path), path.read_bytes()) for path in sorted(self._code.glob("*.py"))]
        for file in files:
            if Path(file.path).stem != file.sha256:
                raise RecordError(f"{file.path} has been changed: its SHA-256 is {file.sha256}")
        return files

    def finish(self, result: RunResult) -> None:
        """Write the result; if it is final, delete the previous checkpoint.

        Raises:
            HomeError: if the folder cannot be written.
        """
        write_atomically(self._result, _to_json(result.to_dict()))
        if result.final:
            self.previous_checkpoint.unlink(missing_ok=True)

    @contextmanager
    def claimed(self, patience_seconds: float = 60.0) -> Iterator[None]:
        """Lock the run for the duration of the context, so that no other process trains it.

        Args:
            patience_seconds: longest wait for another process, such as a worker of a killed sweep,
                which may run for some more seconds.

        Raises:
            HomeError: if the folder cannot be written, or another process still holds the lock.
        """
        with ExitStack() as stack:
            try:
                self.folder.mkdir(parents=True, exist_ok=True)
                stack.enter_context(locked(self.folder / "lock", patience_seconds))
            except TimeoutError:
                raise HomeError(
                    f"run {self.digest[:12]} is being trained by another process: "
                    "wait for it, or end it"
                ) from None
            except OSError as error:
                raise HomeError(f"cannot write {self.folder}: {error.strerror}") from error
            yield
