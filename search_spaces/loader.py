"""Load a study: read its files, apply the changes made by flags, and check the result.

Errors begin with what set the faulty value: `file.yaml:LINE: key: message` or `--flag: message`. If
the value is inherited, the `extends` of the study's own file precedes: `mine.yaml:LINE: extends:
file.yaml:LINE: key: message`.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from itertools import pairwise
from typing import TYPE_CHECKING, Any

from search_spaces.checks import check_study
from search_spaces.export import export_study, preset_notes
from search_spaces.files import StudyFile, read_study_file, shipped_study_names
from search_spaces.flags import Change, apply_changes, parse_set_flag
from search_spaces.layers import Origin, StudyLayers, format_key, iter_leaves, parse_key
from search_spaces.provenance import (
    KEYS_WITHOUT_SOURCE,
    Provenance,
    SourceStatement,
    check_source_statements,
    read_source_statements,
)
from search_spaces.references import StudyExtensions
from search_spaces.resolve import scale_spaces
from search_spaces.scaling import TrainingLength
from search_spaces.validation import validate_study
from search_spaces.yaml_lines import KeyPath, PlainValue, dump_yaml
from trainables.errors import FieldError, StudyError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from search_spaces.resolve import SourcedValue
    from search_spaces.schema import Study
    from trainables.extensions import CodeFile

__all__ = ["Change", "LoadedStudy", "load_study", "parse_set_flag"]

METHOD_KEYED_SECTIONS = ("hyperparameters", "reference", "recipes")
"""Sections of a study whose keys are method names."""

METHOD_KEY_PREFIXES = ("hyperparameters.", "overrides.", "recipes.", "reference.")
"""Prefixes of dotted keys that contain a method name.

Errors about these keys have to name the key, since their message does not name the method.
"""

MAX_EXTENDS_FILES = 20
"""Largest number of files in a chain of studies that extend each other.

