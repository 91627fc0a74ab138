"""Display of the progress of a sweep on the terminal.

Only the process of the command prints; the worker processes that train do not.
"""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING, Self

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TaskID,
    TextColumn,
    TimeRemainingColumn,
)
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from orchestrator.planning.cost import MachineCost, format_duration
from orchestrator.planning.sizes import phase_sizes
from reports.words import format_values
from search_spaces.schema import Phase
from trainables.run.metrics import TEST_ACCURACY, TRAIN_LOSS, VAL_ACCURACY

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from orchestrator.sweeping.sweep import Sweep
    from orchestrator.sweeping.tasks import SeedGroup, Task
    from trainables.run.spec import RunSpec
    from trainables.training.job import Row

STATUS_LINE_SECONDS = 10.0
"""Time between two status lines if the output is not a terminal, in seconds."""

MIN_WIDTH_OF_ONE_LINE = 120
"""Smallest width of a terminal, in characters, at which a run in progress has a single line."""

METRIC_FORMATS = {
    TRAIN_LOSS: "loss {:.3f}",
    VAL_ACCURACY: "val {:.1%}",
    TEST_ACCURACY: "test {:.1%}",
}
"""Format string of each metric that is shown beside a progress bar."""

MAX_SHOWN_RUNS = 8
"""Largest number of runs in the live table; a cluster may train hundreds at a time."""


class _RunProgress:
    """Progress of a run that an engine has started."""

    def __init__(self, task: Task) -> None:
        self.task = task
        self.is_training = False
        self.row: Row = {}

    @property
    def epoch(self) -> int:
        """Number of epochs that have ended."""
        return int(self.row.get("epoch", 0))

    @property
    def fraction(self) -> float:
        """Fraction of the run's epochs that have ended."""
        return self.epoch / self.task.spec.recipe.epochs


class ProgressBars(Progress):
    """Progress bars, one for each run that an engine carries out (listener of the engine)."""

    def __init__(self, console: Console) -> None:
        super().__init__(
            TextColumn("{task.description}", markup=False),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("epochs"),
            TimeRemainingColumn(),
            TextColumn("{task.fields[metrics]}", markup=False),
            console=console,
        )
        self._bars: dict[str, TaskID] = {}

    def on_start(self, task: Task) -> None:
        """Add a progress bar for the run."""
        spec = task.spec
        self._bars[spec.digest] = self.add_task(
            run_title(spec), total=spec.recipe.epochs, metrics=""
        )

    def on_report(self, task: Task, row: Row) -> None:
        """Update the run's progress bar and latest metrics."""
        metrics_text = "  ".join(
            metric_format.format(row[name])
            for name, metric_format in METRIC_FORMATS.items()
            if name in row
        )
        self.update(
            self._bars[task.spec.digest], completed=row.get("epoch", 0), metrics=metrics_text
        )

    def on_notice(self, text: str) -> None:
        """Print the notice above the progress bars."""
        self.console.print(Text(text), soft_wrap=True)

    def on_end(self, task: Task) -> None:
        """Do nothing, so that the progress bar of the ended run stays visible."""


def run_title(spec: RunSpec) -> str:
    """Return the title of a run, such as "nal on symmetric-0.4, seed 0"."""
    return f"{spec.method} on {spec.scenario}, seed {spec.seeds.init}"


def _run_lines(run: _RunProgress, *, one_line: bool) -> list[list[RenderableType]]:
    """Return the lines of a run in the live table, each as the contents of its columns."""
    spec = run.task.spec
    accuracy = run.row.get(VAL_ACCURACY)
    title = [
        Text(str(run.task.phase), style="cyan"),
        Text(spec.method),
        Text(spec.scenario),
        Text(format_values(run.task.values)),
        Text(f"seed {spec.seeds.init}"),
    ]
    progress: list[RenderableType] = [
        ProgressBar(total=1.0, completed=run.fraction, width=20),
        Text(f"epoch {run.epoch}/{spec.recipe.epochs}"),
        Text("" if accuracy is None else f"val {100 * accuracy:.1f} %"),
    ]
    if one_line:
        return [[*title, *progress]]
    progress_line = Table.grid(padding=(0, 2))
    progress_line.add_row("", *progress)
    return [[Text("  ").join(title)], [progress_line]]


