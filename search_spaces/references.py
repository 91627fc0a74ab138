"""References of a study to methods, backbones, label noise and datasets outside the package.

A study writes `my_loss.py:LabelSmoothing`, with a path relative to its own folder, or the name of
an entry point of an installed package. When the study is read, such a reference is replaced by the
name of the extension, `LabelSmoothing@1f3c9a2b7d4e`, which all other code uses; when the study is
written out, the name is replaced by the reference.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

from search_spaces.layers import format_key
from trainables.backbones import BACKBONES, Backbone
from trainables.datasets import SOURCES, Source
from trainables.errors import CodeError
from trainables.extensions import (
    CodeFile,
    Kind,
    announced_name,
    extension_class,
    extension_name,
    is_extension,
    is_loaded,
    load_file,
)
from trainables.methods import METHODS, Method
from trainables.noise import Noise, is_shipped_noise

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping

    from search_spaces.layers import Origin
    from search_spaces.yaml_lines import KeyPath

# A reference to a file: its path, and the class with, for label noise, the rest of the scenario.
_REFERENCE_PATTERN = re.compile(r"(?P<path>[^:]+\.py):(?P<name>(?P<class>[A-Za-z_]\w*).*)")

_KIND_BY_PATH: Mapping[KeyPath, Kind] = {
    ("methods", "*"): "method",
    ("tune", "*"): "method",
    ("backbone", "name"): "backbone",
    ("posterior", "backbone", "name"): "backbone",
    ("dataset",): "dataset",
    ("scenarios", "*"): "noise",
    ("search", "scenario"): "noise",
    ("overrides", "*", "scenario"): "noise",
}
"""Kind of the names at each path of a study; `*` stands for any position of a list."""

_METHOD_KEYED_PATHS: tuple[KeyPath, ...] = (
    ("hyperparameters",),
    ("reference",),
    ("vary",),
    ("recipes",),
    ("search", "space"),
    ("overrides", "*", "hyperparameters"),
    ("overrides", "*", "recipes"),
)
"""Paths of the mappings of a study whose keys are names of methods."""

_BASE_CLASSES: Mapping[Kind, type] = {
    "method": Method,
    "backbone": Backbone,
    "noise": Noise,
    "dataset": Source,
}
"""Base class of each kind of extension."""


class StudyExtensions:
    """Extensions that a study names.

    Attributes:
        files: content of each file that the study names, by path relative to the study's folder.
    """

    def __init__(self, is_allowed: Callable[[CodeFile], bool]) -> None:
        """Start without extensions, in the working directory.

        Args:
            is_allowed: function that decides whether the code of a file may be executed.
        """
        self._folder = Path.cwd()
        self._is_allowed = is_allowed
        self._code_files: dict[str, CodeFile] = {}
        self._references: dict[str, str] = {}
        self.files: dict[str, str] = {}

    def enter_folder(self, folder: Path) -> None:
        """Set the folder that references are relative to, and that must contain their files.

        A study that extends another may also refer to the files that the other one names.
        """
        self._folder = folder

    def name_of(self, kind: Kind, reference: str) -> str:
        """Load the file of a reference, and return the name of the extension.

        Args:
            kind: kind of the extension.
            reference: `FILE.py:CLASS` or the name of an entry point; for label noise followed by
                the rest of the scenario. Any other text is returned unchanged.

        Raises:
            CodeError: if the file is not below the study's folder, has not been allowed, cannot
                be executed, or has no such class.
        """
        if not reference.isprintable():
            raise CodeError(f"{reference!r} has characters that cannot be printed")
        match = _REFERENCE_PATTERN.fullmatch(reference)
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
            raise CodeError(
                f"'{path}': rename it so that the path has no dot other than the one in '.py'"
            )
        load_file(file)
        extension_class(kind, extension_name(match["class"], file.sha256), _BASE_CLASSES[kind])
        self.files[path] = file.content.decode()
        name = extension_name(match["name"], file.sha256)
        self._references[name] = f"{path}:{match['name']}"
        return name

    def reference_of(self, name: str) -> str:
        """Return the study's text for an extension, or the name itself if it is no extension."""
        return self._references.get(name, name)

    def _read(self, path_text: str) -> tuple[CodeFile, str]:
        """Return the content of a file and its path relative to the study's folder.

        Raises:
            CodeError: if the file cannot be read, is outside the folder or has not been allowed.
        """
        try:
            path = (self._folder / path_text).resolve()
        except (OSError, RuntimeError, ValueError) as error:  # links in a circle, a null character
            raise CodeError(f"{path_text} cannot be resolved: {error}") from error
        if not path.is_relative_to(self._folder):
            raise CodeError(
                f"{path_text} leads to {path}, outside the study's folder {self._folder}: copy the "
                "file there"
            )
        if path_text in self._code_files and not path.exists():
            return self._code_files[path_text], path_text
        try:
            if not path.is_file():
                raise CodeError(f"no file {path_text} in the study's folder {self._folder}")
            file = CodeFile(str(path), path.read_bytes())
        except OSError as error:
            raise CodeError(f"cannot read {path}: {error.strerror}") from error
        if not is_loaded(file) and not self._is_allowed(file):
            raise file.refusal()
        relative = path.relative_to(self._folder).as_posix()
        other = self._code_files.setdefault(relative, file)
        if other.sha256 != file.sha256 and other.path != file.path:
            raise CodeError(f"{relative} is two files, {other.path} and {file.path}: rename one")
        return file, relative

    def tree_with_names(
        self, tree: Mapping[str, Any], origin_of: Callable[[KeyPath], Origin]
    ) -> tuple[dict[str, Any], Callable[[KeyPath], Origin]]:
        """Return a study's nested mappings with every reference replaced by the extension's name.

        Args:
            tree: nested mappings of the study, with references.
            origin_of: function that returns the origin of a path with references.

        Returns:
            Nested mappings with names, and a function that returns the origin of a path with names.

        Raises:
            CodeError: if `name_of` raises it; the message begins with the origin of the reference.
        """
        references: dict[KeyPath, str] = {}

        def name_of(kind: Kind, reference: str, key_path: KeyPath) -> str:
            try:
                name = self.name_of(kind, reference)
            except CodeError as error:
                raise CodeError(f"{origin_of(key_path).text}: {error}") from error
            first_reference = references.setdefault((*key_path[:-1], name), reference)
            if first_reference != reference and key_path[-1] == reference:
                raise CodeError(
                    f"{origin_of(key_path).text}: {format_key(key_path)} is given twice, since "
                    f"{first_reference} has the same content: remove one"
                )
            return name

        def origin_of_named(key_path: KeyPath) -> Origin:
            return origin_of(
                tuple(references.get(key_path[: n + 1], key) for n, key in enumerate(key_path))
            )

        names: dict[str, Any] = _replace_names(tree, name_of, ())
        return names, origin_of_named

    def tree_with_references(self, tree: Mapping[str, Any]) -> dict[str, Any]:
        """Return a study's nested mappings with names of extensions replaced by references."""

        def reference_of(_kind: Kind, name: str, _key_path: KeyPath) -> str:
            return self.reference_of(name)

        references: dict[str, Any] = _replace_names(tree, reference_of, ())
        return references

    def text_with_references(self, text: str) -> str:
        """Return a text in which names of extensions are replaced by references."""
        for name, reference in self._references.items():
            template = reference.replace("\\", r"\\")
            text = re.sub(rf"(?<!\w){re.escape(name)}", template, text)
        return text

    def path_with_names(self, key_path: KeyPath) -> KeyPath:
        """Return a path in which references are replaced by names of extensions."""
        names = {reference: name for name, reference in self._references.items()}
        return tuple(names.get(str(key), key) for key in key_path)

    def path_with_references(self, key_path: KeyPath) -> KeyPath:
        """Return a path in which names of extensions are replaced by references."""
        return tuple(self._references.get(str(key), key) for key in key_path)


