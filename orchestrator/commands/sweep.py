"""The `sweep` command: carry out the runs of a study that are not recorded yet."""

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
from orchestrator.planning.cost import MachineCost, format_duration
from orchestrator.planning.loading import LoadedPlan, job_of, load_plan
from orchestrator.planning.shrink import smaller_changes
from orchestrator.planning.view import plan_json, plan_view
from orchestrator.sweeping.search import open_searches
from orchestrator.sweeping.sweep import Sweep
from orchestrator.tracking.archive import SweepArchive
from orchestrator.tracking.background import BackgroundTracker
from orchestrator.tracking.recording import Recorder
from reports.store import check_store, first_cause
from reports.words import format_count
from trainables.errors import FieldError, HomeError, NalError, UserError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from orchestrator.home import Home
    from orchestrator.planning.plan import Plan
    from search_spaces.loader import LoadedStudy

CONFIRM_ABOVE_SECONDS = 3600.0
"""Estimated wall time above which the user has to confirm a plan, in seconds."""


class Interrupted(NalError):  # noqa: N818 - the user's wish, not an error
    """Raised when the user interrupts a sweep; the same command continues it."""

    exit_code = 130


def run(changes: Changes, places: Places, *, yes: bool, as_json: bool, dry_run: bool) -> int:
    """Plan a sweep, carry it out, and print its table.

    Args:
        changes: the study and the changes that flags make to it.
        places: locations of data and results, and the engine.
        yes: whether to start a long sweep without confirmation.
        as_json: whether to print JSON on standard output and all other text on standard error.
        dry_run: whether to print the plan only and write nothing.

    Returns:
        The exit code: 0, or 1 if some runs could not be carried out.

    Raises:
        NalError: if the sweep cannot be started or continued.
    """
    console = Console(stderr=as_json, highlight=False)
    engine = engine_of(places)
    if dry_run:
        loaded_plan = load_plan(changes, places, console, writes=False)
        cost = _measure_cost(loaded_plan.plan, engine, None, console)
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
        cost = _measure_cost(loaded_plan.plan, engine, home.cache, console)
        console.print(plan_view(loaded_plan, cost, places))
        if not yes and places.ray_address is None:
            _ask_confirmation(changes, places, loaded_plan.plan, cost, console)
        home.require_space(cost.plan_bytes(loaded_plan.plan))
        failures = _carry_out(engine, places, loaded_plan, cost, console, as_json=as_json)
        console.print(_suggested_commands(changes, places, loaded_plan.plan), soft_wrap=True)
        for failure in failures:
            console.print(Text(f"could not be carried out: {failure}", style="red"), soft_wrap=True)
        return 1 if failures else 0


def _check_services(places: Places, engine: Engine, loaded: LoadedStudy) -> None:
    """Check that the engine and the MLflow server can be used.

    Raises:
        NalError: if the engine or the server cannot be used.
    """
    try:
        engine.check(loaded.study.resources)
    except FieldError as error:
        raise loaded.explain(error) from error
    if places.tracking_uri is not None:
        check_store(places.tracking_uri)


def _measure_cost(plan: Plan, engine: Engine, cache: Path | None, console: Console) -> MachineCost:
    """Measure what the runs of a plan cost on this machine.

    The engine may limit the number of runs at a time. Measurements are stored in the folder
    `cache`; None to store none.
    """
    with console.status("measuring what a step costs here"):
        cost = costs.measure(plan, cache)
    return replace(cost, slots=engine.slots or cost.slots)


