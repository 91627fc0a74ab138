"""The user's permission to execute a code file, asked for once per content (SHA-256) of the file.

Permissions are stored in the user's own state folder, because the home folder of a sweep and the
folder of a study may come from somebody else.
"""

from __future__ import annotations

import os
import sys
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from rich.text import Text

from orchestrator.output import CommandConsole
from search_spaces.references import StudyExtensions
from trainables.extensions import load_file

if TYPE_CHECKING:
    from collections.abc import Collection

    from trainables.extensions import CodeFile, Kind
    from trainables.run.record import Record


def permission_folder() -> Path:
    """Return the folder that stores which code files the user has allowed.

    For each allowed code file, the folder contains an empty file named by the SHA-256 of the code.
    """
    state_home = Path(os.environ.get("XDG_STATE_HOME", ""))
    if not state_home.is_absolute():  # the XDG specification ignores relative paths
        state_home = Path.home() / ".local" / "state"
    return state_home / "nal-orchestrator" / "allowed-code"


def _escape_unprintable(path: str) -> str:
    """Return a path with its control characters escaped, so that they cannot forge the output."""
    return "".join(
        char if char.isprintable() else char.encode("unicode_escape").decode() for char in path
    )


def load_reference(kind: Kind, reference: str, folder: Path | None, *, allow_code: bool) -> str:
    """Load the code that a reference on the command line refers to, if the user allows it.

    Args:
        kind: kind of the extension.
        reference: name of a method, dataset and so on, or `FILE.py:CLASS`.
        folder: folder that the path in the reference is relative to, and must not leave; None for
            the working directory.
        allow_code: whether the file may be executed without asking the user.

    Returns:
        The name of the extension; any other name unchanged.

    Raises:
        CodeError: if the user has not allowed the code file, or the file cannot be executed.
    """
    extensions = StudyExtensions(partial(is_allowed, allow_code=allow_code))
    if folder is not None:
        extensions.enter_folder(folder)
    return extensions.load_reference(kind, reference)


def is_allowed(file: CodeFile, *, allow_code: bool = False) -> bool:
    """Return whether the user allows a code file to be executed.

    A file with the same content may have been allowed before. Otherwise the user is asked if the
    input is a terminal, and the file is refused if not.

    Args:
        file: code file to execute.
        allow_code: whether the flag `--allow-code` allows the file without asking.
    """
    permission_file = permission_folder() / file.sha256
    with suppress(PermissionError):
        if permission_file.exists():
            return True
    if not allow_code:
        if not (sys.stdin.isatty() and sys.stderr.isatty()):
            return False
        console = CommandConsole(stderr=True)
        console.print("This command needs to execute a file that you have not allowed yet:\n")
        console.print(
            Text(f"    {_escape_unprintable(file.path)}\n    SHA-256 {file.sha256}\n"),
            soft_wrap=True,
        )
        try:
            answer = console.input("The file can do whatever you can do. Execute the file? [y/N] ")
        except EOFError:
            answer = ""
        if answer.strip().lower() not in ("y", "yes"):
            return False
    try:
        permission_file.parent.mkdir(parents=True, exist_ok=True)
        permission_file.touch()
    except OSError as error:
        CommandConsole(stderr=True).print(
            f"the permission to execute {file.path} cannot be saved in {permission_file.parent} "
            f"({error.strerror}): you will be asked again next time",
            soft_wrap=True,
        )
    return True


def load_recorded_code(record: Record, sha256s: Collection[str], *, allow_code: bool) -> None:
    """Execute code files that the record of a run contains, if the user allows it.

    The arguments and errors are those of `allowed_recorded_code`.

    Raises:
        CodeError: if a file cannot be executed.
    """
    for file in allowed_recorded_code(record, sha256s, allow_code=allow_code):
        load_file(file)


def allowed_recorded_code(
    record: Record, sha256s: Collection[str], *, allow_code: bool
) -> list[CodeFile]:
    """Return code files that the record of a run contains, if the user allows their execution.

    Args:
        record: record of the run.
        sha256s: SHA-256 of the files to execute. Installed packages are not in the record.
        allow_code: whether the files may be executed without asking the user.

    Raises:
        CodeError: if the user has not allowed a file.
        RecordError: if a file has been changed since it was recorded.
    """
    files = [file for file in record.read_code_files() if file.sha256 in sha256s]
    for file in files:
        if not is_allowed(file, allow_code=allow_code):
            raise file.not_allowed_error()
    return files
