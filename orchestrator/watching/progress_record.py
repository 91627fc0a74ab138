"""Progress of a sweep in the file `progress.json`, as the process that carries it out writes it."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from datetime import datetime
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal, get_args

from pydantic import TypeAdapter

from orchestrator.flags import Locations, StudyFlags, command_line, flags_of
from reports.plan_record import printable_values
from reports.store import mask_password
from search_spaces.files import is_study_path
from search_spaces.schema import Phase
from trainables.errors import NalError
from trainables.run.record import write_atomically

PROGRESS_FILE = "progress.json"
"""Name of the file, in the folder of a sweep."""

MAX_STARTS = 100
"""Largest number of starts of a sweep that are kept; the latest ones."""

StartState = Literal["running", "ended", "interrupted", "failed"]
"""State of one start: that of a process that was killed stays "running"."""


@dataclass(frozen=True, slots=True)
class PhaseProgress:
    """Numbers of runs of one phase, as the process counts them.

    Attributes:
        total: largest number of runs that the phase can have.
        ended: number of runs that have ended.
    """

    total: int
    ended: int


@dataclass(frozen=True, slots=True)
class RunProgress:
    """A run that is being trained.

    Attributes:
        digest: digest of the run.
        phase: phase of the sweep that the run belongs to.
        method: name of the method.
        scenario: name of the scenario.
        values: values of the searched hyperparameters, as a text.
        seed: base seed of the run's initialisation.
        epoch: number of epochs that have ended.
        epochs: number of epochs of the run.
        seconds_per_epoch: mean wall time of its epochs in this process; None before the first.
        accuracy: latest accuracy on held-out noisy labels, a fraction; None if not measured.
    """

    digest: str
    phase: str
    method: str
    scenario: str
    values: str
    seed: int
    epoch: int
    epochs: int
    seconds_per_epoch: float | None
    accuracy: float | None


@dataclass(frozen=True, slots=True)
class Failure:
    """A run that could not be carried out.

    Attributes:
        digest: digest of the run.
        phase: phase of the sweep that the run belongs to.
        method: name of the method.
        scenario: name of the scenario.
        reason: why it could not be carried out.
    """

    digest: str
    phase: str
    method: str
    scenario: str
    reason: str


@dataclass(frozen=True, slots=True)
class Start:
    """One start of a sweep: what was forecast and what it took.

    Attributes:
        host: name of the machine of the process.
        pid: ID of the process.
        started_at: date and time of the start, in ISO format.
        forecast_seconds: wall time that the runs were expected to take at the start, in seconds.
        elapsed_seconds: wall time since the start, in seconds.
        ended_count: number of runs that have ended since the start.
        state: state of the start.
    """

    host: str
    pid: int
    started_at: str
    forecast_seconds: float
    elapsed_seconds: float
    ended_count: int
    state: StartState


@dataclass(frozen=True, slots=True)
class ProgressRecord:
    """Content of `progress.json`.

    Attributes:
        written_at: date and time at which the file was written, in ISO format.
        starts: starts of the sweep, oldest first; the last one wrote the file.
        flags: flags of the command, from which `continuing_command` makes the command.
        phases: numbers of runs, by the name of the phase.
        running: runs that are being trained.
        failures: runs that could not be carried out.
        max_concurrent_runs: number of runs that are trained at a time.
        seconds_left: estimated wall time until the sweep ends, in seconds.
        seconds_left_range: lower and upper estimate of it.
        notices: latest notices about the machine, such as a restart of Ray.
        dropped_seconds: wall time of the starts that are not kept any more, in seconds.
    """

    written_at: str
    starts: list[Start]
    flags: dict[str, Any]
    phases: dict[str, PhaseProgress] = field(default_factory=dict)
    running: list[RunProgress] = field(default_factory=list)
    failures: list[Failure] = field(default_factory=list)
    max_concurrent_runs: int = 1
    seconds_left: float = 0.0
    seconds_left_range: tuple[float, float] = (0.0, 0.0)
    notices: list[str] = field(default_factory=list)
    dropped_seconds: float = 0.0

    @property
    def total_seconds(self) -> float:
        """Wall time of all starts, in seconds."""
        return self.dropped_seconds + sum(start.elapsed_seconds for start in self.starts)

    @property
    def last_start(self) -> Start:
        """Start of the process that wrote the file."""
        return self.starts[-1]

    def write(self, folder: Path) -> None:
        """Write the file to the folder of a sweep.

        Raises:
            HomeError: if the folder cannot be written.
        """
        write_atomically(folder / PROGRESS_FILE, json.dumps(asdict(self), indent=1))


def read_progress(folder: Path) -> ProgressRecord | None:
    """Read the progress of a sweep; None if the file is missing, damaged or of another version.

    Args:
        folder: folder of the sweep.
    """
    try:
        values: Any = printable_values(json.loads((folder / PROGRESS_FILE).read_bytes()))
        record = _reader().validate_python(values)
        for text in (record.written_at, *(start.started_at for start in record.starts)):
            datetime.fromisoformat(text)
        continuing_command(record.flags, folder)
        has_other_values = json.loads(json.dumps(asdict(record))) != values
    except (OSError, ValueError, TypeError, KeyError, AttributeError, NalError):
        return None
    named_phases = {run.phase for run in record.running} | {run.phase for run in record.failures}
    is_known = {*record.phases, *named_phases} <= set(Phase)
    return record if record.starts and is_known and not has_other_values else None


@lru_cache(maxsize=1)
def _reader() -> TypeAdapter[ProgressRecord]:
    return TypeAdapter(ProgressRecord)


def recorded_flags(study_flags: StudyFlags, locations: Locations) -> dict[str, Any]:
    """Return the flags of a command as values that can be written as JSON.

    Passwords are masked, and flags by which the user permits something are left out. The path of a
    study becomes absolute.

    Args:
        study_flags: flags that select the study and change it.
        locations: flags that locate data and results.
    """
    values: dict[str, Any] = {}
    for group in (study_flags, locations):
        for flag in flags_of(type(group)):
            value = getattr(group, flag.name)
            if value == flag.default or flag.is_permission:
                continue
            if flag.name == "study" and is_study_path(value):
                value = str(Path(value).resolve())
            elif flag.holds_password:
                value = mask_password(value)
            values[flag.name] = str(value) if isinstance(value, Path) else value
    return values


def continuing_command(flags: dict[str, Any], home_dir: Path) -> str:
    """Return the command that continues a sweep.

    Args:
        flags: flags of its command, from `recorded_flags`.
        home_dir: home folder of the sweep, which may have been moved since.
    """
    groups: list[StudyFlags | Locations] = []
    flag_class: type[StudyFlags | Locations]
    for flag_class in (StudyFlags, Locations):
        values = {}
        for flag in flags_of(flag_class):
            if flag.name not in flags:
                continue
            value = flags[flag.name]
            if isinstance(value, list):
                value = tuple(value)
            elif Path in get_args(flag.type):
                value = Path(value)
            values[flag.name] = value
        if flag_class is Locations:
            values["home_dir"] = home_dir
        groups.append(flag_class(**values))
    return command_line("sweep", *groups)
