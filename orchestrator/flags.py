"""Command-line flags that locate data and results, and flags that change a study.

Each flag is declared once, as a field of `Places` or `Changes`: its type, its help text, and the
key of the study that it changes. The options of the commands (`with_flags`), the changes to the
study, and the commands that are suggested to the user (`command_line`) are derived from these
declarations.
"""

from __future__ import annotations

import inspect
import shlex
from copy import copy
from dataclasses import dataclass, fields
from functools import partial
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

REPEATED = tuple[str, ...]
"""Type of a flag that may be repeated on the command line."""
COMMA_SEPARATED = tuple[str, ...] | None
"""Type of a flag whose value is a list separated by commas."""


def _first_seeds(count: int) -> list[int]:
    """Return the seeds 0 to `count` - 1."""
    if count < 1:
        raise ValueError(f"must be at least 1, got {count}")
    return list(range(count))


AllowCode = Annotated[
    bool,
    typer.Option("--allow-code", help="Execute the files that the study names without asking."),
]


@dataclass(frozen=True, slots=True)
class StudyKey:
    """Key of a study file that a flag changes.

    Attributes:
        path: dotted path of the key, such as "search.trials".
        convert: function from the flag's value to the key's value; it raises `ValueError` for a
            value that is not allowed.
    """

    path: str
    convert: Callable[[Any], object]


@dataclass(frozen=True, slots=True)
class Changes:
    """A study and the changes that flags make to it.

    A flag that was not passed is None or empty and leaves the study as it is.

    Attributes:
        study: name of a study, or path of a YAML file.
        trials: target number of trials of each search.
        epochs: number of epochs of each training; every setting counted in epochs scales with it.
        seeds: number of confirm seeds; they are 0 to seeds - 1.
        scenarios: names of the scenarios to keep; empty to keep all of the study.
        methods: names of the methods to compare.
        subset: number of training samples.
        sets: assignments of the form KEY=VALUE to any other keys of the study.
        allow_code: whether files that the study names are executed without asking.
    """

    study: Annotated[str, typer.Argument(help="Name of a study, or path of a YAML file.")]
    trials: Annotated[
        int | None,
        typer.Option(help="Target number of trials of each search."),
        StudyKey("search.trials", int),
    ] = None
    epochs: Annotated[
        int | None, typer.Option(help="Epochs of each training; schedules are scaled with it.")
    ] = None
    seeds: Annotated[
        int | None,
        typer.Option(help="Number of seeds in the confirm phase."),
        StudyKey("confirm.seeds", _first_seeds),
    ] = None
    scenarios: Annotated[
        tuple[str, ...],
        typer.Option("--scenario", help="Label noise, such as symmetric-0.4; may be repeated."),
        StudyKey("scenarios", list),
    ] = ()
    methods: Annotated[
        tuple[str, ...] | None,
        typer.Option(help="Methods to compare, such as nal,ce."),
        StudyKey("methods", list),
    ] = None
    subset: Annotated[
        int | None, typer.Option(help="Number of training images to use."), StudyKey("subset", int)
    ] = None
    sets: Annotated[
        tuple[str, ...],
        typer.Option("--set", metavar="KEY=VALUE", help="Any key of the study; may be repeated."),
    ] = ()
    allow_code: AllowCode = False

    def load(self) -> LoadedStudy:
        """Load the study and apply the flags.

        Raises:
            StudyError: if a flag or the study is invalid.
            CodeError: if the study names code that has not been allowed or cannot be executed.
        """
        from orchestrator.approval import is_allowed
        from search_spaces.loader import load_study, parse_set
        from search_spaces.resolve import matched_recipe

        loaded = load_study(
            self.study,
            [*map(parse_set, self.sets), *self._key_changes()],
            partial(is_allowed, allow_code=self.allow_code),
        )
        if self.epochs is None or self.epochs == matched_recipe(loaded.study).epochs:
            return loaded
        return loaded.with_epochs(self.epochs)

    def method_name(self, reference: str) -> str:
        """Return the name of a method, which may be a reference relative to the study.

        Raises:
            StudyError: if there is no such study.
            CodeError: if the file of the method has not been allowed or cannot be executed.
        """
        from orchestrator.approval import is_allowed
        from search_spaces.files import open_study
        from search_spaces.references import StudyExtensions

        extensions = StudyExtensions(partial(is_allowed, allow_code=self.allow_code))
        folder = open_study(self.study).code_folder
        if folder is not None:
            extensions.enter_folder(folder)
        return extensions.name_of("method", reference)

    def _key_changes(self) -> Iterator[Change]:
        """Yield the changes made by flags that correspond to one key of the study each."""
        from search_spaces.loader import Change

        for flag in flags_of(Changes):
            value = getattr(self, flag.name)
            if flag.key is None or value == flag.default:
                continue
            try:
                yield Change(flag.key.path, flag.key.convert(value), flag.option)
            except ValueError as error:
                raise StudyError(f"{flag.option}: {error}") from error