def _ask_confirmation(
    changes: Changes, places: Places, plan: Plan, cost: MachineCost, console: Console
) -> None:
    """Ask the user to confirm the plan of a sweep, if it takes long on this machine.

    Raises:
        UserError: if the user declines, or standard input is not a terminal.
    """
    seconds = cost.plan_seconds(plan)
    if seconds <= CONFIRM_ABOVE_SECONDS:
        return
    smaller_sweep = smaller_changes(changes, plan, cost, CONFIRM_ABOVE_SECONDS)
    if smaller_sweep is not None:
        smaller_plan = replace(plan, study=smaller_sweep.load().study)
        console.print(
            f"A smaller sweep, about {format_duration(cost.plan_seconds(smaller_plan))} here:"
        )
        console.print(Text(f"    {command_line('sweep', smaller_sweep, places)}\n"), soft_wrap=True)
    duration_text = f"this plan takes about {format_duration(seconds)} on this machine"
    if not sys.stdin.isatty():
        hint = "" if smaller_sweep is None else ", or run the smaller sweep above"
        raise UserError(f"{duration_text}: add --yes to start it{hint}")
    if not console.input(f"{duration_text}. Start? \\[y/N] ").strip().lower().startswith("y"):
        raise UserError("the sweep was not started, since it was not confirmed")


def _carry_out(
    engine: Engine,
    places: Places,
    loaded_plan: LoadedPlan,
    cost: MachineCost,
    console: Console,
    *,
    as_json: bool,
) -> list[str]:
    """Carry out the runs of a sweep that are not recorded yet, and print the table.

    Returns:
        Descriptions of the runs that could not be carried out.
    """
    home, plan, uri = places.home, loaded_plan.plan, places.store
    with (
        _translate_search_errors(home),
        BackgroundTracker(uri, home.artifacts_for(uri), plan.name) as tracker,
    ):
        sweep = Sweep(plan, home.path, open_searches(home.search_storage))
        recorder = Recorder(
            sweep, loaded_plan.loaded, SweepArchive.of(home.path, plan.digest), tracker
        )
        try:
            recorded_count = recorder.resume()
            if recorded_count:
                status_text = "nothing is left to train" if sweep.done else "continuing from there"
                console.print(
                    f"{format_count(recorded_count, 'run')} already recorded: {status_text}.\n"
                )
            if not sweep.done:
                with ExitStack() as stack:
                    with console.status("starting workers"):
                        stack.enter_context(engine.start(home.path))
                    display = stack.enter_context(Display(console, sweep, cost))
                    engine.carry_out(sweep, job_of(places, plan), display)
        except BaseException as error:
            tracker.mark_interrupted()
            if isinstance(error, KeyboardInterrupt):
                ended_count = sum(sweep.ended_runs.values())
                raise Interrupted(
                    f"interrupted after {ended_count} runs: type the same command to go on"
                ) from None
            raise
        final_plan = recorder.update()
        tracker.flush()
        report = build_report(uri, plan.digest)
        tracker.finish_sweep(final_plan, report.files)
    if as_json:
        print_json(report.plain)
    report.show(console)
    return sweep.failures


@contextmanager
def _translate_search_errors(home: Home) -> Iterator[None]:
    """Translate errors of the database that Optuna stores searches in into `HomeError`.

    Raises:
        HomeError: if the database is full, damaged or not writable.
    """
    try:
        yield
    except (SQLAlchemyError, StorageInternalError) as error:
        raise HomeError(
            f"{home.path / 'optuna.db'}: {first_cause(error)}: check that the disk has space and "
            "that the file is intact, then type the same command again"
        ) from error


def _suggested_commands(changes: Changes, places: Places, plan: Plan) -> Text:
    """Return a text that suggests commands to run after a sweep."""
    store_places = Places(home_dir=places.home_dir, tracking_uri=places.tracking_uri)
    suggestions = [
        ("print this table again", command_line("report", Changes(plan.name), store_places))
    ]
    if places.tracking_uri is None:
        suggestions.insert(0, ("browse all runs in MLflow", command_line("ui", store_places)))
    if plan.searches:
        more_trials = replace(changes, trials=2 * plan.study.search.trials)
        suggestions.append(
            ("continue the search with more trials", command_line("sweep", more_trials, places))
        )
    text = Text("\n")
    for purpose, command in suggestions:
        text.append(f"{purpose}:\n", style="dim").append(f"  {command}\n", style="bold")
    return text
