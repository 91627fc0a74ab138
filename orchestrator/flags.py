"""Declaration of the command-line flags: those that change a study, and those that locate data.

Each flag is declared once, as a field of `StudyFlags` or `Locations`, with its type, help text and
the key of the study that the flag changes. Three things are derived from these declarations: the
options of the commands (`with_flags`), the changes to the study (`StudyFlags.load`), and commands
that are suggested to the user (`command_line`).
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
from reports.store import has_unencoded_login, home_store_uri, mask_password
from trainables.databases import database_url
from trainables.errors import StudyError, UserError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from search_spaces.loader import Change, LoadedStudy

REPEATED_FLAG = tuple[str, ...]
"""Type of the fields whose flag may be repeated on the command line."""
COMMA_SEPARATED_FLAG = tuple[str, ...] | None
"""Type of the fields whose flag takes a list of names, separated by commas."""


def _first_seeds(count: int) -> list[int]:
    """Return the seeds 0 to `count` - 1."""
    from search_spaces.schema import MAX_SEED_COUNT

    if not 1 <= count <= MAX_SEED_COUNT:
        bound = "at least 1" if count < 1 else f"at most {MAX_SEED_COUNT}"
        raise ValueError(f"must be {bound}, got {count}")
    return list(range(count))


@dataclass(frozen=True, slots=True)
class Permission:
    """Mark of a flag by which the user permits something.

    Commands that are suggested to the user never contain the flag, since what it permits may have
    changed by the time the user runs them.
    """


class PasswordHolder:
    """Mark of a flag whose value may contain a password, which no suggested command contains."""


AllowCodeFlag = Annotated[
    bool,
    typer.Option("--allow-code", help="Execute the files that the study names without asking."),
    Permission(),
]
"""Type of a field or argument that is set by the flag `--allow-code`."""


@dataclass(frozen=True, slots=True)
class StudyKey:
    """Key of a study (an entry of its YAML file) that a flag changes.

    Attributes:
        key_path: dotted path of the key, such as "search.trials".
        convert: function that turns the flag's value into the key's value, and raises
            `ValueError` if the flag's value is not allowed.
    """

    key_path: str
    convert: Callable[[Any], object]


@dataclass(frozen=True, slots=True)
class StudyFlags:
    """Flags that select a study and change it.

    The field of a flag that was not passed is None or empty, and leaves the study as it is.

    Attributes:
        study: name of a study, or path of a YAML file.
        trials: total number of trials of each hyperparameter search.
        epochs: number of epochs of each run; settings counted in epochs are scaled in proportion.
        seeds: number of seeds of the confirm phase, which uses the seeds 0 to `seeds` - 1.
        scenarios: names of the label noise to use; empty for all scenarios of the study.
        methods: names of the methods to compare.
        subset: number of training samples.
        budget_hours: time that all starts of the sweep may take together, in hours.
        from_sweep: name of an earlier sweep from whose trials the searches learn.
        sets: values of the flag `--set`: texts KEY=VALUE that change any key of the study.
        allow_code: whether files that the study names are executed without asking.
    """

    study: Annotated[str, typer.Argument(help="Name of a study, or path of a YAML file.")]
    trials: Annotated[
        int | None,
        typer.Option(help="Target number of trials of each search."),
        StudyKey("search.trials", int),
    ] = None
    epochs: Annotated[
        int | None, typer.Option(help="Epochs of each run; schedules are scaled in proportion.")
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
    budget_hours: Annotated[
        float | None,
        typer.Option(
            metavar="HOURS",
            help="Hours that all starts of the sweep may take together; it then ends with the "
            "table that it has.",
        ),
        StudyKey("budget.hours", float),
    ] = None
    from_sweep: Annotated[
        str | None,
        typer.Option(
            "--from",
            metavar="SWEEP",
            help="Earlier sweep from whose trials the search learns: a study, or a digest.",
        ),
    ] = None
    sets: Annotated[
        tuple[str, ...],
        typer.Option("--set", metavar="KEY=VALUE", help="Any key of the study; may be repeated."),
    ] = ()
    allow_code: AllowCodeFlag = False

    def load(self) -> LoadedStudy:
        """Load the study and apply the flags.

        Raises:
            StudyError: if a flag or the study is invalid.
            CodeError: if the user has not allowed a code file that the study names, or the file
                cannot be executed.
        """
        from orchestrator.approval import is_allowed
        from search_spaces.loader import load_study, parse_set_flag
        from search_spaces.resolve import matched_recipe

        changes = [*map(parse_set_flag, self.sets), *self._key_changes()]
        may_execute = partial(is_allowed, allow_code=self.allow_code)
        loaded = load_study(self.study, changes, may_execute)
        if fewer_crossed_seeds := self._fewer_crossed_seeds(loaded):
            loaded = load_study(self.study, [*changes, fewer_crossed_seeds], may_execute)
        if self.epochs is None or self.epochs == matched_recipe(loaded.study).epochs:
            return loaded
        return loaded.with_epochs(self.epochs)

    def check_study_exists(self) -> None:
        """Check that there is a file of the study, and that it is YAML.

        Raises:
            StudyError: if there is none, or it cannot be read.
        """
        from search_spaces.files import read_study_file

        read_study_file(self.study)

    def method_name(self, reference: str) -> str:
        """Return the name of a method that the user selects.

        Args:
            reference: name of the method; or FILE.py:CLASS for a class in a code file, whose path
                is relative to the study.

        Raises:
            StudyError: if the study does not exist.
            CodeError: if the user has not allowed the code file, or the file cannot be executed.
        """
        from orchestrator.approval import load_reference
        from search_spaces.files import read_study_file

        folder = read_study_file(self.study).code_folder
        return load_reference("method", reference, folder, allow_code=self.allow_code)

    def _fewer_crossed_seeds(self, loaded: LoadedStudy) -> Change | None:
        """Return the change by which `--seeds` also limits the seeds of `confirm.cross`.

        At least two are left, since one seed has no variance.
        """
        from search_spaces.loader import Change

        cross = loaded.study.confirm.cross
        if self.seeds is None or cross is None or loaded.is_set_by_flag("confirm.cross.seeds"):
            return None
        count = max(self.seeds, 2)
        if count >= len(cross.seeds):
            return None
        return Change("confirm.cross.seeds", list(cross.seeds[:count]), "--seeds")

    def _key_changes(self) -> Iterator[Change]:
        """Yield the changes to the study by flags that change a single key."""
        from search_spaces.loader import Change

        for flag in flags_of(StudyFlags):
            value = getattr(self, flag.name)
            if flag.key is None or value == flag.default:
                continue
            try:
                yield Change(flag.key.key_path, flag.key.convert(value), flag.option)
            except ValueError as error:
                raise StudyError(f"{flag.option}: {error}") from error


@dataclass(frozen=True, slots=True)
class Locations:
    """Flags that locate data and results, and select the engine that carries out the runs.

    Attributes:
        data_dir: absolute path of the folder of datasets; None for `data/` in the home folder.
        home_dir: absolute path of the home folder, to which all results are written.
        engine: name of the engine.
        ray_address: address of a running Ray cluster, or "auto" for the one of which this machine
            is a node; None to start a new Ray on this machine.
        max_concurrent: largest number of runs at a time; None if only CPUs and GPUs limit it.
        tracking_uri: URI of an MLflow store; None for the file `mlflow.db` in the home folder.
        search_storage: SQLAlchemy URL of the database of searches; None for the file `optuna.db`
            in the home folder.
        sbatch: options of Slurm's `sbatch` for the jobs of the engine: texts NAME=VALUE.
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
        typer.Option(
            help="HOST:PORT of a running Ray cluster; on one of its nodes, auto. "
            "[default: start Ray here]"
        ),
    ] = None
    max_concurrent: Annotated[
        int | None,
        typer.Option(
            min=1,
            help="Most runs at a time. [default: as many as fit on the CPUs and GPUs; 8 on Slurm]",
        ),
    ] = None
    tracking_uri: Annotated[
        str | None,
        typer.Option(
            envvar="MLFLOW_TRACKING_URI", help="MLflow store. [default: SQLite file in HOME]"
        ),
        PasswordHolder(),
    ] = None
    search_storage: Annotated[
        str | None,
        typer.Option(
            metavar="URL",
            help="Database of the searches, such as postgresql://USER@HOST/DATABASE. [default: "
            "SQLite file in HOME]",
        ),
        PasswordHolder(),
    ] = None
    sbatch: Annotated[
        tuple[str, ...],
        typer.Option(
            metavar="NAME=VALUE",
            help="Option of sbatch for jobs of Slurm, such as partition=gpu; may be repeated.",
        ),
    ] = ()

    def __post_init__(self) -> None:
        object.__setattr__(self, "home_dir", _absolute_if_path(self.home_dir))
        object.__setattr__(self, "data_dir", _absolute_if_path(self.data_dir))
        for option, uri in (
            ("--tracking-uri", self.tracking_uri),
            ("--search-storage", self.search_storage),
        ):
            if uri is not None and has_unencoded_login(uri):
                raise UserError(
                    f"{option}: the login of this address contains a special character: write %40 "
                    "for @, %2F for /, %3A for :, %23 for #, %3F for ?, %20 for a space"
                )

    @property
    def home(self) -> Home:
        """Home folder, to which all results are written."""
        return Home(self.home_dir)

    @property
    def dataset_dir(self) -> Path:
        """Folder of the datasets: `data_dir` if set, else `data/` in the home folder."""
        return self.data_dir or self.home.data_dir

    @property
    def store_uri(self) -> str:
        """URI of the MLflow store: `tracking_uri` if set, else `mlflow.db` in the home folder."""
        return self.tracking_uri or home_store_uri(self.home_dir)

    @property
    def search_url(self) -> str:
        """URL of the database of searches: `search_storage` if set, else that of the home."""
        return self.search_storage or database_url(self.home.search_database)

    @property
    def uses_home_store(self) -> bool:
        """Whether the MLflow store is the one in the home folder."""
        return self.store_uri == home_store_uri(self.home_dir)


