"""From a study's name and the flags that change it to a checked `Study`.

A fault is shown where it was made: `file.yaml:LINE: key: message` or `--flag: message`.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import pairwise
from typing import TYPE_CHECKING, Any

from search_spaces.checks import check_study
from search_spaces.files import StudyFile, open_study
from search_spaces.flags import Change, apply_changes, parse_set
from search_spaces.layers import Layers, Origin, dotted, key_path, leaves
from search_spaces.length import Length
from search_spaces.provenance import Provenance, Statement, check_statements, read_statements
from search_spaces.reading import read_study
from search_spaces.written import write_out
from search_spaces.yaml_lines import KeyPath, Plain, dump_yaml
from trainables.errors import FieldError, StudyError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from search_spaces.resolve import SourcedValue
    from search_spaces.schema import Study

__all__ = ["Change", "LoadedStudy", "load_study", "parse_set"]

SAID_BY_METHOD = ("hyperparameters.", "overrides.", "recipes.", "reference.")
"""Sections whose keys a fault of scaling has to name: the message alone does not say the method."""

BY_METHOD = ("hyperparameters", "reference", "recipes")
"""Sections whose keys are methods."""

MOST_FILES = 20
"""A chain of `extends` longer than this is a circle (of paths written in ever other ways)."""


@dataclass(frozen=True, slots=True)
class Scaled:
    """One value that changed with the length of training.

    Attributes:
        path: its dotted key.
        before: as the study has it.
        after: as runs will have it.
    """

    path: str
    before: object
    after: object

    def __str__(self) -> str:
        """Write it as plans do: `epochs 500 -> 20`, `nal.first_target_epoch 60 -> 2`."""
        keys = self.path.split(".")
        owners = [one for section, one in pairwise(keys) if section in BY_METHOD]
        return f"{'.'.join([*owners, keys[-1]])} {self.before} -> {self.after}"


@dataclass(frozen=True)
class LoadedStudy:
    """A checked study, and where its values come from.

    Attributes:
        study: the study.
        name: stem of its file.
        plain: the study as YAML values, with all that it resolves to written out.
        sources: by dotted path of each of them: "paper, section 5.1", "set by --trials",
            "default of method nal", or file and line where nothing else is said.
        scaled: what changed with the length of training that was asked for.
    """

    study: Study = field(compare=False)
    name: str
    plain: Mapping[str, Any]
    sources: Mapping[str, str]
    _provenance: Provenance = field(repr=False, compare=False)
    scaled: tuple[Scaled, ...] = ()

    def to_yaml(self) -> str:
        """Write the study as YAML that loads as the same study with the same sources."""
        return dump_yaml({**self.plain, "sources": dict(self.sources)})

    def source_of(self, one: SourcedValue) -> str:
        """Say where a value that the study resolves to comes from."""
        place = one.path if one.layer == "override" else ""
        text = self._provenance.text(one.path, one.source or place)
        if one.whole is None or self.study.length is None:
            return text
        return _scaled_text(self.study.length.flag, one.whole, text)

    def with_epochs(self, epochs: int, flag: str = "--epochs") -> LoadedStudy:
        """Return the study with another length of training, all that counts epochs scaled with it.

        What flags have set is taken as it is.

        Raises:
            StudyError: no number of epochs, or one that the study cannot have.
        """
        kept = self._provenance.layers.set_by_flags()
        study = self.study.with_length(Length(epochs, flag, kept))
        try:
            check_study(study)
        except FieldError as error:
            key = f"{error.field}: " if error.field.startswith(SAID_BY_METHOD) else ""
            raise StudyError(f"{flag}: {key}{error.message}") from error
        plain, _ = write_out(study)
        before = dict(leaves(self.plain))
        scaled = tuple(
            Scaled(dotted(path), before[path], value)
            for path, value in leaves(plain)
            if path in before and before[path] != value
        )
        texts = {one.path: _scaled_text(flag, one.before, self.sources[one.path]) for one in scaled}
        sources = {**self.sources, **texts, "recipe.epochs": f"set by {flag}"}
        return LoadedStudy(study, self.name, plain, sources, self._provenance, scaled)

    def explain(self, error: FieldError) -> StudyError:
        """Turn a fault that shows later (a subset larger than the data) into its line for users."""
        return _explain(error, self._provenance.layers)


def _scaled_text(flag: str, before: object, source: str) -> str:
    return f"scaled by {flag} from {before} ({source})"


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
        layers.merge(tree, origin_of)
    said_by_files = layers.paths()
    apply_changes(layers, changes, first_level=len(files))
    try:
        study = read_study(layers.tree)
        check_study(study, narrowed=_after(layers, "scenarios", "overrides"))
    except FieldError as error:
        raise _explain(error, layers) from error
    plain, taken = write_out(study)
    check_statements([s for s in statements if s.level == len(files) - 1], plain, said_by_files)
    provenance = Provenance(layers, statements)
    sources = provenance.source_texts(plain, taken)
    return LoadedStudy(study, files[-1].name, plain, sources, provenance)


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
