"""Python processes that import nothing from the working directory.

`python -m` puts the working directory first on the module search path. The working directory may
contain a study from somebody else, and modules or package metadata beside the study must not be
taken for installed packages.
"""

from __future__ import annotations

import os
import sys

PACKAGE_ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))  # noqa: PTH100, PTH120
"""Folder that contains the package `orchestrator`: the root of the repository, or site-packages."""


def exclude_working_directory() -> None:
    """Remove the working directory from the module search path, if `python -m` put it there."""
    working_dir = os.path.abspath(os.curdir)  # noqa: PTH100
    is_first = bool(sys.path) and sys.path[0] in ("", working_dir)
    if is_first and not sys.flags.safe_path and not _is_package_root():
        del sys.path[0]


def _is_package_root() -> bool:
    """Return whether the working directory contains this package, and must stay importable."""
    # Without pathlib, which Python might import from the working directory.
    return os.path.abspath(os.curdir) == PACKAGE_ROOT  # noqa: PTH100


def working_dir_of_workers(empty_dir: str) -> str:
    """Return a working directory for worker processes, from which they may import modules.

    Args:
        empty_dir: folder to return unless the working directory contains this package.
    """
    return PACKAGE_ROOT if _is_package_root() else empty_dir


def module_command(module: str, *arguments: str) -> list[str]:
    """Return the command that runs a module with this Python, like `python -m` but safely.

    Nothing is imported from the working directory, unless it contains this package.
    """
    return [sys.executable, *([] if _is_package_root() else ["-P"]), "-m", module, *arguments]