def _absolute_if_path(value: object) -> object:
    """Return a path as an absolute path, and any other value unchanged."""
    return value.expanduser().resolve() if isinstance(value, Path) else value


@dataclass(frozen=True, slots=True)
class Flag:
    """A command-line flag, declared by a field of `StudyFlags` or `Locations`.

    Attributes:
        name: name of the field of `StudyFlags` or `Locations`.
        option: option on the command line, such as "--trials"; "" for a positional argument.
        type: type of the field.
        default: default of the field; paths are absolute.
        typer_info: typer's declaration of the flag (`OptionInfo` or `ArgumentInfo`).
        key: key of the study that the flag changes; None if it changes no key or several.
        is_permission: whether the user permits something by the flag.
        holds_password: whether the value may contain a password.
    """

    name: str
    option: str
    type: object
    default: object
    typer_info: Any
    key: StudyKey | None
    is_permission: bool
    holds_password: bool


def flags_of(flag_class: type) -> Iterator[Flag]:
    """Yield the flags that `StudyFlags` or `Locations` declares, in the order of its fields."""
    type_hints = get_type_hints(flag_class, include_extras=True)
    for field in fields(flag_class):
        type_, typer_info, *marks = get_args(type_hints[field.name])
        # In an annotation, typer stores an explicit option name as the default.
        explicit_option = isinstance(typer_info, typer.models.OptionInfo) and typer_info.default
        option = (
            explicit_option
            if isinstance(explicit_option, str)
            else f"--{field.name.replace('_', '-')}"
        )
        if isinstance(typer_info, typer.models.ArgumentInfo):
            option = ""
        default = _absolute_if_path(field.default)
        yield Flag(
            field.name,
            option,
            type_,
            default,
            typer_info,
            key=next((mark for mark in marks if isinstance(mark, StudyKey)), None),
            is_permission=any(isinstance(mark, Permission) for mark in marks),
            holds_password=any(isinstance(mark, PasswordHolder) for mark in marks),
        )


