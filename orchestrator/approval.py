"""Permission to execute the code that a study names, which users give once for each SHA-256.

Permissions are stored in the user's own folder, not in a home or beside a study, which may come
from somebody else.
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
    """Return the folder with an empty file for each SHA-256 that the user has allowed."""
    state = Path(os.environ.get("XDG_STATE_HOME", ""))
    if not state.is_absolute():  # to be ignored by the XDG specification
        state = Path.home() / ".local" / "state"
    return state / "nal-orchestrator" / "allowed-code"


def is_allowed(file: CodeFile, *, allow_code: bool = False) -> bool:
    """Return whether a file may be executed; on a terminal, ask the user if it is unknown.

    Args:
        file: file to execute.
        allow_code: whether the user has allowed all files that this command names.
    """
    permission = allowed_folder() / file.sha256
    with suppress(PermissionError):
        if permission.exists():
            return True
    if not allow_code:
        if not (sys.stdin.isatty() and sys.stderr.isatty()):
            return False
        console = Console(stderr=True, highlight=False)
        console.print("This study names code that has not been executed before:\n")
        console.print(Text(f"    {file.path}\n    SHA-256 {file.sha256}\n"), soft_wrap=True)
        try:
            answer = console.input("It can do whatever you can do. Execute it? \\[y/N] ")
        except EOFError:
            answer = ""
        if not answer.strip().lower().startswith("y"):
            return False
    try:
        permission.parent.mkdir(parents=True, exist_ok=True)
        permission.touch()
    except OSError as error:
        Console(stderr=True, highlight=False).print(
            f"cannot remember in {permission.parent} that {file.path} is allowed "
            f"({error.strerror}): it will be asked for again",
            soft_wrap=True,
        )
    return True
