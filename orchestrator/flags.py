"""The flags of the command line that say where things are, and what changes in a study.

Each is declared once, as a field of `Places` or `Changes`: its type, its text in --help, and the
key of the study that it changes. From this follow the options of the commands (`takes`), the
changes to the study, and the commands that are offered to be typed next (`command_line`).
"""

from __future__ import annotations

import inspect
import shlex
from copy import copy
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, get_args, get_type_hints

import typer

from orchestrator.engine.base import engine_names
from orchestrator.home import DEFAULT_HOME, Home
from reports.store import home_store
from trainables.errors import StudyError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from search_spaces.loader import Change, LoadedStudy

REPEATED, LISTED = tuple[str, ...], tuple[str, ...] | None
"""Types of a flag that may be repeated, and of one whose values are divided by commas."""


KEYWORD = inspect.Parameter.KEYWORD_ONLY


def _first_seeds(count: int) -> list[int]:
    if count < 1:
        raise ValueError(f"must be at least 1, got {count}")
    return list(range(count))


@dataclass(frozen=True, slots=True)
class Key:
    """The key of a study that a flag changes.

    Attributes:
        path: of the key.
        value: makes the key's value of the flag's; its `ValueError` is the user's fault.
    """

    path: str
    value: Callable[[Any], object]


@dataclass(frozen=True, slots=True)
class Changes:
    """A study, and what flags change in it.

    Attributes:
        study: name, or path of a YAML file.
        trials: of each search.
        epochs: of each training; what counts epochs is scaled with it.
        seeds: number of confirm seeds, 0 to seeds - 1.
        scenarios: those to keep; empty for all.
        methods: those to compare; None for the study's.
        subset: number of training samples.
        sets: KEY=VALUE for any other key.
    """

    study: Annotated[str, typer.Argument(help="Name of a study, or path of a YAML file.")]
    trials: Annotated[
        int | None, typer.Option(help="Trials of each search: a target."), Key("search.trials", int)
    ] = None
    epochs: Annotated[
        int | None, typer.Option(help="Epochs of a training; schedules are scaled with it.")
    ] = None
    seeds: Annotated[
        int | None,
        typer.Option(help="Number of seeds of each cell."),
        Key("confirm.seeds", _first_seeds),
    ] = None
    scenarios: Annotated[
        tuple[str, ...],
        typer.Option("--scenario", help="Label noise, such as symmetric-0.4; may be repeated."),
        Key("scenarios", list),
    ] = ()
    methods: Annotated[
        tuple[str, ...] | None,
        typer.Option(help="Methods to compare, such as nal,ce."),
        Key("methods", list),
    ] = None
    subset: Annotated[
        int | None, typer.Option(help="Train on so many images only."), Key("subset", int)
    ] = None
    sets: Annotated[
        tuple[str, ...],
        typer.Option("--set", metavar="KEY=VALUE", help="Any key of the study; may be repeated."),
    ] = ()

    def load(self) -> LoadedStudy:
        """Load the study and apply the flags.

        Raises:
            StudyError: a flag, or the study, says something that cannot be.
        """
        from search_spaces.loader import load_study, parse_set
        from search_spaces.resolve import matched_recipe

        loaded = load_study(self.study, [*map(parse_set, self.sets), *self._changes()])
        if self.epochs is None or self.epochs == matched_recipe(loaded.study).epochs:
            return loaded
        return loaded.with_epochs(self.epochs)

    def _changes(self) -> Iterator[Change]:
        from search_spaces.loader import Change

        for flag in flags_of(Changes):
            value = getattr(self, flag.name)
            if flag.key is None or value == flag.default:
                continue
            try:
                yield Change(flag.key.path, flag.key.value(value), flag.word)
            except ValueError as error:
                raise StudyError(f"{flag.word}: {error}") from error


@dataclass(frozen=True, slots=True)
class Places:
    """Where things are, and where runs are carried out; paths are absolute.

    Attributes:
        data_dir: where the datasets are; None for the home's own.
        home_dir: where everything is written.
        engine: what carries out the runs.
        ray_address: of a running cluster; None to start Ray here.
        tracking_uri: of an MLflow store; None for the home's own.
    """

    data_dir: Annotated[
        Path | None, typer.Option(help="Where the dataset is. [default: HOME/data]")
    ] = None
    home_dir: Annotated[Path, typer.Option("--home", help="Where everything is written.")] = (
        DEFAULT_HOME
    )
    engine: Annotated[
        str, typer.Option(help=f"What carries out the runs: {', '.join(engine_names())}.")
    ] = "ray"
    ray_address: Annotated[
        str | None,
        typer.Option(help="HOST:PORT of a running Ray cluster. [default: start Ray here]"),
    ] = None
    tracking_uri: Annotated[
        str | None,
        typer.Option(
            envvar="MLFLOW_TRACKING_URI", help="MLflow store. [default: sqlite under HOME]"
        ),
    ] = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "home_dir", _absolute(self.home_dir))
        object.__setattr__(self, "data_dir", _absolute(self.data_dir))

    @property
    def home(self) -> Home:
        """The home folder."""
        return Home(self.home_dir)

    @property
    def data(self) -> Path:
        """Where the datasets are."""
        return self.data_dir or self.home.data

    @property
    def store(self) -> str:
        """URI of the MLflow store."""
        return self.tracking_uri or home_store(self.home_dir)


