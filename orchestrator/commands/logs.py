"""The `logs` command, which prints the log file of a run."""

from __future__ import annotations

import os
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

REMEMBERED_BYTES = 4000
"""Size of the end of what was read that is looked for in a shortened log, in bytes."""


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
    reader = LogReader(record)
    while True:
        is_trained = follow and record.is_claimed
        for line in reader.read_new_lines():
            sys.stdout.write(f"{printable(line)}\n")
        sys.stdout.flush()
        if not is_trained:
            return 0
        time.sleep(POLL_SECONDS)


class LogReader:
    """Reader of the log of a run, whose older half an attempt drops if the file is large."""

    def __init__(self, record: Record) -> None:
        """Create the reader.

        Args:
            record: record of the run.
        """
        self._record = record
        self._file_id = 0
        self._offset = 0
        self._last_content = b""  # the end of what was read

    def read_new_lines(self) -> list[str]:
        """Return the complete lines that were appended since the last call.

        Raises:
            HomeError: if there is no log file, or it cannot be read.
        """
        path = self._record.log_path
        try:
            with path.open("rb") as file:
                file_id = os.fstat(file.fileno()).st_ino
                if file_id != self._file_id:  # a shortened log is another file
                    self._file_id, self._offset = file_id, self._offset_in(file.read())
                file.seek(self._offset)
                content = file.read()
        except FileNotFoundError:
            raise HomeError(
                f"run {self._record.digest[:12]} has no log: it was trained by a version without "
                "logs"
            ) from None
        except OSError as error:
            raise HomeError(f"cannot read {path}: {error.strerror}") from error
        content = content[: content.rfind(b"\n") + 1]
        self._offset += len(content)
        self._last_content = (self._last_content + content)[-REMEMBERED_BYTES:]
        return content.decode(errors="replace").splitlines()

    def _offset_in(self, content: bytes) -> int:
        """Return the offset in a shortened log up to which it was read before; 0 if none was."""
        index = content.rfind(self._last_content) if self._last_content else -1
        return 0 if index < 0 else index + len(self._last_content)
