"""Loading of a study: reading of its files, changes made by flags, and checks.

Errors name the place of the faulty value: `file.yaml:LINE: key: message` or `--flag: message`.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from itertools import pairwise
from typing import TYPE_CHECKING, Any

from search_spaces.checks import check_study
from search_spaces.export import export_study
from search_spaces.files import StudyFile, open_study
from search_spaces.flags import Change, apply_changes, parse_set
from search_spaces.layers import Origin, StudyLayers, format_key, leaves, parse_key
from search_spaces.provenance import Provenance, Statement, check_statements, read_statements
from search_spaces.references import StudyExtensions
from search_spaces.scaling import TrainingLength
from search_spaces.validation import read_study
from search_spaces.yaml_lines import KeyPath, PlainValue, dump_yaml
from trainables.errors import FieldError, StudyError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from search_spaces.resolve import SourcedValue
    from search_spaces.schema import Study
    from trainables.extensions import CodeFile

__all__ = ["Change", "LoadedStudy", "load_study", "parse_set"]

METHOD_SECTIONS = ("hyperparameters", "reference", "recipes")
"""Sections of a study whose keys are method names."""

METHOD_PREFIXES = ("hyperparameters.", "overrides.", "recipes.", "reference.")
"""Prefixes of dotted keys that contain a method name, which the error message does not repeat."""

MAX_FILES = 20
"""Largest number of files in a chain of `extends`.

