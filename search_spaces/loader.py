"""From a study's name and the flags that change it to a checked `Study`.

A fault is shown where it was made: `file.yaml:LINE: key: message` or `--flag: message`.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from search_spaces.files import StudyFile, open_study
from search_spaces.flags import Change, apply_changes, parse_set
from search_spaces.layers import Layers, Origin, dotted, key_path
from search_spaces.provenance import (
    Statement,
    check_statements,
    read_statements,
    source_texts,
)
from search_spaces.reading import read_study
from search_spaces.scaling import list_scaled, with_epochs
from search_spaces.settling import settle
from search_spaces.yaml_lines import dump_yaml
from trainables.errors import FieldError, StudyError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from search_spaces.schema import Study
    from search_spaces.yaml_lines import KeyPath, Plain

__all__ = ["Change", "LoadedStudy", "load_study", "parse_set"]

SAID_BY_METHOD = ("hyperparameters.", "overrides.", "recipes.", "reference.")
"""Sections whose keys a fault of scaling has to name: the message alone does not say the method."""

MOST_FILES = 20
"""A chain of `extends` longer than this is a circle (of paths written in ever other ways)."""


@dataclass(frozen=True)
class LoadedStudy:
    """A checked study, with every default written out, and where its values come from.

    Attributes:
        study: the study.
        name: stem of its file.
        sources: by dotted path of each value: "paper, section 5.1", "set by --trials",
            "default of method nal", or file and line where nothing else is said.
    """

    study: Study
    name: str
    sources: Mapping[str, str]
    _layers: Layers = field(repr=False, compare=False)

    def to_yaml(self) -> str:
        """Write the study as YAML that loads as the same study with the same sources."""
        return dump_yaml({**self.study.to_plain(), "sources": dict(self.sources)})

    def with_epochs(self, epochs: int, flag: str = "--epochs") -> LoadedStudy:
        """Return the study with another length of training, all that counts epochs scaled with it.

        What flags have set is taken as it is.

        Raises:
            StudyError: no number of epochs, or one that the study cannot have.
        """
        try:
            study = with_epochs(self.study, epochs, keep=self._layers.paths_of_flags())
        except FieldError as error:
            key = f"{error.field}: " if error.field.startswith(SAID_BY_METHOD) else ""
            raise StudyError(f"{flag}: {key}{error.message}") from error
        scaled = {
            change.path: f"scaled by {flag} from {change.before} ({self.sources[change.path]})"
            for change in list_scaled(self.study, study)
        }
        scaled["recipe.epochs"] = f"set by {flag}"
        return LoadedStudy(study, self.name, {**self.sources, **scaled}, self._layers)

    def explain(self, error: FieldError) -> StudyError:
        """Turn a fault that shows later (a subset larger than the data) into its line for users."""
        return _explain(error, self._layers)


def load_study(name_or_path: str, changes: Sequence[Change] = ()) -> LoadedStudy:
    """Load a shipped study, or the user's own YAML file, and apply what flags change.

    A study that extends another is laid over it key by key; lists are replaced, a null takes
    back. For what follows from a flag, see `search_spaces.flags.apply_changes`.

    Args:
        name_or_path: a path if it has a slash or ends with .yaml or .yml.
        changes: what flags change, in the order they are applied.

    Raises:
        StudyError: one line: where, which key, what is wrong, what is allowed.
    """
    files = _chain(name_or_path)
    layers = Layers(Origin(files[-1].label, level=len(files) - 1))
    statements: list[Statement] = []
    for level, file in enumerate(files):
        origin_of = _origins(file, level)
        tree = dict(_mapping(file))
        tree.pop("extends", None)
        statements += read_statements(tree.pop("sources", None), origin_of)
        layers.lay(tree, origin_of)
    said_by_files = layers.paths()
    apply_changes(layers, changes, first_level=len(files))
    try:
        settled = settle(layers.tree, narrowed=_after(layers, "scenarios", "overrides"))
    except FieldError as error:
        raise _explain(error, layers) from error
    try:
        study = read_study(read_study(settled.tree).to_plain())
    except FieldError as error:
        place = dotted(settled.place(key_path(error.field)))
        raise _explain(FieldError(place, error.message), layers) from error
    plain = study.to_plain()
    check_statements([s for s in statements if s.level == len(files) - 1], plain, said_by_files)
    return LoadedStudy(
        study, files[-1].name, source_texts(plain, layers, statements, settled.sources), layers
    )


def _chain(name_or_path: str) -> list[StudyFile]:
    """Read a study and all that it extends, the outermost base first."""
    files = [open_study(name_or_path)]
    while "extends" in (tree := _mapping(files[0])):
        base, where = tree["extends"], _origins(files[0], 0)(("extends",)).text
        if not isinstance(base, str):
            raise StudyError(f"{where}: extends: must be the name or path of a study, got {base!r}")
        try:
            files.insert(0, open_study(base, files[0].folder))
        except StudyError as error:
            raise StudyError(f"{where}: extends: {error}") from error
        if files[0].label in [file.label for file in files[1:]] or len(files) > MOST_FILES:
            trail = " -> ".join(file.label for file in reversed(files))
            raise StudyError(f"{where}: extends: goes round in a circle: {trail}")
    return files


def _mapping(file: StudyFile) -> dict[str, Plain]:
    value = file.document.value
    if not isinstance(value, dict):
        said = "it is empty" if value is None else "it is no mapping"
        raise StudyError(f"{file.label}: not a study, {said}: see `show digits` for an example")
    return value


def _origins(file: StudyFile, level: int) -> Callable[[KeyPath], Origin]:
    lines = file.document.lines
    return lambda path: Origin(f"{file.label}:{lines[path]}", level)


def _after(layers: Layers, later: str, earlier: str) -> bool:
    """Tell whether one key was said in a later layer than another."""
    last, first = layers.origin((later,)), layers.origin((earlier,))
    return last is not None and first is not None and last.level > first.level


def _explain(error: FieldError, layers: Layers) -> StudyError:
    path = key_path(error.field)
    origin = layers.nearest_origin(path)
    key = dotted(path[:-1] if path and isinstance(path[-1], int) else path)
    shown = [origin.text, "" if key == origin.flag_key else key, error.message]
    return StudyError(": ".join(part for part in shown if part))