A longer chain is taken to be circular, with a different spelling of the same path at each turn.
"""


@dataclass(frozen=True, slots=True)
class ScaledValue:
    """Value of a study that was scaled to another length of training.

    Attributes:
        key: dotted key of the value.
        stated_value: value that the study states.
        scaled_value: scaled value, which the runs use.
    """

    key: str
    stated_value: object
    scaled_value: object

    def __str__(self) -> str:
        """Format the change as in `epochs 500 -> 20` or `nal.first_target_epoch 60 -> 2`."""
        keys = self.key.split(".")
        if keys[:2] == ["search", "space"]:
            return f"{'.'.join(keys[2:])} {self.stated_value} -> {self.scaled_value}"
        methods = [key for section, key in pairwise(keys) if section in METHOD_KEYED_SECTIONS]
        return f"{'.'.join([*methods, keys[-1]])} {self.stated_value} -> {self.scaled_value}"


@dataclass(frozen=True)
class LoadedStudy:
    """Checked study with the sources of its values.

    Attributes:
        study: content of the study.
        name: file name of the study without its suffix.
        resolved_values: the study as YAML values, with every default and derived value written out.
        sources: source of each value by dotted key: "paper, section 5.1", "set by --trials",
            "default of method nal", or file and line if no other source is stated.
        extensions: methods, backbones, label noise and datasets from outside the package.
        scaled_values: values that were scaled to the requested length of training.
    """

    study: Study = field(compare=False)
    name: str
    resolved_values: Mapping[str, Any]
    sources: Mapping[str, str]
    _provenance: Provenance = field(repr=False, compare=False)
    extensions: StudyExtensions = field(repr=False, compare=False)
    scaled_values: tuple[ScaledValue, ...] = ()

    def to_yaml(self) -> str:
        """Return the study as YAML text that loads as the same study with the same sources."""
        values, sources = self.with_references()
        return dump_yaml({**values, "sources": dict(sources)})

    def with_references(self) -> tuple[dict[str, Any], Mapping[str, str]]:
        """Return `resolved_values` and `sources` with extensions named as in the study file."""
        sources = {
            format_key(self.extensions.path_with_references(parse_key(key))): (
                self.extensions.text_with_references(text)
            )
            for key, text in self.sources.items()
        }
        return self.extensions.tree_with_references(self.resolved_values), sources

    def source_of(self, value: SourcedValue) -> str:
        """Return the text that names the source of a resolved value, as printed under tables."""
        override_path = value.key_path if value.layer == "override" else ""
        text = self.extensions.text_with_references(
            self._provenance.source_text(value.key_path, value.source or override_path)
        )
        if value.preset_note:
            text = _annotated_source_text(text, value.preset_note)
        if value.unscaled_value is None or self.study.training_length is None:
            return text
        return _scaled_source_text(self.study.training_length.flag, value.unscaled_value, text)

    def is_set_by_flag(self, key: str) -> bool:
        """Return whether a flag sets the value of a key of the study, such as "scenarios"."""
        origin = self._provenance.study_layers.origin_at(parse_key(key))
        return origin is not None and origin.flag_key is not None

    def with_epochs(self, epochs: int, flag: str = "--epochs") -> LoadedStudy:
        """Return a copy of the study that is scaled to another length of training.

        All numbers of epochs are scaled, except those set by flags.

        Args:
            epochs: new number of epochs of the study's own recipe.
            flag: flag that requested the length, for messages.

        Raises:
            StudyError: if `epochs` is not positive or contradicts another value of the study.
        """
        flag_key_paths = self._provenance.study_layers.flag_key_paths()
        study = self.study.with_training_length(TrainingLength(epochs, flag, flag_key_paths))
        try:
            study = study.with_scaled_spaces(scale_spaces(study))
            check_study(study)
        except FieldError as error:
            key = f"{error.field}: " if error.field.startswith(METHOD_KEY_PREFIXES) else ""
            message = self.extensions.text_with_references(f"{key}{error.message}")
            raise StudyError(f"{flag}: {message}") from error
        resolved_values, _ = export_study(study)
        stated_values = dict(iter_leaves(self.resolved_values))
        scaled_values = tuple(
            ScaledValue(format_key(key_path), stated_values[key_path], value)
            for key_path, value in iter_leaves(resolved_values)
            if stated_values.get(key_path, value) != value
            and key_path[0] not in KEYS_WITHOUT_SOURCE
        )
        scaled_sources = {
            scaled.key: _scaled_source_text(flag, scaled.stated_value, self.sources[scaled.key])
            for scaled in scaled_values
        }
        sources = {**self.sources, **scaled_sources, "recipe.epochs": f"set by {flag}"}
        return LoadedStudy(
            study,
            self.name,
            resolved_values,
            sources,
            self._provenance,
            self.extensions,
            scaled_values,
        )

    def to_study_error(self, error: FieldError) -> StudyError:
        """Convert a `FieldError` raised after loading into an error that names file, line and key.

        For example, only after the dataset has been read can its size be compared with `subset`.
        """
        return _study_error_at_origin(error, self._provenance.study_layers, self.extensions)


def _annotated_source_text(source: str, note: str) -> str:
    return f"{source}; {note}"


def _scaled_source_text(flag: str, stated_value: object, source: str) -> str:
    return f"scaled by {flag} from {stated_value} ({source})"


def load_study(
    name_or_path: str,
    changes: Sequence[Change] = (),
    is_allowed: Callable[[CodeFile], bool] = lambda _file: False,
) -> LoadedStudy:
    """Load a shipped study or the user's own YAML file, and apply the changes made by flags.

    A study that extends another one inherits its keys: mappings are merged key by key, a list
    replaces the inherited list, and null removes an inherited key. Deviations from the paper are
    those of a dataset: they are not inherited by a study on another one. What else a flag changes
    is described in `search_spaces.flags.apply_changes`.

    Args:
        name_or_path: name of a shipped study; a path if it contains a slash or ends with .yaml
            or .yml.
        changes: changes made by flags, in the order in which they are applied.
        is_allowed: function that decides whether a Python file that the study names may be
            executed; the default refuses.

    Raises:
        CodeError: if the study names code that is not allowed or cannot be executed.
        StudyError: if the study cannot be read or is not valid; the message is one line with the
            file and line, the key, the error and the allowed values.
    """
    files = _read_extends_chain(name_or_path)
    extensions = StudyExtensions(is_allowed)
    study_layers = StudyLayers(Origin(files[-1].label, layer_index=len(files) - 1))
    statements: list[SourceStatement] = []
    for layer_index, file in enumerate(files):
        is_inherited = file is not files[-1]
        inherited_at = _origin_lookup(files[-1])(("extends",)).label if is_inherited else ""
        origin_of = _origin_lookup(file, layer_index, inherited_at)
        tree = dict(_root_mapping(file))
        tree.pop("extends", None)
        if file.code_folder is not None:
            extensions.enter_folder(file.code_folder)
        sources_section = tree.pop("sources", None)
        study_layers.merge(*extensions.tree_with_names(tree, origin_of))
        inherited_prefix = f"inherited from {file.name}: " if is_inherited else ""
        statements += [
            replace(
                statement,
                key_path=extensions.path_with_names(statement.key_path),
                text=f"{inherited_prefix}{statement.text}",
            )
            for statement in read_source_statements(sources_section, origin_of)
        ]
    file_key_paths = study_layers.key_paths()
    apply_changes(study_layers, changes, len(files), extensions)
    if study_layers.is_set_later(("dataset",), ("deviations",)):
        # Sentences without a condition speak of the dataset of the study that states them.
        deviations = study_layers.value_at(("deviations",))
        conditional: list[PlainValue] = [
            deviation
            for deviation in (deviations if isinstance(deviations, list) else ())
            if isinstance(deviation, dict)
        ]
        origin = study_layers.nearest_origin(("dataset",))
        study_layers.merge_value(("deviations",), conditional or None, origin)
    try:
        study = validate_study(study_layers.tree)
        are_scenarios_replaced = study_layers.is_set_later(("scenarios",), ("overrides",))
        check_study(study, allow_unused_overrides=are_scenarios_replaced)
    except FieldError as error:
        raise _study_error_at_origin(error, study_layers, extensions) from error
    resolved_values, exported_sources = export_study(study)
    _check_name(files[-1], resolved_values, changes)
    own_statements = [s for s in statements if s.layer_index == len(files) - 1]
    try:
        check_source_statements(own_statements, resolved_values, file_key_paths)
    except StudyError as error:
        raise StudyError(extensions.text_with_references(str(error))) from error
    provenance = Provenance(study_layers, statements)
    sources = provenance.source_texts(resolved_values, exported_sources)
    for key_path, note in preset_notes(study, resolved_values).items():
        key = format_key(key_path)
        sources[key] = _annotated_source_text(sources[key], note)
    return LoadedStudy(study, files[-1].name, resolved_values, sources, provenance, extensions)


def _check_name(
    file: StudyFile, resolved_values: Mapping[str, Any], changes: Sequence[Change]
) -> None:
    """Check that a study file of the user's is not named like a different shipped study.

    Sweeps are recorded and reported by the name of their study.

    Args:
        file: file of the study.
        resolved_values: all values of the study, as changed by flags.
        changes: changes made by flags.

    Raises:
        StudyError: if the name is that of a different shipped study.
    """
    if file.folder is None or file.name not in shipped_study_names():
        return
    try:
        is_same = load_study(file.name, changes).resolved_values == resolved_values
    except StudyError:  # the changes fit only the study in the file
        is_same = False
    if not is_same:
        raise StudyError(
            f"{file.label}: the name '{file.name}' belongs to a study that comes with this "
            "program, and its sweeps and reports are recorded by that name: rename the file, for "
            f"example to my-{file.name}.yaml"
        )


def _read_extends_chain(name_or_path: str) -> list[StudyFile]:
    """Read a study and all studies that it extends, directly or not; the study itself is last."""
    files = [read_study_file(name_or_path)]
    while "extends" in (tree := _root_mapping(files[0])):
        base, location = tree["extends"], _origin_lookup(files[0])(("extends",)).label
        if not isinstance(base, str):
            raise StudyError(
                f"{location}: extends: must be the name or path of a study, got {base!r}"
            )
        try:
            files.insert(0, read_study_file(base, files[0].folder))
        except StudyError as error:
            raise StudyError(f"{location}: extends: {error}") from error
        is_repeated = any(file.is_same_as(files[0]) for file in files[1:])
        if is_repeated or len(files) > MAX_EXTENDS_FILES:
            chain = " -> ".join(file.label for file in reversed(files))
            raise StudyError(
                f"{location}: extends: the studies extend each other in a circle: {chain}"
            )
    return files


def _root_mapping(file: StudyFile) -> dict[str, PlainValue]:
    """Return the content of a study file, or raise `StudyError` if it is not a mapping."""
    value = file.document.value
    if not isinstance(value, dict):
        reason = "is empty" if value is None else "is not a mapping of keys"
        raise StudyError(
            f"{file.label}: not a study, since the file {reason}: see `show digits` for an example"
        )
    return value


def _origin_lookup(
    file: StudyFile, layer_index: int = 0, inherited_at: str = ""
) -> Callable[[KeyPath], Origin]:
    """Return a function that returns the origin of a key in a study file from its key path."""
    lines = file.document.lines
    return lambda key_path: Origin(
        f"{file.label}:{lines[key_path]}", layer_index, inherited_at=inherited_at
    )


def _study_error_at_origin(
    error: FieldError, study_layers: StudyLayers, extensions: StudyExtensions
) -> StudyError:
    """Return an error whose message begins with the file and line, or flag, of the faulty value."""
    key_path = parse_key(error.field)
    origin = study_layers.nearest_origin(key_path)
    key_path = extensions.path_with_references(key_path)
    key = format_key(key_path[:-1] if key_path and isinstance(key_path[-1], int) else key_path)
    message = extensions.text_with_references(error.message)
    inherited_at = f"{origin.inherited_at}: extends" if origin.inherited_at else ""
    texts = [inherited_at, origin.label, "" if key == origin.flag_key else key, message]
    return StudyError(": ".join(text for text in texts if text))
