"""Permission to execute the code that a study names, given once for each SHA-256.

What was allowed is remembered for the user, not in a home or beside a study: those may come from
somebody else.
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
    """Return the folder that holds one empty file for each SHA-256 that the user has allowed."""
    state = Path(os.environ.get("XDG_STATE_HOME", ""))
    if not state.is_absolute():  # to be ignored by the XDG specification
        state = Path.home() / ".local" / "state"
    return state / "nal-orchestrator" / "allowed-code"


def is_allowed(file: CodeFile, *, allow_code: bool = False) -> bool:
    """Return whether a file may be executed, asking the user where that can be answered.

    Args:
        file: to be executed.
        allow_code: whether the user has allowed all files of this command.
    """
    remembered = allowed_folder() / file.sha256
    with suppress(PermissionError):
        if remembered.exists():
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
        remembered.parent.mkdir(parents=True, exist_ok=True)
        remembered.touch()
    except OSError as error:
        Console(stderr=True, highlight=False).print(
            f"cannot remember in {remembered.parent} that {file.path} is allowed "
            f"({error.strerror}): it will be asked for again",
            soft_wrap=True,
        )
    return True