@dataclass(frozen=True, slots=True)
class Places:
    """Locations of data and results, and the engine that carries out the runs.

    Attributes:
        data_dir: absolute path of the folder of datasets; None for `data/` in the home folder.
        home_dir: absolute path of the home folder, to which everything is written.
        engine: name of the engine.
        ray_address: address of a running Ray cluster; None to start Ray on this machine.
        tracking_uri: URI of an MLflow store; None for the SQLite file in the home folder.
    """

    data_dir: Annotated[
        Path | None, typer.Option(help="Folder of the datasets. [default: HOME/data]")
    ] = None
    home_dir: Annotated[Path, typer.Option("--home", help="Folder for all results.")] = DEFAULT_HOME
    engine: Annotated[
        str, typer.Option(help=f"Engine that carries out the runs: {', '.join(engine_names())}.")
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
        """Home folder, to which everything is written."""
        return Home(self.home_dir)

    @property
    def data(self) -> Path:
        """Folder of the datasets."""
        return self.data_dir or self.home.data

    @property
    def store(self) -> str:
        """URI of the MLflow store."""
        return self.tracking_uri or home_store(self.home_dir)


def _absolute(value: object) -> object:
    """Return a path as an absolute path, and any other value unchanged."""
    return value.expanduser().resolve() if isinstance(value, Path) else value


@dataclass(frozen=True, slots=True)
class Flag:
    """A command-line flag, declared by a field of `Changes` or `Places`.

    Attributes:
        name: name of the field.
        option: option on the command line, such as "--trials"; "" for a positional argument.
        type: type of the field.
        default: default of the field; paths are absolute.
        info: typer's description of the flag.
        key: key of the study that the flag changes; None if it changes no key or several.
    """

    name: str
    option: str
    type: object
    default: object
    info: Any
    key: StudyKey | None


def flags_of(flag_class: type) -> Iterator[Flag]:
    """Yield the flags that `Changes` or `Places` declares, in the order of its fields."""
    hints = get_type_hints(flag_class, include_extras=True)
    for field in fields(flag_class):
        type_, info, *keys = get_args(hints[field.name])
        # In an annotation, typer stores an explicit option name as the default.
        explicit = isinstance(info, typer.models.OptionInfo) and info.default
        option = explicit if isinstance(explicit, str) else f"--{field.name.replace('_', '-')}"
        if isinstance(info, typer.models.ArgumentInfo):
            option = ""
        default = _absolute(field.default)
        yield Flag(field.name, option, type_, default, info, keys[0] if keys else None)


def command_line(command: str, *flag_values: Changes | Places) -> str:
    """Return the command line, for a shell, that runs a command with the given flags.

    Flags with their default values are omitted.

    Args:
        command: name of the command, such as "sweep".
        flag_values: values of the flags.
    """
    arguments = ["python", "-m", "orchestrator", command]
    for values in flag_values:
        for flag in flags_of(type(values)):
            value = getattr(values, flag.name)
            if value == flag.default:
                continue
            if flag.name == "allow_code":
                continue  # a command that is only shown must not allow files that change later
            for item in value if flag.type == REPEATED else [value]:
                text = ",".join(item) if isinstance(item, tuple) else str(item)
                arguments += [flag.option, text] if flag.option else [text]
    return shlex.join(arguments)


@dataclass(frozen=True, slots=True)
class FlagOverride:
    """Declaration of a flag that differs in one command.

    Attributes:
        name: name of the field that declares the flag.
        help: help text of the flag in this command.
        single: whether a flag that may be repeated elsewhere accepts only one value here.
    """

    name: str
    help: str
    single: bool = False


def with_flags(
    *names: str | FlagOverride,
) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Return a decorator that adds flags to a command.

    The command receives the values of the flags as its arguments `changes` and `places`. If the
    home folder has a layout of another version, an error is raised before the command begins.

    Args:
        names: names of the fields that declare the flags, and of the command's other parameters,
            in the order of the help text.
    """

    def decorate(command: Callable[..., None]) -> Callable[..., None]:
        hints = get_type_hints(command, include_extras=True)
        command_parameters = inspect.signature(command).parameters
        flag_classes = {
            name: hints[name] for name in ("changes", "places") if name in command_parameters
        }
        flags = {
            flag.name: flag for flag_class in flag_classes.values() for flag in flags_of(flag_class)
        }
        parameters = []
        for entry in names:
            override = entry if isinstance(entry, FlagOverride) else None
            name = entry.name if isinstance(entry, FlagOverride) else entry
            if name in flags:
                parameters.append(_typer_parameter(flags[name], override))
            else:
                parameters.append(
                    command_parameters[name].replace(
                        annotation=hints[name], kind=inspect.Parameter.KEYWORD_ONLY
                    )
                )

        def wrapper(**values: Any) -> None:  # noqa: ANN401 - values of any flag
            for name, flag_class in flag_classes.items():
                values[name] = flag_class(
                    **{
                        flag.name: _field_value(flag.type, values.pop(flag.name))
                        for flag in flags_of(flag_class)
                        if flag.name in values
                    }
                )
            if "places" in values:
                values["places"].home.check()
            command(**values)

        wrapper.__doc__, wrapper.__name__ = command.__doc__, command.__name__
        wrapper.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
        wrapper.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
        return wrapper

    return decorate


def _typer_parameter(flag: Flag, override: FlagOverride | None) -> inspect.Parameter:
    """Return the function parameter that declares a flag to typer.

    Typer does not support tuples of any length, so they become lists or texts.
    """
    info, type_, default = flag.info, flag.type, flag.default
    if override is not None:
        info = copy(info)
        info.help = override.help
    if type_ == REPEATED:
        type_, default = (str if override and override.single else list[str]) | None, None
    elif type_ == COMMA_SEPARATED:
        type_ = str | None
    if isinstance(default, Path):
        default = DEFAULT_HOME
    return inspect.Parameter(
        flag.name,
        inspect.Parameter.KEYWORD_ONLY,
        default=default if flag.option else inspect.Parameter.empty,
        annotation=Annotated[type_, info],
    )


def _field_value(type_: object, value: Any) -> Any:  # noqa: ANN401 - value of any flag
    """Convert the value of a flag, as typer returns it, to the type of the field."""
    if type_ == REPEATED:
        return (value,) if isinstance(value, str) else tuple(value or ())
    if type_ == COMMA_SEPARATED and value is not None:
        return tuple(filter(None, (item.strip() for item in value.split(","))))
    return value
