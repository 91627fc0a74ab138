"""The one place that prints while a sweep goes on; workers write to files only."""

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

from orchestrator.planning.cost import MachineCost, duration
from orchestrator.planning.sizes import phase_sizes
from reports.words import point
from search_spaces.schema import Phase
from trainables.run.metrics import TEST, TRAIN_LOSS, VAL

if TYPE_CHECKING:
    from collections.abc import Iterable

    from orchestrator.sweeping.sweep import Sweep
    from orchestrator.sweeping.tasks import Batch, Task
    from trainables.run.spec import RunSpec
    from trainables.training.job import Row

LINE_SECONDS = 10.0
"""Between lines where the output is no terminal."""
COLUMNS = 8
"""Of the table of runs."""
SHOWN = {
    TRAIN_LOSS: "loss {:.3f}",
    VAL: "val {:.1%}",
    TEST: "test {:.1%}",
}
"""Metrics beside a bar."""
SHOWN_RUNS = 8
"""Runs shown one by one; a cluster may have hundreds."""


class _Going:
    """A run that is being trained."""

    def __init__(self, task: Task) -> None:
        self.task = task
        self.begun = False
        self.row: Row = {}

    @property
    def epoch(self) -> int:
        return int(self.row.get("epoch", 0))

    @property
    def share(self) -> float:
        return self.epoch / self.task.spec.recipe.epochs


class Bars(Progress):
    """A listener that shows a bar for each run."""

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
        """Show a bar."""
        spec = task.spec
        self._bars[spec.digest] = self.add_task(
            run_title(spec), total=spec.recipe.epochs, latest=""
        )

    def on_report(self, task: Task, row: Row) -> None:
        """Move the run's bar, and show its latest numbers."""
        latest = "  ".join(form.format(row[name]) for name, form in SHOWN.items() if name in row)
        self.update(self._bars[task.spec.digest], completed=row.get("epoch", 0), latest=latest)

    def on_end(self, task: Task) -> None:
        """Leave the run's bar where it is."""


def run_title(spec: RunSpec) -> str:
    """Name a run for people."""
    return f"{spec.method} on {spec.scenario}, seed {spec.seeds.init}"


class Display:
    """Live on a terminal; a line now and then elsewhere. Use as a context, and as a listener."""

    def __init__(self, console: Console, sweep: Sweep, cost: MachineCost) -> None:
        self._console = console
        self._sweep = sweep
        self._weights = {
            size.phase: (size.runs, cost.mean_run_seconds(size.loads))
            for size in phase_sizes(sweep.plan)
        }
        self._slots = cost.slots
        self._going: dict[str, _Going] = {}
        self._begun = time.monotonic()
        self._recorded_share = self._done_seconds()
        self._spoken = 0.0
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
        """Show a run."""
        self._going[task.spec.digest] = _Going(task)
        self._speak()

    def on_report(self, task: Task, row: Row) -> None:
        """Move the run's bar."""
        going = self._going.get(task.spec.digest)
        if going is not None:
            going.begun = True
            going.row = row or going.row
        self._speak()

    def on_end(self, task: Task) -> None:
        """Take the run off the display."""
        self._going.pop(task.spec.digest, None)

    def _totals(self) -> dict[Phase, int]:
        """Return how many runs each phase has: exact where known, else at the most."""
        totals = {phase: runs for phase, (runs, _) in self._weights.items()}
        selecting = [batch for tuning in self._sweep.tunings for _, batch in tuning.candidates]
        if selecting and all(tuning.candidates for tuning in self._sweep.tunings):
            totals[Phase.SELECT] = self._count(Phase.SELECT, selecting)
        if self._sweep.cells:
            totals[Phase.CONFIRM] = self._count(
                Phase.CONFIRM, [cell.batch for cell in self._sweep.cells]
            )
        return totals

    def _count(self, phase: Phase, batches: Iterable[Batch]) -> int:
        """Count the runs of a phase, those that they need included, each once in all phases."""
        plan = self._sweep.plan
        specs = [spec for batch in batches for spec in batch.specs]
        needed = [need for spec in specs for need in plan.needs_of(spec)]
        digests = {spec.digest for spec in (*specs, *needed)}
        return sum(self._sweep.run_phases.get(digest, phase) is phase for digest in digests)

    def _done_seconds(self) -> float:
        ended = sum(
            self._sweep.ended_runs[phase] * seconds for phase, (_, seconds) in self._weights.items()
        )
        return ended + sum(
            going.share * self._weights[going.task.phase][1] for going in self._going.values()
        )

    def seconds_left(self) -> float:
        """Estimate the time left from the measured cost, corrected by how it has gone so far."""
        totals = self._totals()
        whole = sum(totals[phase] * seconds for phase, (_, seconds) in self._weights.items())
        done = self._done_seconds()
        progress = done - self._recorded_share
        elapsed = time.monotonic() - self._begun
        # Until a twentieth has gone by, the measured cost is the better guess.
        rate = progress / elapsed if progress > whole / 20 else self._slots
        return max(0.0, whole - done) / max(rate, 1e-9)

    def _status(self) -> Text:
        totals = self._totals()
        text = Text()
        for phase, total in totals.items():
            style = "bold" if phase is self._sweep.phase else "dim"
            text.append(f"{phase} {self._sweep.ended_runs[phase]} of {total}   ", style=style)
        text.append(f"{len(self._running())} running   ")
        if self._sweep.failures:
            text.append(f"{len(self._sweep.failures)} failed   ", style="red")
        text.append(f"about {duration(self.seconds_left())} left")
        return text

    def _best(self) -> Text:
        best = self._sweep.best
        if best is None:
            return Text("no trial has ended yet", style="dim")
        accuracy, values = best
        return Text(
            f"best so far: {100 * accuracy:.1f} % on held-out noisy labels at {point(values)}"
        )

    def _running(self) -> list[_Going]:
        # A copy: the Tune loop goes on in another thread than the live display.
        return [run for run in list(self._going.values()) if run.begun]

    def _render(self) -> RenderableType:
        runs = Table.grid(*(Column(no_wrap=True) for _ in range(COLUMNS)), padding=(0, 2))
        going = self._running()
        for run in going[:SHOWN_RUNS]:
            spec = run.task.spec
            accuracy = run.row.get(VAL)
            runs.add_row(
                Text(str(run.task.phase), style="cyan"),
                spec.method,
                spec.scenario,
                point(run.task.values),
                f"seed {spec.seeds.init}",
                ProgressBar(total=1.0, completed=run.share, width=20),
                f"epoch {run.epoch}/{spec.recipe.epochs}",
                "" if accuracy is None else f"val {100 * accuracy:.1f} %",
            )
        more = len(going) - SHOWN_RUNS
        if more > 0:
            runs.add_row(Text(f"and {more} more", style="dim"))
        return Group(self._status(), self._best(), runs)

    def _speak(self) -> None:
        if self._console.is_terminal or time.monotonic() - self._spoken < LINE_SECONDS:
            return
        self._spoken = time.monotonic()
        self._console.print(Text.assemble(self._status(), "   ", self._best()), soft_wrap=True)
