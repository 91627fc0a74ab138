"""Progress display of a sweep in the driver; workers do not print."""

from __future__ import annotations

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
from rich.table import Column, Table
from rich.text import Text

from orchestrator.planning.cost import MachineCost, format_duration
from orchestrator.planning.sizes import phase_sizes
from reports.words import format_values
from search_spaces.schema import Phase
from trainables.run.metrics import TEST, TRAIN_LOSS, VAL

if TYPE_CHECKING:
    from collections.abc import Iterable

    from orchestrator.sweeping.sweep import Sweep
    from orchestrator.sweeping.tasks import Batch, Task
    from trainables.run.spec import RunSpec
    from trainables.training.job import Row

STATUS_LINE_SECONDS = 10.0
"""Seconds between two status lines if the output is not a terminal."""

TABLE_COLUMNS = 8
"""Number of columns in the live table of running runs."""

METRIC_FORMATS = {
    TRAIN_LOSS: "loss {:.3f}",
    VAL: "val {:.1%}",
    TEST: "test {:.1%}",
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
        return int(self.row.get("epoch", 0))

    @property
    def fraction(self) -> float:
        return self.epoch / self.task.spec.recipe.epochs


class ProgressBars(Progress):
    """Listener of an engine that shows a progress bar for each run."""

    def __init__(self, console: Console) -> None:
        super().__init__(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("epochs"),
            TimeRemainingColumn(),
            TextColumn("{task.fields[latest]}"),
            console=console,
        )
        self._bars: dict[str, TaskID] = {}

    def on_start(self, task: Task) -> None:
        """Add a progress bar for the run."""
        spec = task.spec
        self._bars[spec.digest] = self.add_task(
            run_title(spec), total=spec.recipe.epochs, latest=""
        )

    def on_report(self, task: Task, row: Row) -> None:
        """Update the run's progress bar and latest metrics."""
        latest = "  ".join(
            form.format(row[name]) for name, form in METRIC_FORMATS.items() if name in row
        )
        self.update(self._bars[task.spec.digest], completed=row.get("epoch", 0), latest=latest)

    def on_end(self, task: Task) -> None:
        """Do nothing, so that the progress bar of the ended run stays visible."""


def run_title(spec: RunSpec) -> str:
    """Return the title of a run, such as "nal on symmetric-0.4, seed 0"."""
    return f"{spec.method} on {spec.scenario}, seed {spec.seeds.init}"


class Display:
    """Live display of the progress of a sweep: a listener of the engine and a context manager.

    A terminal shows a live table of runs; any other output gets a status line every
    `STATUS_LINE_SECONDS`.
    """

    def __init__(self, console: Console, sweep: Sweep, cost: MachineCost) -> None:
        """Create the display of a sweep.

        Args:
            console: console to print on.
            sweep: sweep whose recorded runs have been read already (`Sweep.resume`).
            cost: measured cost of a run, used to estimate the time left.
        """
        self._console = console
        self._sweep = sweep
        self._phase_costs = {
            size.phase: (size.runs, cost.mean_run_seconds(size.groups))
            for size in phase_sizes(sweep.plan)
        }
        self._slots = cost.slots
        self._runs: dict[str, _RunProgress] = {}
        self._start_time = time.monotonic()
        self._initial_seconds = self._completed_seconds()
        self._last_line_time = 0.0
        self._live = Live(
            get_renderable=self._render, console=console, refresh_per_second=4, transient=True
        )

    def __enter__(self) -> Self:
        if self._console.is_terminal:
            self._live.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._console.is_terminal:
            self._live.stop()

    def on_start(self, task: Task) -> None:
        """Add the run to the display."""
        self._runs[task.spec.digest] = _RunProgress(task)
        self._print_status_line()

    def on_report(self, task: Task, row: Row) -> None:
        """Update the run's progress."""
        run = self._runs.get(task.spec.digest)
        if run is not None:
            run.is_training = True
            run.row = row or run.row
        self._print_status_line()

    def on_end(self, task: Task) -> None:
        """Remove the run from the display."""
        self._runs.pop(task.spec.digest, None)

    def _total_runs(self) -> dict[Phase, int]:
        """Return the total number of runs of each phase.

        The number is exact once the phase is planned, and an upper bound before.
        """
        totals = {phase: runs for phase, (runs, _) in self._phase_costs.items()}
        selecting = [batch for tuning in self._sweep.tunings for _, batch in tuning.candidates]
        if selecting and all(tuning.candidates for tuning in self._sweep.tunings):
            totals[Phase.SELECT] = self._count(Phase.SELECT, selecting)
        if self._sweep.cells:
            totals[Phase.CONFIRM] = self._count(
                Phase.CONFIRM, [cell.batch for cell in self._sweep.cells]
            )
        return totals

    def _count(self, phase: Phase, batches: Iterable[Batch]) -> int:
        """Return the number of runs counted in a phase.

        The runs that these runs need are included, unless another phase counts them already.
        """
        plan = self._sweep.plan
        specs = [spec for batch in batches for spec in batch.specs]
        needed = [need for spec in specs for need in plan.needs_of(spec)]
        digests = {spec.digest for spec in (*specs, *needed)}
        return sum(self._sweep.run_phases.get(digest, phase) is phase for digest in digests)

    def _completed_seconds(self) -> float:
        ended = sum(
            self._sweep.ended_runs[phase] * seconds
            for phase, (_, seconds) in self._phase_costs.items()
        )
        return ended + sum(
            run.fraction * self._phase_costs[run.task.phase][1] for run in self._runs.values()
        )

    def seconds_left(self) -> float:
        """Return the estimated time until the sweep ends, in seconds.

        It is based on the measured cost of runs and the speed so far.
        """
        totals = self._total_runs()
        total_seconds = sum(
            totals[phase] * seconds for phase, (_, seconds) in self._phase_costs.items()
        )
        completed_seconds = self._completed_seconds()
        progress_seconds = completed_seconds - self._initial_seconds
        elapsed = time.monotonic() - self._start_time
        # During the first twentieth, the measured cost is the better estimate.
        speed = progress_seconds / elapsed if progress_seconds > total_seconds / 20 else self._slots
        return max(0.0, total_seconds - completed_seconds) / max(speed, 1e-9)

    def _status_text(self) -> Text:
        totals = self._total_runs()
        text = Text()
        for phase, total in totals.items():
            style = "bold" if phase is self._sweep.phase else "dim"
            text.append(f"{phase} {self._sweep.ended_runs[phase]} of {total}   ", style=style)
        text.append(f"{len(self._training_runs())} running   ")
        if self._sweep.failures:
            text.append(f"{len(self._sweep.failures)} failed   ", style="red")
        text.append(f"about {format_duration(self.seconds_left())} left")
        return text

    def _best_text(self) -> Text:
        best = self._sweep.best
        if best is None:
            return Text("no trial has ended yet", style="dim")
        accuracy, values = best
        return Text(
            f"best so far: {100 * accuracy:.1f} % on held-out noisy labels at "
            f"{format_values(values)}"
        )

    def _training_runs(self) -> list[_RunProgress]:
        # A copy, since the live display runs in another thread than the Tune loop.
        return [run for run in list(self._runs.values()) if run.is_training]

    def _render(self) -> RenderableType:
        table = Table.grid(*(Column(no_wrap=True) for _ in range(TABLE_COLUMNS)), padding=(0, 2))
        runs = self._training_runs()
        for run in runs[:MAX_SHOWN_RUNS]:
            spec = run.task.spec
            accuracy = run.row.get(VAL)
            table.add_row(
                Text(str(run.task.phase), style="cyan"),
                spec.method,
                spec.scenario,
                format_values(run.task.values),
                f"seed {spec.seeds.init}",
                ProgressBar(total=1.0, completed=run.fraction, width=20),
                f"epoch {run.epoch}/{spec.recipe.epochs}",
                "" if accuracy is None else f"val {100 * accuracy:.1f} %",
            )
        hidden_count = len(runs) - MAX_SHOWN_RUNS
        if hidden_count > 0:
            table.add_row(Text(f"and {hidden_count} more", style="dim"))
        return Group(self._status_text(), self._best_text(), table)

    def _print_status_line(self) -> None:
        if (
            self._console.is_terminal
            or time.monotonic() - self._last_line_time < STATUS_LINE_SECONDS
        ):
            return
        self._last_line_time = time.monotonic()
        self._console.print(
            Text.assemble(self._status_text(), "   ", self._best_text()), soft_wrap=True
        )
