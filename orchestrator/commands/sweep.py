"""`sweep`: carry out a study, or what is left of it."""

from __future__ import annotations

import sys
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING

from optuna.exceptions import StorageInternalError
from rich.console import Console
from rich.text import Text
from sqlalchemy.exc import SQLAlchemyError

from orchestrator.commands.report import build_report
from orchestrator.display import Display
from orchestrator.engine.base import Engine, engine_of
from orchestrator.flags import Changes, Places, command_line
from orchestrator.output import print_json
from orchestrator.planning import cost as costs
from orchestrator.planning.cost import MachineCost, duration
from orchestrator.planning.loading import LoadedPlan, job_of, load_plan
from orchestrator.planning.shrink import smaller_changes
from orchestrator.planning.view import plan_json, plan_view
from orchestrator.sweeping.search import open_searches
from orchestrator.sweeping.sweep import Sweep
from orchestrator.tracking.archive import SweepArchive
from orchestrator.tracking.background import BackgroundTracker
from orchestrator.tracking.recording import Recorder
from reports.store import check_store, first_cause
from reports.words import counted
from trainables.errors import FieldError, HomeError, NalError, UserError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from orchestrator.home import Home
    from orchestrator.planning.plan import Plan
    from search_spaces.loader import LoadedStudy

ASK_ABOVE_SECONDS = 3600.0


class Interrupted(NalError):  # noqa: N818 - no error, but an end that the user asked for
    """Ctrl-C: what is finished is recorded, and the same command goes on."""

    exit_code = 130


def run(changes: Changes, places: Places, *, yes: bool, as_json: bool, dry_run: bool) -> int:
    """Plan, ask where it is long, carry out, report.

    Args:
        changes: the study, and what flags change in it.
        places: where everything is, and is carried out.
        yes: do not ask.
        as_json: print JSON on standard output, and everything for people on standard error.
        dry_run: print the plan, write nothing.

    Returns:
        Exit code: 0, or 1 if runs could not be carried out.

    Raises:
        NalError: one line for the user.
    """
    console = Console(stderr=as_json, highlight=False)
    engine = engine_of(places)
    if dry_run:
        loaded_plan = load_plan(changes, places, console, writes=False)
        cost = _cost(loaded_plan.plan, engine, None, console)
        console.print(plan_view(loaded_plan, cost, places))
        if as_json:
            print_json(plan_json(loaded_plan, cost, places))
        return 0
    home = places.home
    loaded = changes.load()
    _check_services(places, engine, loaded)
    home.create()
    with home.claimed(loaded.name):
        loaded_plan = load_plan(changes, places, console, writes=True)
        cost = _cost(loaded_plan.plan, engine, home.cache, console)
        console.print(plan_view(loaded_plan, cost, places))
        if not yes and places.ray_address is None:
            _ask(changes, places, loaded_plan.plan, cost, console)
        home.require_space(cost.plan_bytes(loaded_plan.plan))
        failed = _carry_out(engine, places, loaded_plan, cost, console, as_json=as_json)
        console.print(_next_commands(changes, places, loaded_plan.plan), soft_wrap=True)
        for failure in failed:
            console.print(Text(f"could not be carried out: {failure}", style="red"), soft_wrap=True)
        return 1 if failed else 0


def _check_services(places: Places, engine: Engine, loaded: LoadedStudy) -> None:
    """See that the engine and the tracking server can be used, before anything takes time.

    Raises:
        NalError: one of them cannot.
    """
    try:
        engine.check(loaded.study.resources)
    except FieldError as error:
        raise loaded.explain(error) from error
    if places.tracking_uri is not None:
        check_store(places.tracking_uri)


def _cost(plan: Plan, engine: Engine, cache: Path | None, console: Console) -> MachineCost:
    """Measure what a plan costs on this machine, carried out by an engine."""
    with console.status("measuring what a step costs here"):
        cost = costs.measure(plan, cache)
    return replace(cost, slots=engine.slots or cost.slots)