def command_line(command: str, *flag_groups: StudyFlags | Locations) -> str:
    """Return a shell command that runs one of the program's commands with some flags.

    Flags that have their default values are omitted, and those by which the user permits something.
    A password is replaced by ***.

    Args:
        command: name of the command, such as "sweep".
        flag_groups: flags with their values.
    """
    return shlex.join(["python", "-m", "orchestrator", *flag_arguments(command, *flag_groups)])


def flag_arguments(command: str, *flag_groups: StudyFlags | Locations) -> list[str]:
    """Return the arguments of the program for one of its commands with some flags.

    As in `command_line`, flags with their default values and permissions are omitted.

    Args:
        command: name of the command, such as "sweep".
        flag_groups: flags with their values.
    """
    arguments = [command]
    for flag_group in flag_groups:
        for flag in flags_of(type(flag_group)):
            value = getattr(flag_group, flag.name)
            if value == flag.default or flag.is_permission:
                continue
            for single_value in value if flag.type == REPEATED_FLAG else [value]:
                is_list = isinstance(single_value, tuple)
                text = ",".join(single_value) if is_list else str(single_value)
                if flag.holds_password:
                    text = mask_password(text)
                arguments += [flag.option, text] if flag.option else [text]
    return arguments


@dataclass(frozen=True, slots=True)
class FlagOverride:
    """Changes to the declaration of a flag that apply in one command only.

    Attributes:
        name: name of the field that declares the flag.
        help: help text of the flag in this command.
        takes_single_value: whether the flag takes one value in this command, although it may be
            repeated in others.
    """

    name: str
    help: str
    takes_single_value: bool = False


