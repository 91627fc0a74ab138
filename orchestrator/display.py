"""Display of the progress of a sweep on the terminal.

Only the process of the command prints; the worker processes that train do not.
"""

from __future__ import annotations

import threading
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

from orchestrator.planning.cost import format_duration
from reports.words import format_values
from trainables.run.metrics import TEST_ACCURACY, TRAIN_LOSS, VAL_ACCURACY

if TYPE_CHECKING:
    from collections.abc import Iterator

    from orchestrator.sweeping.tasks import Task
    from orchestrator.watching.sweep_progress import RunningRun, SweepProgress
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
        self.add_run(task.spec, task.spec.recipe.epochs)

    def add_run(self, spec: RunSpec, epochs: int) -> None:
        """Add a progress bar for a run that is trained for some epochs."""
        self._bars[spec.digest] = self.add_task(spec.title, total=epochs, metrics="")

    def on_report(self, task: Task, row: Row) -> None:
        """Update the run's progress bar and latest metrics."""
        self.update_run(task.spec.digest, row)

    def update_run(self, digest: str, row: Row) -> None:
        """Update the progress bar and the latest metrics of the run with a digest."""
        metrics_text = "  ".join(
            metric_format.format(row[name])
            for name, metric_format in METRIC_FORMATS.items()
            if name in row
        )
        self.update(self._bars[digest], completed=row.get("epoch", 0), metrics=metrics_text)

    def on_notice(self, text: str) -> None:
        """Print the notice above the progress bars."""
        self.console.print(Text(text), soft_wrap=True)

    def on_end(self, task: Task) -> None:
        """Do nothing, so that the progress bar of the ended run stays visible."""


def _run_lines(run: RunningRun, *, one_line: bool) -> list[list[RenderableType]]:
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

    def __init__(self, console: Console, progress: SweepProgress) -> None:
        """Create the display of a sweep.

        Args:
            console: console to print on.
            progress: progress of the sweep.
        """
        self._console = console
        self._progress = progress
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
        self._progress.on_start(task)

    def on_report(self, task: Task, row: Row) -> None:
        """Update the run's progress."""
        self._progress.on_report(task, row)

    def on_end(self, task: Task) -> None:
        """Remove the run from the display."""
        self._progress.on_end(task)

    def on_notice(self, text: str) -> None:
        """Print the notice above the live table or as a line."""
        self._progress.on_notice(text)
        self._console.print(Text(text), soft_wrap=True)

    def _status_text(self) -> Text:
        progress, sweep = self._progress, self._progress.sweep
        text = Text()
        for phase, total in progress.total_runs().items():
            style = "bold" if phase is sweep.phase else "dim"
            text.append(f"{phase} {sweep.ended_run_counts[phase]} of {total}   ", style=style)
        if progress.starts_workers and not progress.has_report:
            text.append(f"starting workers for {progress.seconds_since_start:.0f} s   ")
        else:
            text.append(f"{len(progress.training_runs())} running   ")
        if sweep.failed_runs:
            text.append(f"{len(sweep.failed_runs)} failed   ", style="red")
        text.append(f"about {format_duration(progress.seconds_left())} left")
        return text

    def _summary(self) -> Iterator[Text]:
        yield self._status_text()
        if self._progress.sweep.tunings:
            yield self._best_text()

    def _best_text(self) -> Text:
        best = self._progress.sweep.best_trial
        if best is None:
            return Text("no trial has ended yet", style="dim")
        accuracy, values = best
        return Text(
            f"best so far: {100 * accuracy:.1f} % on held-out noisy labels at "
            f"{format_values(values)}"
        )

    def _render(self) -> RenderableType:
        runs = self._progress.training_runs()
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
