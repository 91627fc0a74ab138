"""The files that documents show, written as a user would write them."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).parents[1]

_BLOCK = re.compile(r"`([\w-]+\.(?:py|yaml))`[^`]*?:\n\n```(?:python|yaml)\n(.*?)```", re.DOTALL)


def shown_files(document: str) -> dict[str, str]:
    """Return the files that a document shows, by name: code blocks below "`NAME`:".

    Args:
        document: path of the document in the repository.
    """
    return dict(_BLOCK.findall((ROOT / document).read_text(encoding="utf-8")))


def write_shown_files(document: str, folder: Path) -> Path:
    """Write the files that a document shows into a folder; return the path of its study."""
    files = shown_files(document)
    for name, content in files.items():
        (folder / name).write_text(content, encoding="utf-8")
    (study,) = (name for name in files if name.endswith(".yaml"))
    return folder / study
