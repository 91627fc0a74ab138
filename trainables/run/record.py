"""The one truth per run: a folder `runs/<digest>/` under the home.

It holds `spec.json`, the checkpoints while it trains, and `result.json`, renamed into place when
it ended: a result that is final means that nothing is left to train; one of a run that was stopped
or lacked memory, that it may be continued.
"""

from __future__ import annotations

import hashlib
import json
import os
import zipfile
from contextlib import ExitStack, contextmanager, suppress
from typing import TYPE_CHECKING, Any

from trainables.errors import HomeError, RecordError
from trainables.locks import locked
from trainables.run.result import RunResult
from trainables.run.spec import RunSpec

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


def write_atomically(path: Path, content: str | bytes) -> None:
    """Write a file that is seen whole or not at all, also after a power cut.

    Raises:
        HomeError: the disk is full or the folder not writable.
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
    """Write a file unless there is one, and its folder where that is missing.

    Of several processes that write at once, one does.

    Returns:
        What the file holds.

    Raises:
        HomeError: the disk is full or the folder not writable.
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
    """Read a checkpoint; None where there is none, or one that the disk has damaged.

    The checksums are compared first: `torch.load` itself would take flipped bits for weights.
    """
    import torch

    try:
        with zipfile.ZipFile(path) as archive:
            if archive.testzip() is not None:
                return None
        state: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
    except Exception:  # noqa: BLE001 - a damaged file raises anything; the one before it serves
        return None
    return state


CONTENT = "content_sha256"
"""Key of a record's digest of all else that it holds."""


def _sealed(plain: dict[str, Any]) -> str:
    """Write a record as JSON, with the digest of its content."""
    return json.dumps({**plain, CONTENT: _content_digest(plain)})


def _opened(text: str) -> dict[str, Any]:
    """Read what `_sealed` wrote.

    Raises:
        ValueError: it is no JSON, or its content is not what was written.
    """
    plain = json.loads(text)
    if not isinstance(plain, dict) or plain.pop(CONTENT, None) != _content_digest(plain):
        raise ValueError("its content is not what was recorded")
    return plain


def _content_digest(plain: dict[str, Any]) -> str:
    # Unlike a spec, a record may hold a NaN.
    text = json.dumps(plain, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()


class Record:
    """The folder of one run.

    Attributes:
        digest: of its spec.
        folder: where it is.
        checkpoint: the latest one.
        previous_checkpoint: the one before the latest.
    """

    def __init__(self, home: Path, digest: str) -> None:
        self.digest = digest
        self.folder = home / "runs" / digest
        self.checkpoint = self.folder / "checkpoint.pt"
        self.previous_checkpoint = self.folder / "checkpoint.previous.pt"
        self._result = self.folder / "result.json"

    def result(self) -> RunResult | None:
        """Read the result; None if the run is not finished.

        Raises:
            RecordError: the file is damaged or belongs to another run.
            HomeError: the folder cannot be read.
        """
        try:
            result = RunResult.from_dict(_opened(self._result.read_text()))
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
        """Read the latest checkpoint that can be read; None if there is none."""
        return read_checkpoint(self.checkpoint) or read_checkpoint(self.previous_checkpoint)

    def spec(self) -> RunSpec | None:
        """Read the spec; None if the run was never begun.

        Raises:
            RecordError: the file is damaged or of another version.
            HomeError: the folder cannot be read.
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
        """Note that a process begins or goes on with the run; return how many have, with this one.

        The run must be claimed: what killed processes left half-written is removed.

        Raises:
            HomeError: the folder cannot be written.
        """
        for remains in self.folder.glob(".*.partial"):
            remains.unlink(missing_ok=True)
        write_atomically(self.folder / "spec.json", json.dumps(spec.to_dict(), indent=1))
        path = self.folder / "attempts"
        before = path.read_text() if path.exists() else ""
        attempts = 1 + (int(before) if before.isdecimal() else 0)
        write_atomically(path, str(attempts))
        return attempts

    def finish(self, result: RunResult) -> None:
        """Rename the result into place; after the last epoch one checkpoint is enough.

        Raises:
            HomeError: the folder cannot be written.
        """
        write_atomically(self._result, _sealed(result.to_dict()))
        if result.final:
            self.previous_checkpoint.unlink(missing_ok=True)

    @contextmanager
    def claimed(self, patience_seconds: float = 60.0) -> Iterator[None]:
        """Hold the run while working on it, so that two processes never train it at once.

        A worker of a killed sweep may live on for some seconds: wait for it.

        Raises:
            HomeError: the folder cannot be written, or another process still holds it in the end.
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
