"""Temporary folders of processes, which are removed even if the process was killed."""

from __future__ import annotations

import os
import shutil
import tempfile
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

TEMP_FOLDER_PREFIX = "nal-"
"""Start of the names of temporary folders, before the process ID."""


def process_temp_dir() -> tempfile.TemporaryDirectory[str]:
    """Create a temporary folder for this process, and remove those of killed processes.

    The folder is in `/tmp` for a short path, since Ray creates sockets in the folder, whose paths
    are limited to 107 bytes.
    """
    remove_stale_temp_dirs()
    prefix = f"{TEMP_FOLDER_PREFIX}{os.getpid()}-"
    return tempfile.TemporaryDirectory(
        prefix=prefix, dir=_parent_folder(), ignore_cleanup_errors=True
    )


@contextmanager
def temp_files_of_process() -> Iterator[None]:
    """Let `tempfile` create all files in a temporary folder of this process, within the context.

    MLflow creates folders for the artifacts of every run. A killed process would leave them.
    """
    previous_folder = tempfile.tempdir
    with process_temp_dir() as folder:
        tempfile.tempdir = folder
        try:
            yield
        finally:
            tempfile.tempdir = previous_folder


def remove_stale_temp_dirs() -> None:
    """Remove the temporary folders of processes that were killed."""
    for folder in _parent_folder().glob(f"{TEMP_FOLDER_PREFIX}*-*"):
        pid = folder.name.removeprefix(TEMP_FOLDER_PREFIX).split("-")[0]
        if pid.isdecimal() and not _process_exists(int(pid)):
            shutil.rmtree(folder, ignore_errors=True)


def _parent_folder() -> Path:
    tmp = Path("/tmp")  # noqa: S108 - private folders are made in it
    return tmp if tmp.is_dir() else Path(tempfile.gettempdir())


def _process_exists(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
