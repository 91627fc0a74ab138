"""Checks of the files that a command is asked to write, before it reads or draws anything."""

from __future__ import annotations

from typing import TYPE_CHECKING

from trainables.errors import UserError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

PAGE_SUFFIXES = (".html", ".htm")
"""Suffixes of the file of a page."""


def check_output_files(
    table_files: Sequence[Path], page_file: Path | None, figure_folder: Path | None
) -> None:
    """Check that files can be written where the flags of `report` name them.

    Args:
        table_files: files of tables (`--out`).
        page_file: file of the page (`--html`); None for no page.
        figure_folder: folder of figures (`--figures`), which need not exist; None for none.

    Raises:
        UserError: if a folder is missing, a path is of the wrong kind, or the page's file has
            another suffix.
    """
    for path in table_files:
        _check_file(path, "--out")
    if page_file is not None:
        _check_file(page_file, "--html")
        if page_file.suffix.lower() not in PAGE_SUFFIXES:
            raise UserError(
                f"--html {page_file}: the file of a page ends in {' or '.join(PAGE_SUFFIXES)}"
            )
    if figure_folder is not None and figure_folder.exists() and not figure_folder.is_dir():
        raise UserError(f"--figures {figure_folder}: is a file: name a folder")


def _check_file(path: Path, flag: str) -> None:
    if path.is_dir():
        raise UserError(f"{flag} {path}: is a folder: name a file in it")
    if not path.parent.is_dir():
        raise UserError(f"{flag} {path}: the folder {path.parent} does not exist: create it first")
