"""The user's permission to execute code files that a study names, given once for each SHA-256.

Permissions are stored in the user's own state folder. The home folder of a sweep and the folder of
a study are no safe place, since they may come from somebody else.
"""

from __future__ import annotations

import os
import sys
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console
from rich.text import Text

if TYPE_CHECKING:
    from trainables.extensions import CodeFile


def allowed_folder() -> Path:
    """Return the folder of permissions.

    It contains an empty file for each code file that the user has allowed, named by its SHA-256.
    """
    state_home = Path(os.environ.get("XDG_STATE_HOME", ""))
    if not state_home.is_absolute():  # to be ignored by the XDG specification
        state_home = Path.home() / ".local" / "state"
    return state_home / "nal-orchestrator" / "allowed-code"


def _printable(path: str) -> str:
    """Return a path with control characters escaped, which could forge what the user reads."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in path)


def is_allowed(file: CodeFile, *, allow_code: bool = False) -> bool:
    """Return whether a code file may be executed.

    If the file has not been allowed before, the user is asked, provided that there is a terminal.

    Args:
        file: code file to execute.
        allow_code: whether `--allow-code` was passed, which allows every file without asking.
    """
    permission_file = allowed_folder() / file.sha256
    with suppress(PermissionError):
        if permission_file.exists():
            return True
    if not allow_code:
        if not (sys.stdin.isatty() and sys.stderr.isatty()):
            return False
        console = Console(stderr=True, highlight=False)
        console.print("This study names code that has not been executed before:\n")
        console.print(
            Text(f"    {_printable(file.path)}\n    SHA-256 {file.sha256}\n"), soft_wrap=True
        )
        try:
            answer = console.input("It can do whatever you can do. Execute it? \\[y/N] ")
        except EOFError:
            answer = ""
        if answer.strip().lower() not in ("y", "yes"):
            return False
    try:
        permission_file.parent.mkdir(parents=True, exist_ok=True)
        permission_file.touch()
    except OSError as error:
        Console(stderr=True, highlight=False).print(
            f"cannot remember in {permission_file.parent} that {file.path} is allowed "
            f"({error.strerror}): it will be asked for again",
            soft_wrap=True,
        )
    return True
