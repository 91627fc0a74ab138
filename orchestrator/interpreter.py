"""Python processes that import nothing from the working directory.

`python -m` puts the working directory first on the module search path. A study may lie there that
came from somebody else, and a module or package metadata beside it must not be taken for an
installed package.
"""

from __future__ import annotations

import os
import sys

PACKAGE_ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))  # noqa: PTH100, PTH120
"""Folder that contains this package; in a checkout it may be the working directory."""


def exclude_working_directory() -> None:
    """Remove the working directory from the module search path, if `python -m` put it there."""
    working_dir = os.path.abspath(os.curdir)  # noqa: PTH100
    is_first = bool(sys.path) and sys.path[0] in ("", working_dir)
    if is_first and not sys.flags.safe_path and not _is_in_checkout():
        del sys.path[0]


def _is_in_checkout() -> bool:
    """Return whether the working directory contains this package, so that it is needed."""
    # Without pathlib, which might be imported from there.
    return os.path.abspath(os.curdir) == PACKAGE_ROOT  # noqa: PTH100


def working_dir_of_workers(empty_dir: str) -> str:
    """Return a working directory from which processes may import modules.

    Args:
        empty_dir: folder to use unless the working directory contains this package.
    """
    return PACKAGE_ROOT if _is_in_checkout() else empty_dir


def module_command(module: str, *arguments: str) -> list[str]:
    """Return the command that runs a module with this Python, as `python -m` does."""
    return [sys.executable, *([] if _is_in_checkout() else ["-P"]), "-m", module, *arguments]