def with_flags(
    *parameter_names: str | FlagOverride,
) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Return a decorator that adds flags to a command.

    The command receives the flags as its arguments `study_flags` and `locations`. Before it begins,
    and imports torch or MLflow, an error is raised if there is no such study, or another version of
    the program wrote the home folder.

    Args:
        parameter_names: names of the flags (fields of `StudyFlags` and `Locations`) and of the
            command's other parameters, in the order in which the help text lists them.
    """

    def decorate(command: Callable[..., None]) -> Callable[..., None]:
        type_hints = get_type_hints(command, include_extras=True)
        command_parameters = inspect.signature(command).parameters
        flag_classes = {
            name: type_hints[name]
            for name in ("study_flags", "locations")
            if name in command_parameters
        }
        flags = {
            flag.name: flag for flag_class in flag_classes.values() for flag in flags_of(flag_class)
        }
        parameters = []
        single_value_names = {
            entry.name
            for entry in parameter_names
            if isinstance(entry, FlagOverride) and entry.takes_single_value
        }
        for entry in parameter_names:
            override = entry if isinstance(entry, FlagOverride) else None
            name = entry.name if isinstance(entry, FlagOverride) else entry
            if name in flags:
                parameters.append(_typer_parameter(flags[name], override))
            else:
                parameters.append(
                    command_parameters[name].replace(
                        annotation=type_hints[name], kind=inspect.Parameter.KEYWORD_ONLY
                    )
                )

        def wrapper(**values: Any) -> None:  # noqa: ANN401 - values of flags, as typer returns them
            for name in single_value_names:
                _check_single_value(flags[name], values[name])
            for name, flag_class in flag_classes.items():
                values[name] = flag_class(
                    **{
                        flag.name: _field_value(flag.type, values.pop(flag.name))
                        for flag in flags_of(flag_class)
                        if flag.name in values
                    }
                )
            if "study_flags" in values:
                values["study_flags"].check_study_exists()
            if "locations" in values:
                values["locations"].home.check_layout()
            command(**values)

        wrapper.__doc__, wrapper.__name__ = command.__doc__, command.__name__
        wrapper.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
        wrapper.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
        return wrapper

    return decorate


def _typer_parameter(flag: Flag, override: FlagOverride | None) -> inspect.Parameter:
    """Return the function parameter from which typer creates the option of a flag.

    Typer does not support tuples of any length, so their type becomes a list or a text.
    """
    typer_info, type_, default = flag.typer_info, flag.type, flag.default
    if override is not None:
        typer_info = copy(typer_info)
        typer_info.help = override.help
    if type_ == REPEATED_FLAG:
        type_, default = list[str] | None, None
    elif type_ == COMMA_SEPARATED_FLAG:
        type_ = str | None
    if isinstance(default, Path):
        default = DEFAULT_HOME
    return inspect.Parameter(
        flag.name,
        inspect.Parameter.KEYWORD_ONLY,
        default=default if flag.option else inspect.Parameter.empty,
        annotation=Annotated[type_, typer_info],
    )


def _check_single_value(flag: Flag, values: list[str] | None) -> None:
    """Raise `StudyError` if a flag that takes a single value in a command was repeated."""
    if values is not None and len(values) > 1:
        raise StudyError(
            f"{flag.option}: this command takes one value, got {' and '.join(values)}: leave one"
        )


def _field_value(type_: object, value: Any) -> Any:  # noqa: ANN401 - value of any flag
    """Convert the value that typer returns for a flag to the type of the flag's field."""
    if type_ == REPEATED_FLAG:
        return tuple(value or ())
    if type_ == COMMA_SEPARATED_FLAG and value is not None:
        return tuple(filter(None, (name.strip() for name in value.split(","))))
    return value
