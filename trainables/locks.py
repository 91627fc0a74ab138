"""Exclusive locks on files: one process holds a lock, at the longest until the process ends."""

from __future__ import annotations

import fcntl
import math
import time
from contextlib import contextmanager
from typing import IO, TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

POLL_SECONDS = 0.2
"""Time between two attempts to lock a file, in seconds."""


def lock_until_closed(
    file: IO[Any], patience_seconds: float = math.inf, kind: int = fcntl.LOCK_EX
) -> None:
    """Lock an open file until it is closed.

    Args:
        file: file object that is open for writing.
        patience_seconds: longest wait for a process that holds the lock, in seconds; 0 to try once.
        kind: `fcntl.LOCK_EX` for a lock that one process holds, `fcntl.LOCK_SH` for one that it
            shares with other processes that ask for the same kind.

    Raises:
        TimeoutError: if another process still holds the lock after `patience_seconds`.
        OSError: if the file system does not support locks.
    """
    if patience_seconds == math.inf:
        fcntl.flock(file, kind)
        return
    deadline = time.monotonic() + patience_seconds
    while True:
        try:
            fcntl.flock(file, kind | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() >= deadline:
                raise TimeoutError(f"{file.name} is locked by another process") from None
            time.sleep(POLL_SECONDS)
        else:
            return


def is_locked(path: Path) -> bool:
    """Return whether a process holds the lock on a file; a missing file is not locked.

    Raises:
        OSError: if the file cannot be opened, or the file system does not support locks.
    """
    try:
        with path.open() as file:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except FileNotFoundError:
        return False
    except BlockingIOError:
        return True
    return False


@contextmanager
def file_lock(path: Path, patience_seconds: float = math.inf) -> Iterator[None]:
    """Lock a file for the duration of the context; a missing file is created.

    Args:
        path: path of the file.
        patience_seconds: longest wait for a process that holds the lock, in seconds; 0 to try once.

    Raises:
        TimeoutError: if another process still holds the lock after `patience_seconds`.
        OSError: if the file cannot be opened.
    """
    with path.open("w") as file:
        lock_until_closed(file, patience_seconds)
        yield