def _absolute(value: object) -> object:
    return value.expanduser().resolve() if isinstance(value, Path) else value


@dataclass(frozen=True, slots=True)
class Flag:
    """A flag, as the field of a class declares it.

    Attributes:
        name: of the field.
        word: as it is typed, such as "--trials"; "" for an argument.
        type: of the field.
        default: of the field; paths are absolute.
        info: as typer describes it.
        key: of the study; None where it changes none, or more than one.
    """

    name: str
    word: str
    type: object
    default: object
    info: Any
    key: Key | None


def flags_of(kind: type) -> Iterator[Flag]:
    """Yield the flags that a class declares, in order."""
    hints = get_type_hints(kind, include_extras=True)
    for field in fields(kind):
        type_, info, *keys = get_args(hints[field.name])
        # An option's own spelling is where typer keeps a default otherwise.
        spelt = isinstance(info, typer.models.OptionInfo) and info.default
        word = spelt if isinstance(spelt, str) else f"--{field.name.replace('_', '-')}"
        if isinstance(info, typer.models.ArgumentInfo):
            word = ""
        default = _absolute(field.default)
        yield Flag(field.name, word, type_, default, info, keys[0] if keys else None)


def command_line(verb: str, *typed: Changes | Places) -> str:
    """Return the command that says the same as these objects."""
    words = ["python", "-m", "orchestrator", verb]
    for one in typed:
        for flag in flags_of(type(one)):
            value = getattr(one, flag.name)
            if value == flag.default:
                continue
            for part in value if flag.type == REPEATED else [value]:
                text = ",".join(part) if isinstance(part, tuple) else str(part)
                words += [flag.word, text] if flag.word else [text]
    return shlex.join(words)


@dataclass(frozen=True, slots=True)
class Varied:
    """A flag that a command takes in a way of its own.

    Attributes:
        name: of the field.
        help: its text there.
        once: whether it may be typed only once, where others repeat it.
    """

    name: str
    help: str
    once: bool = False


def takes(*names: str | Varied) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Let a command take flags, and hand them to its parameters `changes` and `places`.

    A home in another format is refused before the command begins.

    Args:
        names: of the flags' fields and of the command's other parameters, in the order of --help.
    """

    def decorate(command: Callable[..., None]) -> Callable[..., None]:
        hints = get_type_hints(command, include_extras=True)
        own = inspect.signature(command).parameters
        kinds = {name: hints[name] for name in ("changes", "places") if name in own}
        declared = {flag.name: flag for kind in kinds.values() for flag in flags_of(kind)}
        parameters = []
        for entry in names:
            varied = entry if isinstance(entry, Varied) else None
            name = entry.name if isinstance(entry, Varied) else entry
            if name in declared:
                parameters.append(_parameter(declared[name], varied))
            else:
                parameters.append(own[name].replace(annotation=hints[name], kind=KEYWORD))

        def typed(**values: Any) -> None:  # noqa: ANN401 - of any flag
            for name, kind in kinds.items():
                values[name] = kind(
                    **{
                        flag.name: _read(flag.type, values.pop(flag.name))
                        for flag in flags_of(kind)
                        if flag.name in values
                    }
                )
            if "places" in values:
                values["places"].home.check()
            command(**values)

        typed.__doc__, typed.__name__ = command.__doc__, command.__name__
        typed.__annotations__ = {one.name: one.annotation for one in parameters}
        typed.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
        return typed

    return decorate


def _parameter(flag: Flag, varied: Varied | None) -> inspect.Parameter:
    """Describe a flag as typer reads it: it knows no tuples of any length."""
    info, type_, default = flag.info, flag.type, flag.default
    if varied is not None:
        info = copy(info)
        info.help = varied.help
    if type_ == REPEATED:
        type_, default = (str if varied and varied.once else list[str]) | None, None
    elif type_ == LISTED:
        type_ = str | None
    if isinstance(default, Path):
        default = DEFAULT_HOME
    return inspect.Parameter(
        flag.name,
        KEYWORD,
        default=default if flag.word else inspect.Parameter.empty,
        annotation=Annotated[type_, info],
    )


def _read(type_: object, value: Any) -> Any:  # noqa: ANN401 - of any flag
    """Return a flag's value as its field holds it."""
    if type_ == REPEATED:
        return (value,) if isinstance(value, str) else tuple(value or ())
    if type_ == LISTED and value is not None:
        return tuple(filter(None, value.replace(" ", "").split(",")))
    return value
