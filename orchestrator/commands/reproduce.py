"""The `reproduce` command, which trains recorded runs again and compares them bit for bit."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from rich.text import Text

from orchestrator.approval import allowed_recorded_code
from orchestrator.display import ProgressBars
from orchestrator.engine.temp_dirs import process_temp_dir
from orchestrator.home import Home
from orchestrator.interpreter import module_command
from orchestrator.output import CommandConsole, facts_table, print_json
from orchestrator.planning.cost import format_duration
from orchestrator.reproduction.finding import find_runs
from reports.words import format_count, format_extension
from trainables.reproduction.comparison import TOLERANCE_POINTS, overall_verdict
from trainables.reproduction.environment import environment_differences
from trainables.reproduction.process import RETRAINING_MODULE, Retraining
from trainables.reproduction.recorded import check_epochs, read_with_needs
from trainables.run.record import Record
from trainables.run.spec import REVISION

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from orchestrator.flags import Locations
    from trainables.reproduction.comparison import Comparison, Row
    from trainables.reproduction.recorded import RecordedRun

MAX_SHOWN_HASHES = 5
"""Largest number of hashes of labels that are printed."""
START_SECONDS = 5.0
"""Wall time until PyTorch is imported and the data are read, in seconds."""


def run(
    locations: Locations, name: str, epochs: int | None, *, allow_code: bool, as_json: bool
) -> int:
    """Train recorded runs again in an empty folder, and compare them with their records.

    Args:
        locations: locations of the data, the home folder and the MLflow store.
        name: what the user calls the runs, see `find_runs`.
        epochs: number of epochs to compare; None for all.
        allow_code: whether code files of the runs are executed without asking.
        as_json: whether to print the comparison as JSON on standard output.

    Returns:
        The exit code of the verdict.

    Raises:
        NalError: if the runs are not recorded, or cannot be trained again.
    """
    console = CommandConsole(stderr=as_json)
    runs = read_with_needs(locations.home_dir, find_runs(name, locations))
    check_epochs(runs, epochs)
    for recorded in runs:
        record = Record(locations.home_dir, recorded.digest)
        sha256s = list(map(str, recorded.spec.code.values()))
        allowed_recorded_code(record, sha256s, allow_code=allow_code)
    console.print(facts_table(_facts(runs, epochs)), soft_wrap=True)
    with process_temp_dir() as temp_dir, ProgressBars(console) as bars:
        home = Home(Path(temp_dir) / "home")
        home.create()
        retraining = Retraining(
            recorded_home=locations.home_dir,
            home=home.path,
            data_dir=locations.dataset_dir,
            cache_dir=locations.home.cache_dir,
            epochs=epochs,
            command=module_command(RETRAINING_MODULE),
        )
        progress = ReproductionProgress(runs, epochs, bars)
        comparisons = retraining.carry_out(runs, progress)
    verdict = overall_verdict(comparison.verdict for comparison in comparisons)
    if as_json:
        print_json(
            {
                "verdict": str(verdict),
                "tolerance_points": TOLERANCE_POINTS,
                "environment": dict(progress.environment),
                "runs": [
                    {**asdict(comparison), "first_epoch": comparison.first_epoch}
                    for comparison in comparisons
                ],
            }
        )
    for comparison in comparisons:
        for line in comparison.lines():
            console.print(Text(line), soft_wrap=True)
    console.print(f"verdict: {verdict}")
    return verdict.exit_code


class ReproductionProgress:
    """Progress of runs that are trained again, as bars (listener).

    Attributes:
        environment: environment of the process that trains.
    """

    def __init__(self, runs: Sequence[RecordedRun], epochs: int | None, bars: ProgressBars) -> None:
        """Create the listener.

        Args:
            runs: recorded runs that are trained again.
            epochs: number of epochs to compare; None for all.
            bars: bars on the console.
        """
        self.environment: Mapping[str, str] = {}
        self._runs = runs
        self._epochs = epochs
        self._bars = bars

    def on_environment(self, environment: Mapping[str, str]) -> None:
        """Print how the environment differs from that of the records."""
        self.environment = environment
        differences = dict.fromkeys(
            difference
            for recorded in self._runs
            for difference in environment_differences(recorded.environment, environment)
        )
        if not differences:
            values = ", ".join(f"{name} {value}" for name, value in environment.items())
            self._bars.on_notice(f"environment as recorded: {values}")
        for difference in differences:
            self._bars.on_notice(f"environment: {difference}")

    def on_start(self, run: RecordedRun) -> None:
        """Add a bar for a run."""
        self._bars.add_run(run.spec, run.compared_epochs(self._epochs))

    def on_row(self, run: RecordedRun, row: Row) -> None:
        """Update the bar of a run."""
        self._bars.update_run(run.digest, row)

    def on_comparison(self, comparison: Comparison) -> None:
        """Do nothing, since the comparisons are printed below the bars."""


def _facts(runs: Sequence[RecordedRun], epochs: int | None) -> list[tuple[str, str]]:
    """Return what is compared, and how long that takes."""
    named = [recorded for recorded in runs if not recorded.is_need]
    title = named[0].spec.title if len(named) == 1 else format_count(len(named), "run")
    need_count = len(runs) - len(named)
    if need_count:
        needs = "it needs" if len(named) == 1 else "they need"
        title += f", and {format_count(need_count, 'run')} that {needs}"
    counts = sorted({recorded.compared_epochs(epochs) for recorded in named})
    *fewer, last = counts
    epoch_text = " or ".join((*map(str, fewer), format_count(last, "epoch")))
    compared = [f"{epoch_text}, bit for bit", "noisy labels"]
    if need_count:
        compared.append("outcomes of needed runs")
    if any(
        recorded.result.weights and recorded.compared_epochs(epochs) == recorded.recorded_epochs
        for recorded in runs
    ):
        compared.append("weights")
    seconds = START_SECONDS + sum(recorded.recorded_seconds(epochs) for recorded in runs)
    devices = sorted({recorded.environment.get("device", "unknown") for recorded in runs})
    code = {item for recorded in named for item in recorded.spec.code.items()}
    return [
        ("train again", title),
        ("compare", "; ".join(compared)),
        ("revision", f"{REVISION}, as recorded"),
        *(("code", format_extension(name, sha256)) for name, sha256 in sorted(code)),
        ("data", _shortened(recorded.spec.data for recorded in named)),
        ("labels", _shortened(recorded.result.labels.sha256 for recorded in named)),
        ("time", f"about {format_duration(seconds)}, as when recorded on {', '.join(devices)}"),
    ]


def _shortened(hashes: Iterable[str]) -> str:
    """Return the beginnings of some SHA-256, each once, and the number of further ones."""
    beginnings = list(dict.fromkeys(each[:12] for each in hashes))
    more = len(beginnings) - MAX_SHOWN_HASHES
    return ", ".join(beginnings[:MAX_SHOWN_HASHES]) + (f" and {more} more" if more > 0 else "")