def _ask(changes: Changes, places: Places, plan: Plan, cost: MachineCost, console: Console) -> None:
    """Let the user agree to a plan that takes long here.

    Raises:
        UserError: there is nobody to ask, or the answer is no.
    """
    seconds = cost.plan_seconds(plan)
    if seconds <= ASK_ABOVE_SECONDS:
        return
    smaller = smaller_changes(changes, plan, cost, ASK_ABOVE_SECONDS)
    if smaller is not None:
        shorter = replace(plan, study=smaller.load().study)
        console.print(f"A smaller one, about {duration(cost.plan_seconds(shorter))} here:")
        console.print(Text(f"    {command_line('sweep', smaller, places)}\n"), soft_wrap=True)
    long = f"this plan takes about {duration(seconds)} on this machine"
    if not sys.stdin.isatty():
        hint = "" if smaller is None else ", or type the smaller command above"
        raise UserError(f"{long}: add --yes to begin it{hint}")
    if not console.input(f"{long}. Begin? \\[y/N] ").strip().lower().startswith("y"):
        raise UserError("not begun")


def _carry_out(
    engine: Engine,
    places: Places,
    loaded_plan: LoadedPlan,
    cost: MachineCost,
    console: Console,
    *,
    as_json: bool,
) -> list[str]:
    """Run what the sweep lacks, then show what it gave; return what could not be carried out."""
    home, plan, uri = places.home, loaded_plan.plan, places.store
    with (
        _explained(home),
        BackgroundTracker(uri, home.artifacts_for(uri), plan.name) as tracker,
    ):
        sweep = Sweep(plan, home.path, open_searches(home.search_storage))
        recorder = Recorder(
            sweep, loaded_plan.loaded, SweepArchive.of(home.path, plan.digest), tracker
        )
        try:
            recorded = recorder.resume()
            if recorded:
                all_done = "nothing is left to train" if sweep.done else "going on from there"
                console.print(f"{counted(recorded, 'run')} recorded already: {all_done}.\n")
            if not sweep.done:
                with ExitStack() as stack:
                    with console.status("starting workers"):
                        stack.enter_context(engine.start(home.path))
                    display = stack.enter_context(Display(console, sweep, cost))
                    engine.carry_out(sweep, job_of(places, plan), display)
        except BaseException as error:
            tracker.mark_interrupted()
            if isinstance(error, KeyboardInterrupt):
                ended = sum(sweep.ended_runs.values())
                raise Interrupted(
                    f"interrupted after {ended} runs: type the same command to go on"
                ) from None
            raise
        final = recorder.update()
        tracker.flush()
        report = build_report(uri, plan.digest)
        tracker.finish_sweep(final, report.files)
    if as_json:
        print_json(report.plain)
    report.show(console)
    return sweep.failures


@contextmanager
def _explained(home: Home) -> Iterator[None]:
    """Turn what the searches' database says when it fails into one line.

    Raises:
        HomeError: it is full, damaged or not writable.
    """
    try:
        yield
    except (SQLAlchemyError, StorageInternalError) as error:
        raise HomeError(
            f"{home.path / 'optuna.db'}: {first_cause(error)}: see that the disk has room and the "
            "file is whole, then type the same command again"
        ) from error


def _next_commands(changes: Changes, places: Places, plan: Plan) -> Text:
    where = Places(home_dir=places.home_dir, tracking_uri=places.tracking_uri)
    lines = [("print this table again", command_line("report", Changes(plan.name), where))]
    if places.tracking_uri is None:
        lines.insert(0, ("look at every run in MLflow", command_line("ui", where)))
    if plan.searches:
        more = replace(changes, trials=2 * plan.study.search.trials)
        lines.append(("search on from here", command_line("sweep", more, places)))
    text = Text("\n")
    for why, words in lines:
        text.append(f"{why}:\n", style="dim").append(f"  {words}\n", style="bold")
    return text