A longer chain is circular, through paths that are written differently each time.
"""


@dataclass(frozen=True, slots=True)
class ScaledValue:
    """A value that changed with the length of training.

    Attributes:
        key: dotted key of the value.
        before: value that the study states.
        after: value that the runs use.
    """

    key: str
    before: object
    after: object

    def __str__(self) -> str:
        """Format the change as in `epochs 500 -> 20` or `nal.first_target_epoch 60 -> 2`."""
        keys = self.key.split(".")
        methods = [key for section, key in pairwise(keys) if section in METHOD_SECTIONS]
        return f"{'.'.join([*methods, keys[-1]])} {self.before} -> {self.after}"


@dataclass(frozen=True)
class LoadedStudy:
    """A checked study with the sources of its values.

    Attributes:
        study: the checked study.
        name: stem of the study's file name.
        plain: the study as YAML values, with every resolved value written out.
        sources: source of each value by dotted key: "paper, section 5.1", "set by --trials",
            "default of method nal", or file and line if no other source is stated.
        extensions: methods, backbones, noise and datasets that are not part of the package.
        scaled_values: values that changed with the requested length of training.
    """

    study: Study = field(compare=False)
    name: str
    plain: Mapping[str, Any]
    sources: Mapping[str, str]
    _provenance: Provenance = field(repr=False, compare=False)
    extensions: StudyExtensions = field(repr=False, compare=False)
    scaled_values: tuple[ScaledValue, ...] = ()

    def to_yaml(self) -> str:
        """Return the study as YAML text; loading it gives the same study and the same sources."""
        plain, sources = self.with_references()
        return dump_yaml({**plain, "sources": dict(sources)})

    def with_references(self) -> tuple[dict[str, Any], Mapping[str, str]]:
        """Return `plain` and `sources` with extensions written as in the study file."""
        sources = {
            format_key(self.extensions.path_with_references(parse_key(key))): (
                self.extensions.text_with_references(text)
            )
            for key, text in self.sources.items()
        }
        return self.extensions.tree_with_references(self.plain), sources

    def source_of(self, value: SourcedValue) -> str:
        """Return the text that names the source of a resolved value."""
        place = value.key_path if value.layer == "override" else ""
        text = self.extensions.text_with_references(
            self._provenance.text(value.key_path, value.source or place)
        )
        if value.unscaled is None or self.study.length is None:
            return text
        return _scaled_source(self.study.length.flag, value.unscaled, text)

    def with_epochs(self, epochs: int, flag: str = "--epochs") -> LoadedStudy:
        """Return the study with another length of training.

        All values that are numbers of epochs are scaled, except for values set by flags.

        Args:
            epochs: number of epochs of the study's own recipe.
            flag: flag that requests the length, for messages.

        Raises:
            StudyError: if `epochs` is not positive or contradicts another value of the study.
        """
        flag_keys = self._provenance.study_layers.flag_keys()
        study = self.study.with_length(TrainingLength(epochs, flag, flag_keys))
        try:
            check_study(study)
        except FieldError as error:
            key = f"{error.field}: " if error.field.startswith(METHOD_PREFIXES) else ""
            message = self.extensions.text_with_references(f"{key}{error.message}")
            raise StudyError(f"{flag}: {message}") from error
        plain, _ = export_study(study)
        before = dict(leaves(self.plain))
        scaled_values = tuple(
            ScaledValue(format_key(key_path), before[key_path], value)
            for key_path, value in leaves(plain)
            if key_path in before and before[key_path] != value
        )
        texts = {
            scaled.key: _scaled_source(flag, scaled.before, self.sources[scaled.key])
            for scaled in scaled_values
        }
        sources = {**self.sources, **texts, "recipe.epochs": f"set by {flag}"}
        return LoadedStudy(
            study, self.name, plain, sources, self._provenance, self.extensions, scaled_values
        )

    def explain(self, error: FieldError) -> StudyError:
        """Convert a `FieldError` found after loading into a message that names file, line and key.

        Such an error is, for example, a subset that turns out to be larger than the dataset.
        """
        return _user_error(error, self._provenance.study_layers, self.extensions)


def _scaled_source(flag: str, before: object, source: str) -> str:
    return f"scaled by {flag} from {before} ({source})"


def load_study(
    name_or_path: str,
    changes: Sequence[Change] = (),
    is_allowed: Callable[[CodeFile], bool] = lambda _file: False,
) -> LoadedStudy:
    """Load a shipped study or the user's own YAML file, and apply the changes made by flags.

    A study that extends another is merged into it key by key; a list replaces the inherited list,
    and null removes an inherited key. For the consequences of a flag, see
    `search_spaces.flags.apply_changes`.

    Args:
        name_or_path: name of a shipped study; a path if it contains a slash or ends with .yaml
            or .yml.
        changes: changes made by flags, in the order in which they are applied.
        is_allowed: function that decides whether a file that the study names may be executed.

    Raises:
        CodeError: if the study names code that may not or cannot be executed.
        StudyError: if the study cannot be read or is not valid; the message is one line with the
            place, the key, the fault and the allowed values.
    """
    files = _read_chain(name_or_path)
    extensions = StudyExtensions(is_allowed)
    study_layers = StudyLayers(Origin(files[-1].label, level=len(files) - 1))
    statements: list[Statement] = []
    for level, file in enumerate(files):
        origin_of = _origin_finder(file, level)
        tree = dict(_root_mapping(file))
        tree.pop("extends", None)
        if file.code_folder is not None:
            extensions.enter_folder(file.code_folder)
        statement_section = tree.pop("sources", None)
        study_layers.merge(*extensions.tree_with_names(tree, origin_of))
        statements += [
            replace(statement, key_path=extensions.path_with_names(statement.key_path))
            for statement in read_statements(statement_section, origin_of)
        ]
    file_keys = study_layers.key_paths()
    apply_changes(study_layers, changes, len(files), extensions)
    try:
        study = read_study(study_layers.tree)
        narrowed = _is_set_after(study_layers, "scenarios", "overrides")
        check_study(study, allow_unused_overrides=narrowed)
    except FieldError as error:
        raise _user_error(error, study_layers, extensions) from error
    plain, export_sources = export_study(study)
    own_statements = [s for s in statements if s.level == len(files) - 1]
    try:
        check_statements(own_statements, plain, file_keys)
    except StudyError as error:
        raise StudyError(extensions.text_with_references(str(error))) from error
    provenance = Provenance(study_layers, statements)
    sources = provenance.source_texts(plain, export_sources)
    return LoadedStudy(study, files[-1].name, plain, sources, provenance, extensions)


def _read_chain(name_or_path: str) -> list[StudyFile]:
    """Read a study and all studies that it extends, the outermost base first."""
    files = [open_study(name_or_path)]
    while "extends" in (tree := _root_mapping(files[0])):
        base, place = tree["extends"], _origin_finder(files[0], 0)(("extends",)).text
        if not isinstance(base, str):
            raise StudyError(f"{place}: extends: must be the name or path of a study, got {base!r}")
        try:
            files.insert(0, open_study(base, files[0].folder))
        except StudyError as error:
            raise StudyError(f"{place}: extends: {error}") from error
        if files[0].label in [file.label for file in files[1:]] or len(files) > MAX_FILES:
            trail = " -> ".join(file.label for file in reversed(files))
            raise StudyError(f"{place}: extends: goes round in a circle: {trail}")
    return files


def _root_mapping(file: StudyFile) -> dict[str, PlainValue]:
    value = file.document.value
    if not isinstance(value, dict):
        reason = "it is empty" if value is None else "it is not a mapping"
        raise StudyError(f"{file.label}: not a study, {reason}: see `show digits` for an example")
    return value


def _origin_finder(file: StudyFile, level: int) -> Callable[[KeyPath], Origin]:
    """Return a function that maps the path of a key in a file to the key's origin."""
    lines = file.document.lines
    return lambda key_path: Origin(f"{file.label}:{lines[key_path]}", level)


def _is_set_after(study_layers: StudyLayers, key: str, other_key: str) -> bool:
    """Return whether one top-level key is set by a later layer than another."""
    origin, other_origin = study_layers.origin((key,)), study_layers.origin((other_key,))
    return origin is not None and other_origin is not None and origin.level > other_origin.level


def _user_error(
    error: FieldError, study_layers: StudyLayers, extensions: StudyExtensions
) -> StudyError:
    """Return an error whose message begins with the place that sets the faulty key."""
    key_path = parse_key(error.field)
    origin = study_layers.nearest_origin(key_path)
    key_path = extensions.path_with_references(key_path)
    key = format_key(key_path[:-1] if key_path and isinstance(key_path[-1], int) else key_path)
    message = extensions.text_with_references(error.message)
    parts = [origin.text, "" if key == origin.flag_key else key, message]
    return StudyError(": ".join(part for part in parts if part))
