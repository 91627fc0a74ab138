"""The `logs` command, which prints the log file of a run."""

from __future__ import annotations

import sys
import time
from typing import TYPE_CHECKING

from reports.words import printable
from trainables.errors import HomeError
from trainables.run.record import Record

if TYPE_CHECKING:
    from orchestrator.home import Home

POLL_SECONDS = 0.5
"""Time between two looks at a log that is followed, in seconds."""


def run(home: Home, prefix: str, *, follow: bool) -> int:
    """Print the log file of a run, without control characters.

    Args:
        home: home folder.
        prefix: beginning of the run's digest.
        follow: whether to go on while a process trains the run.

    Returns:
        The exit code, 0.

    Raises:
        UserError: if no run has such a digest, or several have.
        HomeError: if the run has no log file, or the file cannot be read.
    """
    record = Record(home.path, home.full_digest(prefix))
    offset = 0
    while True:
        is_trained = follow and record.is_claimed
        offset += _print_from(record, offset)
        if not is_trained:
            return 0
        time.sleep(POLL_SECONDS)


def _print_from(record: Record, offset: int) -> int:
    """Print the complete lines of a log file after an offset, and return their size in bytes.

    Raises:
        HomeError: if there is no log file, or it cannot be read.
    """
    try:
        with record.log_path.open("rb") as file:
            file.seek(offset)
            content = file.read()
    except FileNotFoundError:
        raise HomeError(
            f"run {record.digest[:12]} has no log: it was trained by a version without logs"
        ) from None
    except OSError as error:
        raise HomeError(f"cannot read {record.log_path}: {error.strerror}") from error
    content = content[: content.rfind(b"\n") + 1]
    for line in content.decode(errors="replace").splitlines():
        sys.stdout.write(f"{printable(line)}\n")
    sys.stdout.flush()
    return len(content)
