"""Log file of a run: attempts to train it, warnings of libraries, and tracebacks.

Nothing in this module changes a result, and no run fails because its log cannot be written.
"""

from __future__ import annotations

import logging
import os
import traceback
import warnings
from contextlib import ExitStack, suppress
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Self, TextIO

from trainables.errors import NalError

if TYPE_CHECKING:
    from pathlib import Path

MAX_FILE_BYTES = 1_000_000
"""Size of a log file, in bytes, above which a new attempt drops its older half."""
MAX_ATTEMPT_BYTES = 200_000
"""Size of the warnings of one attempt, in bytes, above which it writes no more of them."""
MAX_MESSAGE_LENGTH = 20_000
"""Largest length of one message, in characters; of longer ones, the middle is left out."""


class RunLog:
    """Log file of a run, open during one attempt to train it (context manager).

    While it is open, it receives the warnings of the process (module `warnings`) and the records
    of Python's `logging` from level WARNING on, each once. Warnings are then not printed. Each
    message is appended by a write of its own, so that what was written survives the process.
    """

    def __init__(self, path: Path) -> None:
        """Create the log of one attempt.

        Args:
            path: path of the log file, in the folder of the run; earlier attempts stay in it.
        """
        self._path = path
        self._seen: set[str] = set()
        self._warning_bytes = 0
        self._is_open = False
        self._show_warning = warnings.showwarning
        self._stack = ExitStack()

    def __enter__(self) -> Self:
        self._shorten()
        # Python then also forgets which warnings it has shown in earlier runs.
        self._stack.enter_context(warnings.catch_warnings())
        self._show_warning = warnings.showwarning
        warnings.showwarning = self._write_warning
        self._is_open = True
        handler = LogHandler(self)
        root = logging.getLogger()
        root.addHandler(handler)
        self._stack.callback(root.removeHandler, handler)
        return self

    def __exit__(self, *_: object) -> None:
        self._is_open = False
        filters = warnings.filters  # those of libraries that were imported meanwhile, too
        self._stack.close()
        warnings.filters = filters

    def write(self, message: str) -> None:
        """Append a message with the current time; nothing happens if the file cannot be written.

        Args:
            message: text of one line or more.
        """
        self._append(message)

    def _append(self, message: str) -> int:
        """Append a message as `write` does, and return its size in the file, in bytes."""
        if len(message) > MAX_MESSAGE_LENGTH:
            half = MAX_MESSAGE_LENGTH // 2
            message = f"{message[:half]}\n[...]\n{message[-half:]}"
        first_line, *lines = message.rstrip().splitlines() or [""]
        time = datetime.now(UTC).astimezone().isoformat(sep=" ", timespec="seconds")
        text = "".join(f"{line}\n" for line in (f"{time} {first_line}", *(f"  {x}" for x in lines)))
        content = text.encode(errors="backslashreplace")
        with suppress(OSError), self._path.open("ab") as file:
            file.write(content)
        return len(content)

    def write_warning(self, message: str) -> None:
        """Append a warning, unless it was written before or many others were.

        Args:
            message: text of one line or more.
        """
        if message in self._seen or self._warning_bytes > MAX_ATTEMPT_BYTES:
            return
        self._seen.add(message)
        self._warning_bytes += self._append(message)
        if self._warning_bytes > MAX_ATTEMPT_BYTES:
            self.write("too many warnings: later ones of this attempt are left out")

    def write_exception(self, error: BaseException) -> None:
        """Append an exception that ends the attempt: its traceback, or the line of a `NalError`.

        Args:
            error: the exception.
        """
        if isinstance(error, NalError):
            self.write(f"error: {error}")
        elif isinstance(error, Exception):
            self.write(f"error: {''.join(traceback.format_exception(error))}")
        else:
            self.write(f"interrupted: {type(error).__name__}")

    def _write_warning(
        self,
        message: Warning | str,
        category: type[Warning],
        filename: str,
        lineno: int,
        file: TextIO | None = None,
        line: str | None = None,
    ) -> None:
        """Append a warning, in place of `warnings.showwarning`.

        Another thread that ends its `warnings.catch_warnings` may put this function back after the
        log was closed.
        """
        if not self._is_open:
            self._show_warning(message, category, filename, lineno, file, line)
            return
        self.write_warning(f"warning: {category.__name__}: {message} ({filename}:{lineno})")

    def _shorten(self) -> None:
        """Drop the older half of a large file, from a line on."""
        with suppress(OSError):
            if self._path.stat().st_size <= MAX_FILE_BYTES:
                return
            content = self._path.read_bytes()[-MAX_FILE_BYTES // 2 :]
            shortened_path = self._path.with_name(f".{self._path.name}.{os.getpid()}.partial")
            shortened_path.write_bytes(content.partition(b"\n")[2])
            shortened_path.replace(self._path)


class LogHandler(logging.Handler):
    """Handler of Python's `logging` that passes records to the log of a run."""

    def __init__(self, log: RunLog) -> None:
        super().__init__(logging.WARNING)
        self._log = log

    def emit(self, record: logging.LogRecord) -> None:
        """Append a record to the log of the run."""
        with suppress(Exception):  # the arguments of a record may not fit its format
            text = self.format(record)
            self._log.write_warning(f"{record.levelname.lower()}: {record.name}: {text}")