def _is_shipped(kind: Kind, name: str) -> bool:
    """Return whether the package itself has a method, backbone, noise or dataset with a name."""
    if kind == "noise":
        return is_shipped_noise(name)
    registries: Mapping[Kind, Collection[str]] = {
        "method": METHODS,
        "backbone": BACKBONES,
        "dataset": SOURCES,
    }
    return name in registries[kind]


def _replace_names(
    value: Any,  # noqa: ANN401 - any YAML value
    replace: Callable[[Kind, str, KeyPath], str],
    key_path: KeyPath,
) -> Any:  # noqa: ANN401 - any YAML value
    """Return a copy of a study's nested values with every name replaced, in keys and in values.

    Args:
        value: value of the study.
        replace: function that returns the new name, from the kind of the name, the name and its
            path.
        key_path: path of the value.
    """
    pattern = tuple("*" if isinstance(key, int) else key for key in key_path)
    if isinstance(value, dict):
        return {
            replace("method", key, (*key_path, key))
            if pattern in _METHOD_KEYED_PATHS
            else key: _replace_names(inner_value, replace, (*key_path, key))
            for key, inner_value in value.items()
        }
    if isinstance(value, list):
        return [
            _replace_names(inner_value, replace, (*key_path, n))
            for n, inner_value in enumerate(value)
        ]
    if isinstance(value, str) and pattern in _KIND_BY_PATH:
        return replace(_KIND_BY_PATH[pattern], value, key_path)
    return value
