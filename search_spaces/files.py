"""Find and read the YAML files of studies, both shipped and the user's own."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache, lru_cache
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING

from search_spaces.yaml_lines import Document, YamlError, parse_yaml
from trainables.errors import StudyError, suggest

if TYPE_CHECKING:
    from importlib.resources.abc import Traversable

YAML_SUFFIXES = (".yaml", ".yml")
"""Suffixes that mark a command-line argument as the path of a study file, not as a name."""

MAX_STUDY_BYTES = 1_000_000
"""Largest size of a study file, which is parsed in seconds, in bytes."""


@dataclass(frozen=True, slots=True)
class StudyFile:
    """YAML file of a study, parsed.

    Attributes:
        name: name of the study: the file name without its suffix.
        label: text that names the file in messages: its path, or the file name of a shipped study.
        document: content of the file.
        folder: folder that a path in `extends` is relative to; None for a shipped study.
        code_folder: folder, with symbolic links resolved, that must contain the Python files which
            the study names; None for a shipped study.
    """

    name: str
    label: str
    document: Document
    folder: Path | None
    code_folder: Path | None = None

    def is_same_as(self, other: StudyFile) -> bool:
        """Return whether another study was read from the same file, by the same path.

        The labels alone do not tell, since a shipped study can have that of a user's file.
        """
        return (self.label, self.folder) == (other.label, other.folder)


def shipped_study_names() -> list[str]:
    """Return the names of the shipped studies, in alphabetical order."""
    return sorted(_shipped_files())


def shipped_study_titles() -> dict[str, str]:
    """Return the title of each shipped study by name, in alphabetical order of names.

    Raises:
        StudyError: if one of the files is not valid YAML.
    """
    titles = {}
    for name in shipped_study_names():
        value = read_study_file(name).document.value
        titles[name] = str(value.get("title", "")) if isinstance(value, dict) else ""
    return titles


def is_study_path(name_or_path: str) -> bool:
    """Return whether a command-line argument is the path of a study file, not a name."""
    return "/" in name_or_path or name_or_path.endswith(YAML_SUFFIXES)


def read_study_file(name_or_path: str, folder: Path | None = None) -> StudyFile:
    """Read the YAML file of a shipped study or of the user's own.

    Args:
        name_or_path: name of a shipped study, or a path, see `is_study_path`.
        folder: folder that a relative path starts from; None for the working directory.

    Raises:
        StudyError: if the file does not exist, cannot be read or is not valid YAML.
    """
    if not is_study_path(name_or_path):
        shipped_files = _shipped_files()
        if name_or_path not in shipped_files:
            raise StudyError(
                f"unknown study '{name_or_path}': {suggest(name_or_path, shipped_files)}; "
                "or give the path of a YAML file"
            )
        label = f"{name_or_path}.yaml"
        document = _parse_content(shipped_files[name_or_path].read_bytes(), label)
        return StudyFile(name_or_path, label, document, None)
    path = (folder or Path()) / Path(name_or_path).expanduser()
    try:
        byte_count = path.stat().st_size
        if byte_count > MAX_STUDY_BYTES:
            raise StudyError(
                f"the study file {path} has {byte_count / 1e6:.1f} MB: at most "
                f"{MAX_STUDY_BYTES / 1e6:.0f} MB are allowed: write a study, not its data"
            )
        content = path.read_bytes()
    except FileNotFoundError:
        raise StudyError(
            f"the study file '{path}' does not exist: correct the path, or name a shipped study: "
            f"{suggest(path.stem, shipped_study_names())}"
        ) from None
    except OSError as error:
        raise StudyError(f"cannot read the study file {path}: {error.strerror}") from error
    document = _parse_content(content, str(path))
    return StudyFile(path.stem, str(path), document, path.parent, path.resolve().parent)


@cache
def _shipped_files() -> dict[str, Traversable]:
    """Return the file of each shipped study by the study's name."""
    files = resources.files("search_spaces").iterdir()
    return {file.name.removesuffix(".yaml"): file for file in files if file.name.endswith(".yaml")}


@lru_cache(maxsize=32)
def _parse_content(content: bytes, label: str) -> Document:
    """Parse the content of a study file, or raise `StudyError` with the file's label and line."""
    try:
        return parse_yaml(content.decode())
    except UnicodeDecodeError as error:
        line = content[: error.start].count(b"\n") + 1
        raise StudyError(f"{label}:{line}: not UTF-8: save the file as UTF-8") from error
    except YamlError as error:
        raise StudyError(f"{label}:{error.line}: {error.message}") from error
