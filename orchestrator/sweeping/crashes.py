"""Detection of a study whose runs all crash, from the first runs that end."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from trainables.errors import NalError

if TYPE_CHECKING:
    from pathlib import Path

CRASH_LIMIT = 3
"""Number of runs that stop a sweep if they are the first to end and all crash in the same way."""


class CrashDetector:
    """Detector of the same crash in each of the first `CRASH_LIMIT` runs of a command.

    A run that diverges, lacks memory or loses its worker is no crash.
    """

    def __init__(self) -> None:
        self._kinds: list[str] = []

    def add(self, reason: str, log_path: Path) -> None:
        """Add a run that has ended.

        Args:
            reason: reason why the run could not be carried out, in one line, and after a crash the
                lines of its traceback; "" if it was carried out.
            log_path: path of the log of the run.

        Raises:
            NalError: if this run and all earlier ones have crashed in the same way, and they are
                `CRASH_LIMIT` runs.
        """
        if len(self._kinds) == CRASH_LIMIT:
            return
        description, _, traceback_lines = reason.partition("\n")
        self._kinds.append(_kind_of(description) if traceback_lines else "")
        if len(self._kinds) == CRASH_LIMIT and len(set(self._kinds)) == 1 and self._kinds[0]:
            raise NalError(
                f"the first {CRASH_LIMIT} runs have crashed in the same way, so the sweep was "
                f"stopped: {description}: remove the cause and type the same command again; the "
                f"log of the last of these runs is {log_path}\n{traceback_lines}"
            )


def _kind_of(description: str) -> str:
    """Return a crash's type, message without numbers, addresses and hashes, file and line.

    Args:
        description: "TYPE: MESSAGE (FILE:LINE)".
    """
    error, _, location = description.rpartition(" (")
    return re.sub(r"0x[0-9a-f]+|\b[0-9a-f]{8,}\b|\d+", "", error) + location
