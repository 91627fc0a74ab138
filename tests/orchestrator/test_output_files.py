from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from orchestrator.output_files import check_output_files
from trainables.errors import UserError

if TYPE_CHECKING:
    from pathlib import Path


def test_files_in_existing_folders_are_accepted(tmp_path: Path) -> None:
    check_output_files([tmp_path / "a.md", tmp_path / "b.tex"], tmp_path / "p.HTML", tmp_path / "f")
    check_output_files([], None, tmp_path)


def test_files_that_cannot_be_written_are_refused_before_anything_is_done(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    none = tmp_path / "none"
    with pytest.raises(UserError, match=rf"^--out {none}/a.md: the folder {none} does not exist"):
        check_output_files([tmp_path / "b.md", none / "a.md"], None, None)
    with pytest.raises(UserError, match=rf"^--html {tmp_path}: is a folder"):
        check_output_files([], tmp_path, None)
    with pytest.raises(UserError, match=r"^--html .*p\.pdf: the file of a page ends in \.html or"):
        check_output_files([], tmp_path / "p.pdf", None)
    with pytest.raises(UserError, match=r"^--figures .*file: is a file: name a folder$"):
        check_output_files([], None, tmp_path / "file")
