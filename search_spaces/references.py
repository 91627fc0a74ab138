"""References of a study to extensions: methods, backbones, noise and datasets from other code.

A reference is either `my_loss.py:LabelSmoothing`, with a path relative to the study's folder, or
the name of an entry point of an installed package. When a study is read, each reference is replaced
by the extension's name, such as `LabelSmoothing@1f3c9a2b7d4e`, which all other modules use. When
the study is written out, names are replaced by references again.
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
    extension_class,
    extension_name,
    is_extension,
    is_loaded,
    load_file,
    name_from_entry_point,
)
from trainables.methods import METHODS, Method
from trainables.noise import Noise, is_shipped_noise

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping

    from search_spaces.layers import Origin
    from search_spaces.yaml_lines import KeyPath

# FILE.py:CLASS; for label noise the class is followed by the rest of the scenario, such as "-0.4".
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
"""Kind of extension that is named at a path of a study; `*` stands for any position of a list."""

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
    """Extensions of a study: loads their code, and converts between references and names.

    Attributes:
        files: content of each Python file that the study names, by path relative to the study.
    """

    def __init__(self, is_allowed: Callable[[CodeFile], bool]) -> None:
        """Start without extensions; references are relative to the working directory.

        Args:
            is_allowed: function that decides whether a Python file may be executed.
        """
        self._folder = Path.cwd()
        self._is_allowed = is_allowed
        self._code_files: dict[str, CodeFile] = {}
        self._references: dict[str, str] = {}
        self.files: dict[str, str] = {}

    def enter_folder(self, folder: Path) -> None:
        """Set the folder that the paths in references are relative to, and must not leave.

        Files that were loaded from an earlier folder can still be referred to, so that a study can
        use the extensions of the study that it extends.
        """
        self._folder = folder

    def load_reference(self, kind: Kind, reference: str) -> str:
        """Load the code that a reference refers to, and return the name of the extension.

        Args:
            kind: kind of the extension.
            reference: `FILE.py:CLASS` or the name of an entry point; for label noise followed by
                the rest of the scenario. Any other text is returned unchanged.

        Raises:
            CodeError: if the file is not below the study's folder, has not been allowed, cannot
                be executed, or has no such class.
        """
        if not reference.isprintable():
            raise CodeError(f"{reference!r} has characters that cannot be printed: remove them")
        match = _REFERENCE_PATTERN.fullmatch(reference)
        if match is None:
            if is_extension(reference) or _is_shipped(kind, reference):
                return reference
            name = name_from_entry_point(kind, reference)
            if name is not None:
                self._references[name] = reference
            return name or reference
        if kind != "noise" and match["name"] != match["class"]:
            raise CodeError(f"'{reference}': write FILE.py:CLASS, without further text")
        file, path = self._read_code_file(match["path"])
        if "." in path.removesuffix(".py"):
            raise CodeError(
                f"'{path}': rename the file or folder so that the path has no dot except in '.py'"
            )
        load_file(file)
        extension_class(kind, extension_name(match["class"], file.sha256), _BASE_CLASSES[kind])
        self.files[path] = file.content.decode()
        name = extension_name(match["name"], file.sha256)
        self._references[name] = f"{path}:{match['name']}"
        return name

    def written_reference(self, name: str) -> str:
        """Return the reference from which an extension's name was loaded; else the name itself."""
        return self._references.get(name, name)

    def _read_code_file(self, path_text: str) -> tuple[CodeFile, str]:
        """Read a Python file, and return it with its path relative to the study's folder.

        Raises:
            CodeError: if the file cannot be read, is outside the folder or has not been allowed.
        """
        try:
            path = (self._folder / path_text).resolve()
        except (OSError, RuntimeError, ValueError) as error:  # links in a circle, a null character
            raise CodeError(f"the path {path_text} cannot be resolved: {error}") from error
        if not path.is_relative_to(self._folder):
            raise CodeError(
                f"{path_text} leads to {path}, outside the study's folder {self._folder}: copy the "
                "file there"
            )
        if path_text in self._code_files and not path.exists():
            return self._code_files[path_text], path_text
        try:
            if not path.is_file():
                raise CodeError(
                    f"the file {path_text} does not exist in the study's folder {self._folder}"
                )
            file = CodeFile(str(path), path.read_bytes())
        except OSError as error:
            raise CodeError(f"cannot read {path}: {error.strerror}") from error
        if not is_loaded(file) and not self._is_allowed(file):
            raise file.not_allowed_error()
        relative_path = path.relative_to(self._folder).as_posix()
        earlier_file = self._code_files.setdefault(relative_path, file)
        if earlier_file.sha256 != file.sha256 and earlier_file.path != file.path:
            raise CodeError(
                f"{relative_path} refers to two different files, {earlier_file.path} and "
                f"{file.path}: rename one of them"
            )
        return file, relative_path

    def tree_with_names(
        self, tree: Mapping[str, Any], origin_of: Callable[[KeyPath], Origin]
    ) -> tuple[dict[str, Any], Callable[[KeyPath], Origin]]:
        """Load the extensions in a study's values, and replace references by names.

        Args:
            tree: nested mappings of the study, with references.
            origin_of: function that returns the file and line, or flag, of a key from its path in
                `tree`.

        Returns:
            The nested mappings with names, and the function `origin_of` for paths with names.

        Raises:
            CodeError: if an extension cannot be loaded; the message begins with the file and line,
                or the flag, of the reference.
        """
        references: dict[KeyPath, str] = {}

        def load_name(kind: Kind, reference: str, key_path: KeyPath) -> str:
            try:
                name = self.load_reference(kind, reference)
            except CodeError as error:
                raise CodeError(f"{origin_of(key_path).label}: {error}") from error
            first_reference = references.setdefault((*key_path[:-1], name), reference)
            if first_reference != reference and key_path[-1] == reference:
                raise CodeError(
                    f"{origin_of(key_path).label}: {format_key(key_path)} is given twice, since "
                    f"{first_reference} has the same content: remove one"
                )
            return name

        def origin_of_name_path(key_path: KeyPath) -> Origin:
            return origin_of(
                tuple(references.get(key_path[: n + 1], key) for n, key in enumerate(key_path))
            )

        tree_with_names: dict[str, Any] = _replace_names(tree, load_name, ())
        return tree_with_names, origin_of_name_path

    def tree_with_references(self, tree: Mapping[str, Any]) -> dict[str, Any]:
        """Return a copy of a study's values with names of extensions replaced by references."""

        def reference_of(_kind: Kind, name: str, _key_path: KeyPath) -> str:
            return self.written_reference(name)

        tree_with_references: dict[str, Any] = _replace_names(tree, reference_of, ())
        return tree_with_references

    def text_with_references(self, text: str) -> str:
        """Return a text with names of extensions replaced by references, as the user wrote them."""
        for name, reference in self._references.items():
            template = reference.replace("\\", r"\\")
            text = re.sub(rf"(?<!\w){re.escape(name)}", template, text)
        return text

    def path_with_names(self, key_path: KeyPath) -> KeyPath:
        """Return a key path with references replaced by names of extensions."""
        names = {reference: name for name, reference in self._references.items()}
        return tuple(names.get(str(key), key) for key in key_path)

    def path_with_references(self, key_path: KeyPath) -> KeyPath:
        """Return a key path with names of extensions replaced by references."""
        return tuple(self._references.get(str(key), key) for key in key_path)


def _is_shipped(kind: Kind, name: str) -> bool:
    """Return whether a name is that of a method, backbone, noise or dataset of this package."""
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
    replace_name: Callable[[Kind, str, KeyPath], str],
    key_path: KeyPath,
) -> Any:  # noqa: ANN401 - any YAML value
    """Return a copy of a study's values with names of methods, backbones and so on replaced.

    Names are replaced both in keys and in values.

    Args:
        value: value of the study, with any nesting.
        replace_name: function that returns the new name, from the kind of extension, the old name
            and the key path of the name.
        key_path: path of the value.
    """
    path_pattern = tuple("*" if isinstance(key, int) else key for key in key_path)
    if isinstance(value, dict):
        return {
            replace_name("method", key, (*key_path, key))
            if path_pattern in _METHOD_KEYED_PATHS
            else key: _replace_names(inner_value, replace_name, (*key_path, key))
            for key, inner_value in value.items()
        }
    if isinstance(value, list):
        return [
            _replace_names(inner_value, replace_name, (*key_path, n))
            for n, inner_value in enumerate(value)
        ]
    if isinstance(value, str) and path_pattern in _KIND_BY_PATH:
        return replace_name(_KIND_BY_PATH[path_pattern], value, key_path)
    return value