class Display:
    """Live display of the progress of a sweep (listener of the engine, and context manager).

    On a terminal, the display is a live table of runs. Any other output gets a status line every
    `STATUS_LINE_SECONDS`, also while the workers start.
    """

    def __init__(
        self, console: Console, sweep: Sweep, cost: MachineCost, *, starts_workers: bool
    ) -> None:
        """Create the display of a sweep.

        Args:
            console: console to print on.
            sweep: sweep, after `Sweep.resume` has read the runs that are recorded already.
            cost: measured cost of a run, used to estimate the time left.
            starts_workers: whether the engine trains runs in worker processes that it starts first.
        """
        self._console = console
        self._sweep = sweep
        self._runs_and_seconds = {
            size.phase: (size.max_run_count, cost.mean_run_seconds(size.groups))
            for size in phase_sizes(sweep.plan)
        }
        self._slots = cost.max_concurrent_runs
        self._runs: dict[str, _RunProgress] = {}
        self._start_time = time.monotonic()
        self._recorded_seconds = self._completed_seconds()
        self._starts_workers = starts_workers
        self._has_report = False
        self._is_closed = threading.Event()
        self._status_lines = threading.Thread(target=self._print_status_lines, daemon=True)
        self._live = Live(
            get_renderable=self._render, console=console, refresh_per_second=4, transient=True
        )

    def __enter__(self) -> Self:
        if self._console.is_terminal:
            self._live.start()
        else:
            self._status_lines.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._console.is_terminal:
            self._live.stop()
        else:
            self._is_closed.set()
            self._status_lines.join()

    def on_start(self, task: Task) -> None:
        """Add the run to the display."""
        self._runs[task.spec.digest] = _RunProgress(task)

    def on_report(self, task: Task, row: Row) -> None:
        """Update the run's progress."""
        if not self._has_report:
            self._has_report = True
            self._start_time = time.monotonic()  # the time left depends on the speed of training
        run = self._runs.get(task.spec.digest)
        if run is not None:
            run.is_training = True
            run.row = row or run.row

    def on_end(self, task: Task) -> None:
        """Remove the run from the display."""
        self._runs.pop(task.spec.digest, None)

    def on_notice(self, text: str) -> None:
        """Print the notice above the live table or as a line."""
        self._console.print(Text(text), soft_wrap=True)

    def _total_runs(self) -> dict[Phase, int]:
        """Return the number of runs in each phase of the sweep (search, select, confirm).

        The number is an upper bound until the runs of the phase are known.
        """
        totals = {phase: runs for phase, (runs, _) in self._runs_and_seconds.items()}
        select_batches = [
            seed_group for tuning in self._sweep.tunings for _, seed_group in tuning.candidates
        ]
        if select_batches and all(tuning.candidates for tuning in self._sweep.tunings):
            totals[Phase.SELECT] = self._count_runs(Phase.SELECT, select_batches)
        if self._sweep.cells:
            totals[Phase.CONFIRM] = self._count_runs(
                Phase.CONFIRM, [group for cell in self._sweep.cells for group in cell.groups]
            )
        return totals

    def _count_runs(self, phase: Phase, seed_groups: Iterable[SeedGroup]) -> int:
        """Return the number of runs that a phase carries out for some batches.

        Runs whose results the batches use are included, unless another phase counts them.
        """
        plan = self._sweep.plan
        specs = [spec for seed_group in seed_groups for spec in seed_group.specs]
        needed_specs = [needed for spec in specs for needed in plan.needs_of(spec)]
        digests = {spec.digest for spec in (*specs, *needed_specs)}
        return sum(self._sweep.run_phases.get(digest, phase) is phase for digest in digests)

    def _completed_seconds(self) -> float:
        """Return the measured cost of all training so far, as the wall time of one slot."""
        ended_seconds = sum(
            self._sweep.ended_run_counts[phase] * seconds
            for phase, (_, seconds) in self._runs_and_seconds.items()
        )
        return ended_seconds + sum(
            run.fraction * self._runs_and_seconds[run.task.phase][1]
            for run in list(self._runs.values())
        )

    def seconds_left(self) -> float:
        """Return the estimated time until the sweep ends, in seconds.

        The estimate is based on the measured cost of the runs and the speed so far.
        """
        totals = self._total_runs()
        total_seconds = sum(
            totals[phase] * seconds for phase, (_, seconds) in self._runs_and_seconds.items()
        )
        completed_seconds = self._completed_seconds()
        progress_seconds = completed_seconds - self._recorded_seconds
        elapsed_seconds = time.monotonic() - self._start_time
        # During the first twentieth, the measured cost is the better estimate.
        speed = (
            progress_seconds / elapsed_seconds
            if progress_seconds > total_seconds / 20
            else self._slots
        )
        return max(0.0, total_seconds - completed_seconds) / max(speed, 1e-9)

    def _status_text(self) -> Text:
        totals = self._total_runs()
        text = Text()
        for phase, total in totals.items():
            style = "bold" if phase is self._sweep.phase else "dim"
            text.append(f"{phase} {self._sweep.ended_run_counts[phase]} of {total}   ", style=style)
        if self._starts_workers and not self._has_report:
            seconds = time.monotonic() - self._start_time
            text.append(f"starting workers for {seconds:.0f} s   ")
        else:
            text.append(f"{len(self._training_runs())} running   ")
        if self._sweep.failures:
            text.append(f"{len(self._sweep.failures)} failed   ", style="red")
        text.append(f"about {format_duration(self.seconds_left())} left")
        return text

    def _summary(self) -> Iterator[Text]:
        yield self._status_text()
        if self._sweep.tunings:
            yield self._best_text()

    def _best_text(self) -> Text:
        best = self._sweep.best_trial
        if best is None:
            return Text("no trial has ended yet", style="dim")
        accuracy, values = best
        return Text(
            f"best so far: {100 * accuracy:.1f} % on held-out noisy labels at "
            f"{format_values(values)}"
        )

    def _training_runs(self) -> list[_RunProgress]:
        # A copy, since the live display runs in another thread than the engine.
        return [run for run in list(self._runs.values()) if run.is_training]

    def _render(self) -> RenderableType:
        runs = self._training_runs()
        lines = [
            line
            for run in runs[:MAX_SHOWN_RUNS]
            for line in _run_lines(run, one_line=self._console.width >= MIN_WIDTH_OF_ONE_LINE)
        ]
        table = Table.grid(padding=(0, 2))
        for _ in range(max(map(len, lines), default=0)):
            table.add_column(no_wrap=True)
        for line in lines:
            table.add_row(*line)
        hidden_count = len(runs) - MAX_SHOWN_RUNS
        if hidden_count > 0:
            table.add_row(Text(f"and {hidden_count} more", style="dim"))
        return Group(*self._summary(), table)

    def _print_status_lines(self) -> None:
        """Print a status line at intervals, until the display is closed."""
        while not self._is_closed.wait(STATUS_LINE_SECONDS):
            self._console.print(Text("   ").join(self._summary()), soft_wrap=True)
