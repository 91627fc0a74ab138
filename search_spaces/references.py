"""How a study names methods, backbones, label noise and datasets from outside the package.

A study writes `my_loss.py:LabelSmoothing`, the path being relative to its own folder, or the name
of an entry point of an installed package. As soon as it is read, such a reference is replaced by
the name of the extension, `LabelSmoothing@1f3c9a2b7d4e`, which everything else works with; where a
study is written out, the reference is put back.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from search_spaces.layers import format_key
from trainables.backbones import BACKBONES
from trainables.datasets import SOURCES
from trainables.errors import CodeError
from trainables.extensions import (
    CodeFile,
    Kind,
    announced_name,
    extension_name,
    is_extension,
    is_loaded,
    load_file,
)
from trainables.methods import METHODS
from trainables.noise import is_shipped_noise

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping
    from pathlib import Path

    from search_spaces.layers import Origin
    from search_spaces.yaml_lines import KeyPath

_REFERENCE = re.compile(r"(?P<path>[^:]+\.py):(?P<name>(?P<class>[A-Za-z_]\w*).*)")

_VALUES: Mapping[KeyPath, Kind] = {
    ("methods", "*"): "method",
    ("tune", "*"): "method",
    ("backbone", "name"): "backbone",
    ("posterior", "backbone", "name"): "backbone",
    ("dataset",): "dataset",
    ("scenarios", "*"): "noise",
    ("search", "scenario"): "noise",
    ("overrides", "*", "scenario"): "noise",
}
"""Where the values of a study are names; `*` stands for any position of a list."""

_KEYS: tuple[KeyPath, ...] = (
    ("hyperparameters",),
    ("reference",),
    ("vary",),
    ("recipes",),
    ("search", "space"),
    ("overrides", "*", "hyperparameters"),
    ("overrides", "*", "recipes"),
)
"""Mappings of a study whose keys are methods."""


class StudyExtensions:
    """The extensions that a study names.

    Attributes:
        files: contents of the files that the study names, by path relative to its folder.
    """

    def __init__(self, folder: Path, is_allowed: Callable[[CodeFile], bool]) -> None:
        """Begin with none.

        Args:
            folder: of the study; the files have to lie below it.
            is_allowed: whether a file may be executed.
        """
        self._folder = folder.resolve()
        self._is_allowed = is_allowed
        self._references: dict[str, str] = {}
        self.files: dict[str, str] = {}

    def name_of(self, kind: Kind, reference: str) -> str:
        """Return the name that a study's reference stands for, loading its file.

        Args:
            kind: what is named.
            reference: `FILE.py:CLASS` or the name of an entry point; of label noise followed by the
                rest of the scenario. Any other text is returned unchanged.

        Raises:
            CodeError: if there is no such file below the study's folder, it has not been allowed,
                or it cannot be executed.
        """
        match = _REFERENCE.fullmatch(reference)
        if match is None:
            if is_extension(reference) or _is_shipped(kind, reference):
                return reference
            name = announced_name(kind, reference)
            if name is not None:
                self._references[name] = reference
            return name or reference
        if kind != "noise" and match["name"] != match["class"]:
            raise CodeError(f"'{reference}': write FILE.py:CLASS")
        file, path = self._read(match["path"])
        if "." in path.removesuffix(".py"):
            raise CodeError(f"'{path}': rename it so that its ending has the only dot")
        load_file(file)
        self.files[path] = file.content.decode()
        name = extension_name(match["name"], file.sha256)
        self._references[name] = f"{path}:{match['name']}"
        return name

    def reference_of(self, name: str) -> str:
        """Return how the study refers to what has a name."""
        return self._references.get(name, name)

    def _read(self, path_text: str) -> tuple[CodeFile, str]:
        """Read a file that may be executed; return it with its path relative to the folder."""
        try:
            path = (self._folder / path_text).resolve()
        except (OSError, RuntimeError, ValueError) as error:  # links in a circle, a null character
            raise CodeError(f"{path_text} cannot be resolved: {error}") from error
        if not path.is_relative_to(self._folder):
            raise CodeError(
                f"{path_text} leads to {path}, outside the study's folder {self._folder}: copy the "
                "file there"
            )
        try:
            if not path.is_file():
                raise CodeError(f"no file {path_text} in the study's folder {self._folder}")
            file = CodeFile(str(path), path.read_bytes())
        except OSError as error:
            raise CodeError(f"cannot read {path}: {error.strerror}") from error
        if not is_loaded(file) and not self._is_allowed(file):
            raise CodeError(
                f"{path} (SHA-256 {file.sha256}) is code that would be executed, and has not been "
                "allowed: read it, then add --allow-code"
            )
        return file, path.relative_to(self._folder).as_posix()

    def to_names(
        self, tree: Mapping[str, Any], origin_of: Callable[[KeyPath], Origin]
    ) -> tuple[dict[str, Any], Callable[[KeyPath], Origin]]:
        """Return a study's mappings with names in the place of references.

        Args:
            tree: as it is written.
            origin_of: where each of its keys is written.

        Returns:
            The same with names, and where each of its keys is written.

        Raises:
            CodeError: as for `name_of`; begins with where the reference is written.
        """
        written: dict[KeyPath, str] = {}

        def name_of(kind: Kind, reference: str, path: KeyPath) -> str:
            try:
                name = self.name_of(kind, reference)
            except CodeError as error:
                raise CodeError(f"{origin_of(path).text}: {error}") from error
            other = written.setdefault((*path[:-1], name), reference)
            if other != reference and path[-1] == reference:
                raise CodeError(
                    f"{origin_of(path).text}: {format_key(path)} is given twice, since {other} has "
                    "the same content: remove one"
                )
            return name

        def origin_of_named(path: KeyPath) -> Origin:
            return origin_of(tuple(written.get(path[: n + 1], key) for n, key in enumerate(path)))

        named: dict[str, Any] = _replaced(tree, name_of, ())
        return named, origin_of_named

    def to_references(self, tree: Mapping[str, Any]) -> dict[str, Any]:
        """Return a study's mappings with references in the place of names."""

        def reference_of(_kind: Kind, name: str, _path: KeyPath) -> str:
            return self.reference_of(name)

        written: dict[str, Any] = _replaced(tree, reference_of, ())
        return written

    def text_with_references(self, text: str) -> str:
        """Return a message or the source of a value with references in the place of names."""
        for name, reference in self._references.items():
            text = re.sub(rf"(?<!\w){re.escape(name)}", lambda _match, new=reference: new, text)
        return text

    def path_with_names(self, path: KeyPath) -> KeyPath:
        """Return the path of a key with names in the place of references."""
        names = {reference: name for name, reference in self._references.items()}
        return tuple(names.get(str(key), key) for key in path)

    def path_with_references(self, path: KeyPath) -> KeyPath:
        """Return the path of a key with references in the place of names."""
        return tuple(self._references.get(str(key), key) for key in path)


def _is_shipped(kind: Kind, name: str) -> bool:
    """Return whether this package has a method, backbone, noise or dataset of a name."""
    if kind == "noise":
        return is_shipped_noise(name)
    registries: Mapping[Kind, Collection[str]] = {
        "method": METHODS,
        "backbone": BACKBONES,
        "dataset": SOURCES,
    }
    return name in registries[kind]


def _replaced(value: Any, replace: Callable[[Kind, str, KeyPath], str], path: KeyPath) -> Any:  # noqa: ANN401 - any YAML value
    """Replace the names in a study's mappings, keys and values."""
    place = tuple("*" if isinstance(key, int) else key for key in path)
    if isinstance(value, dict):
        return {
            replace("method", key, (*path, key)) if place in _KEYS else key: _replaced(
                inner, replace, (*path, key)
            )
            for key, inner in value.items()
        }
    if isinstance(value, list):
        return [_replaced(inner, replace, (*path, n)) for n, inner in enumerate(value)]
    if isinstance(value, str) and place in _VALUES:
        return replace(_VALUES[place], value, path)
    return value
