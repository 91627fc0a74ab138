"""The `sweep` command, which carries out the runs of a study and prints the result table."""

from __future__ import annotations

import sys
from contextlib import ExitStack, suppress
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING

from rich.text import Text

from orchestrator.commands.sweep_fit import FitRequest, fit_plan
from orchestrator.display import Display
from orchestrator.engine.base import Engine, engine_of
from orchestrator.engine.temp_dirs import temp_files_of_process
from orchestrator.engine.time_limit import time_limit
from orchestrator.flags import Locations, StudyFlags, command_line
from orchestrator.output import CommandConsole, print_json
from orchestrator.planning import cost as costs
from orchestrator.planning.cost import MachineCost, format_duration
from orchestrator.planning.history import check_history_name
from orchestrator.planning.loading import LoadedPlan, job_of, load_plan, wants_system_metrics
from orchestrator.planning.shrink import suggest_smaller_sweep
from orchestrator.planning.sizes import phase_sizes
from orchestrator.planning.view import plan_json, plan_outline, plan_view
from orchestrator.sweeping.budget import Budget
from orchestrator.sweeping.recorded import RecordedRuns, find_recorded_runs
from orchestrator.sweeping.search_storage import (
    Patience,
    check_search_storage,
    locked_searches,
    open_search_storage,
    translate_search_errors,
)
from orchestrator.sweeping.sweep import Sweep
from orchestrator.sweeping.tuning import search_digests
from orchestrator.tracking.archive import SweepArchive
from orchestrator.tracking.background import BackgroundTracker
from orchestrator.tracking.cleaning import Cleaning, delete_unused_checkpoints
from orchestrator.tracking.finished import FinishedSweep, find_finished_sweep
from orchestrator.tracking.home_store import update_home_store
from orchestrator.tracking.recording import SweepRecorder, plan_record
from orchestrator.watching.progress_record import recorded_flags
from orchestrator.watching.recorded_budget import (
    NEXT_BUDGET_FACTOR,
    SECONDS_PER_HOUR,
    RecordedBudget,
)
from orchestrator.watching.sweep_progress import ProgressFile, SweepProgress
from reports.comparison import comparison_table
from reports.formats import table_values
from reports.plan_record import PAGE_FILE
from reports.read import read_sweep
from reports.report import build_report, print_table
from reports.store import check_store
from reports.words import format_count
from search_spaces.grid import check_grid_size
from trainables.errors import DataError, FieldError, NalError, RecordError, UserError
from trainables.run.record import write_atomically

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from rich.console import Console

    from orchestrator.home import Home
    from orchestrator.planning.plan import Plan
    from reports.plan_record import PlanRecord
    from reports.table import Table
    from search_spaces.loader import LoadedStudy

MAX_UNCONFIRMED_SECONDS = 3600.0
"""Longest estimated wall time of a sweep that starts without confirmation, in seconds."""

NO_LIMIT = RecordedBudget()
"""Time budget of a sweep whose time is not limited."""


@dataclass(frozen=True, slots=True)
class SweepStart:
    """What a start of a sweep has to carry out.

    Attributes:
        cost: measured cost of a run; None if no run is to be carried out.
        settled_digests: digests of runs that need not be read; see `Sweep`.
        budget: time budget of the sweep, which may end it early.
    """

    cost: MachineCost | None
    settled_digests: frozenset[str]
    budget: Budget


def run(
    study_flags: StudyFlags,
    locations: Locations,
    *,
    yes: bool,
    as_json: bool,
    dry_run: bool,
    fit: str | None = None,
) -> int:
    """Plan a sweep, carry it out, and print its table.

    Args:
        study_flags: flags that select the study and change it.
        locations: locations of data and results, and the engine that carries out the runs.
        yes: whether to start a long sweep without confirmation.
        as_json: whether to print JSON on standard output and all other text on standard error.
        dry_run: whether to print the plan only and write nothing.
        fit: time into which the sweep is shrunk to fit, such as "1h"; None to leave it as it is.

    Returns:
        The exit code: 0, or 1 if some runs could not be carried out.

    Raises:
        NalError: if the sweep cannot be started or continued.
    """
    console = CommandConsole(stderr=as_json)
    engine, home = engine_of(locations), locations.home
    wants_system_metrics()  # refuses an invalid environment variable
    fit_request = None if fit is None else FitRequest.parse(fit)
    loaded = study_flags.load()
    try:
        check_grid_size(loaded.study)
    except FieldError as error:
        raise loaded.to_study_error(error) from error
    if study_flags.from_sweep is not None:
        check_history_name(home, study_flags.from_sweep)
    if dry_run:
        _print_plan(study_flags, locations, engine, console, fit_request, as_json=as_json)
        return 0
    _check_services(locations, engine, loaded)
    with temp_files_of_process(), home.removed_if_refused():
        home.create()
        home.remove_incomplete_files()
        if locations.uses_home_store:
            update_home_store(home)
        return _sweep(
            study_flags,
            locations,
            engine,
            loaded.name,
            console,
            fit_request,
            yes=yes,
            as_json=as_json,
        )


def _sweep(
    study_flags: StudyFlags,
    locations: Locations,
    engine: Engine,
    study: str,
    console: Console,
    fit_request: FitRequest | None,
    *,
    yes: bool,
    as_json: bool,
) -> int:
    """Plan a sweep, carry it out and print its table, in a home folder that exists.

    Returns:
        The exit code of the command.
    """
    home, has_fitted = locations.home, False
    with ExitStack() as stack:
        stack.enter_context(home.study_lock(study))
        loaded_plan = load_plan(study_flags, locations, console, may_write=True)
        if fit_request is not None:
            home.require_space(0.0)
            measure_cost = partial(
                _measure_cost, engine=engine, home=home, console=console, may_write=True
            )
            fitted = fit_plan(
                fit_request,
                study_flags,
                locations,
                loaded_plan,
                measure_cost,
                console,
                may_write=True,
            )
            if fitted is not None:
                study_flags, loaded_plan, has_fitted = fitted.flags, fitted.loaded_plan, True
                stack.enter_context(fitted.continued())
        plan = loaded_plan.plan
        archive = SweepArchive.of(home.path, plan.digest)
        budget = RecordedBudget.read(plan, archive)
        finished = find_finished_sweep(locations.store_uri, plan.digest, home.path)
        settled_digests = finished.run_digests if finished else frozenset()
        recorded = _find_recorded_runs(plan, locations, console, settled_digests, budget)
        failures: list[str] = []
        if (
            finished is None
            or not recorded.is_complete
            or not _print_finished_sweep(
                finished, recorded, locations, loaded_plan, console, study_flags, as_json=as_json
            )
        ):
            cost = None
            if not recorded.is_complete and budget.seconds_left:
                cost = _announce(
                    study_flags,
                    locations,
                    engine,
                    loaded_plan,
                    budget,
                    console,
                    has_fitted=has_fitted,
                    yes=yes,
                )
            failures = _carry_out(
                engine,
                locations,
                loaded_plan,
                SweepStart(
                    cost,
                    settled_digests,
                    budget.start(plan, cost, is_complete=recorded.is_complete),
                ),
                console,
                study_flags,
                as_json=as_json,
            )
        record = archive.read_plan()
        console.print(_suggested_commands(study_flags, locations, plan, record), soft_wrap=True)
    is_incomplete = record is not None and record.is_budget_spent
    if plan.study.keep == "table" and not failures and not is_incomplete:
        _delete_unused_checkpoints(home, plan, console)
    for failure in failures:
        console.print(
            Text(f"run that could not be carried out: {failure}", style="red"), soft_wrap=True
        )
    return 1 if failures else 0


def _announce(
    study_flags: StudyFlags,
    locations: Locations,
    engine: Engine,
    loaded_plan: LoadedPlan,
    budget: RecordedBudget,
    console: Console,
    *,
    has_fitted: bool,
    yes: bool,
) -> MachineCost | None:
    """Print the plan of a sweep with its cost, and make sure that the sweep can and should start.

    Args:
        study_flags: flags that select the study and change it.
        locations: locations of data and results.
        engine: engine that carries out the runs.
        loaded_plan: plan and study of the sweep.
        budget: time budget of the sweep.
        console: console to print on.
        has_fitted: whether `--fit` has shrunk the sweep, which the user then has to confirm.
        yes: whether the user has confirmed the sweep beforehand.

    Returns:
        The cost of the sweep on this machine; None if its time budget is spent.

    Raises:
        UserError: if the sweep takes long and the user does not confirm it, or the time budget is
            too small.
        HomeError: if the disk of the home folder is too full.
    """
    home, plan = locations.home, loaded_plan.plan
    home.require_space(0.0)  # a full disk is found before the measurement
    measure_cost = partial(_measure_cost, engine=engine, home=home, console=console, may_write=True)
    cost = measure_cost(plan)
    _check_budget(budget, loaded_plan, cost)
    if not budget.can_start(cost):
        return None
    console.print(plan_view(loaded_plan, cost, locations, budget=budget))
    if has_fitted and not yes:
        _require_confirmation(
            "this is the sweep that fits", "type its command above, or add --yes", console
        )
    elif not yes and locations.ray_address is None:
        _ask_confirmation(study_flags, locations, plan, cost, budget, measure_cost, console)
    home.require_space(cost.plan_bytes(plan))
    return cost


def _check_budget(budget: RecordedBudget, loaded_plan: LoadedPlan, cost: MachineCost) -> None:
    """Check that a new sweep can end a run within its time budget.

    Raises:
        StudyError: if the budget is too small.
    """
    try:
        budget.check(loaded_plan.plan, cost)
    except FieldError as error:
        raise loaded_plan.loaded_study.to_study_error(error) from error


def _delete_unused_checkpoints(home: Home, plan: Plan, console: Console) -> None:
    """Delete the checkpoints that `keep: table` does not keep, unless another process trains."""
    try:
        with home.not_in_use():
            cleaning = delete_unused_checkpoints(home, plan.digest)
    except NalError as error:
        console.print(f"checkpoints outside the table stay for now: {error}", soft_wrap=True)
    else:
        console.print(f"keep: table: {_describe_cleaning(cleaning)}", soft_wrap=True)


def _describe_cleaning(cleaning: Cleaning) -> str:
    """Describe which checkpoints were deleted, and why others were not."""
    count, left_count = cleaning.deleted_count, cleaning.left_count
    if not count and not left_count:
        return "no checkpoint was deleted: only runs of the table have one"
    text = "no checkpoint was deleted"
    if count:
        size = costs.format_size(cleaning.freed_bytes)
        text = f"the checkpoints of {format_count(count, 'run')} were deleted, {size}"
    if left_count:
        text += (
            f"; {format_count(left_count, 'run')} outside the table keep theirs, since another "
            "sweep, `train` or another run uses them, or since they were stopped early and can be "
            "continued"
        )
    return text


def _print_plan(
    study_flags: StudyFlags,
    locations: Locations,
    engine: Engine,
    console: Console,
    fit_request: FitRequest | None,
    *,
    as_json: bool,
) -> None:
    """Print the plan of a sweep and a smaller sweep, without writing files.

    Raises:
        DataError: if the data are missing; what is known without them is printed.
    """
    home = locations.home
    try:
        loaded_plan = load_plan(study_flags, locations, console, may_write=False)
    except DataError:
        if outline := plan_outline(study_flags.load()):
            console.print(outline)
        raise
    measure_cost = partial(
        _measure_cost, engine=engine, home=home, console=console, may_write=False
    )
    fitted = None
    if fit_request is not None:
        fitted = fit_plan(
            fit_request, study_flags, locations, loaded_plan, measure_cost, console, may_write=False
        )
        loaded_plan = fitted.loaded_plan if fitted else loaded_plan
    plan = loaded_plan.plan
    cost = measure_cost(plan)
    budget = RecordedBudget.read(plan, SweepArchive.of(home.path, plan.digest))
    _check_budget(budget, loaded_plan, cost)
    recorded_count = _find_recorded_runs(plan, locations, console, budget=budget).count
    console.print(plan_view(loaded_plan, cost, locations, recorded_count, budget))
    if fitted is None:
        _suggest_smaller_sweep(study_flags, locations, plan, cost, budget, measure_cost, console)
    if as_json:
        print_json(plan_json(loaded_plan, cost, locations, budget) | {"recorded": recorded_count})


def _check_services(locations: Locations, engine: Engine, loaded: LoadedStudy) -> None:
    """Check the engine, the MLflow store and the database of searches.

    Raises:
        NalError: if one of them cannot be used.
    """
    try:
        engine.check(loaded.study.resources)
    except FieldError as error:
        raise loaded.to_study_error(error) from error
    if locations.tracking_uri is not None:
        check_store(locations.store_uri)
    if locations.search_storage is not None:
        check_search_storage(locations.search_storage)


def _find_recorded_runs(
    plan: Plan,
    locations: Locations,
    console: Console,
    settled_digests: frozenset[str] = frozenset(),
    budget: RecordedBudget = NO_LIMIT,
) -> RecordedRuns:
    """Return the runs of a sweep that are recorded in the home folder.

    Args:
        plan: plan of the sweep.
        locations: locations of data and results.
        console: console that shows the progress.
        settled_digests: digests of runs that need not be read; see `Sweep`.
        budget: time budget of the sweep.

    Raises:
        NalError: if the database of searches or a record cannot be read.
    """
    with console.status("looking for recorded runs"):
        return find_recorded_runs(
            plan,
            locations.home,
            settled_digests,
            locations.search_url,
            Budget(budget.phase_ends),
        )


def _measure_cost(
    plan: Plan, *, engine: Engine, home: Home, console: Console, may_write: bool
) -> MachineCost:
    """Measure the time and disk space that the runs of a plan take on this machine.

    Args:
        plan: plan of the sweep.
        engine: engine, which may limit the number of runs at a time.
        home: home folder, in whose cache measurements are stored.
        console: console that shows the progress.
        may_write: whether new measurements may be stored.
    """
    with console.status("measuring the time of a training step on this machine"):
        return costs.measure_machine_cost(
            plan,
            home,
            engine_limit=engine.max_concurrent_runs,
            starts_workers=engine.starts_workers,
            may_write=may_write,
        )


def _suggest_smaller_sweep(
    study_flags: StudyFlags,
    locations: Locations,
    plan: Plan,
    cost: MachineCost,
    budget: RecordedBudget,
    measure_cost: Callable[[Plan], MachineCost],
    console: Console,
) -> bool:
    """Print the command of a smaller sweep, if a sweep takes long on this machine.

    Returns:
        Whether a smaller sweep was printed.
    """
    if min(cost.plan_seconds(plan), budget.seconds_left) <= MAX_UNCONFIRMED_SECONDS:
        return False
    smaller = suggest_smaller_sweep(study_flags, plan, cost, MAX_UNCONFIRMED_SECONDS, measure_cost)
    if smaller is None:
        return False
    remark = (
        ""
        if smaller.is_telling
        else f"; with {smaller.step_count} training steps a run, it shows how a sweep works, but "
        "not which method is better"
    )
    console.print(f"A smaller sweep takes about {format_duration(smaller.seconds)}{remark}:")
    console.print(Text(f"    {command_line('sweep', smaller.flags, locations)}\n"), soft_wrap=True)
    return True


def _ask_confirmation(
    study_flags: StudyFlags,
    locations: Locations,
    plan: Plan,
    cost: MachineCost,
    budget: RecordedBudget,
    measure_cost: Callable[[Plan], MachineCost],
    console: Console,
) -> None:
    """Ask the user to confirm a sweep that takes long on this machine.

    Raises:
        UserError: if the user declines, or standard input is not a terminal.
    """
    seconds = min(cost.plan_seconds(plan), budget.seconds_left)
    if seconds <= MAX_UNCONFIRMED_SECONDS:
        return
    has_suggestion = _suggest_smaller_sweep(
        study_flags, locations, plan, cost, budget, measure_cost, console
    )
    duration_text = f"this sweep takes about {format_duration(seconds)} on this machine"
    hint = ", or run the smaller sweep above" if has_suggestion else ""
    _require_confirmation(duration_text, f"add --yes to start it{hint}", console)


def _require_confirmation(statement: str, advice: str, console: Console) -> None:
    """Ask the user whether to start the sweep.

    Args:
        statement: what the user should know.
        advice: what to do where nobody can be asked.
        console: console to ask on.

    Raises:
        UserError: if the user declines, or standard input is not a terminal.
    """
    if not sys.stdin.isatty():
        raise UserError(f"{statement}: {advice}")
    if not console.input(f"{statement}. Start? [y/N] ").strip().lower().startswith("y"):
        raise UserError("the sweep was not started, because you did not confirm it")


def _print_finished_sweep(
    finished: FinishedSweep,
    recorded: RecordedRuns,
    locations: Locations,
    loaded_plan: LoadedPlan,
    console: Console,
    study_flags: StudyFlags,
    *,
    as_json: bool,
) -> bool:
    """Print the table of a sweep whose runs, plan, tables and page are all written already.

    Args:
        finished: what the MLflow store has of the sweep.
        recorded: recorded runs of the sweep, none of which is left to carry out.
        locations: locations of data and results.
        loaded_plan: plan and study of the sweep.
        console: console to print on.
        study_flags: flags that select the study and change it.
        as_json: whether to also print the table as JSON on standard output.

    Returns:
        Whether the table was printed; if not, something of the sweep is to be written again, such
        as a changed title, a run that MLflow lacks, or the page.
    """
    uri, plan = locations.store_uri, loaded_plan.plan
    archive = SweepArchive.of(locations.home_dir, plan.digest)
    page_path = archive.folder / PAGE_FILE
    sweep = recorded.sweep
    has_page = page_path.exists() and page_path.stat().st_size > 0
    if sweep is None or not has_page:
        return False
    written_digests = finished.run_digests | (finished.stopped_digests & sweep.stopped_digests)
    if sweep.run_phases.keys() - written_digests:
        return False
    current_plan = plan_record(sweep, loaded_plan.loaded_study, study_flags)
    try:
        archived = archive.read_plan_and_study()
    except RecordError:
        return False
    if archived != (current_plan, loaded_plan.loaded_study.to_yaml()):
        return False
    stored_plan, runs = read_sweep(uri, plan.digest)
    if stored_plan != current_plan:
        return False
    table = comparison_table(stored_plan, runs)
    finished.mark_started(uri)
    archive.mark_written(uri)
    _print_recorded_count(recorded.count, console, is_complete=True)
    _print_results(table, page_path, console, as_json=as_json)
    return True


def _print_recorded_count(count: int, console: Console, *, is_complete: bool) -> None:
    """Print how many runs of a sweep are recorded, and whether runs are missing."""
    status_text = (
        "nothing is left to train" if is_complete else "training the runs that are missing"
    )
    at_least = "" if is_complete else "at least "
    console.print(f"{at_least}{format_count(count, 'run')} already recorded: {status_text}.\n")


def _print_results(table: Table, page_path: Path, console: Console, *, as_json: bool) -> None:
    """Print the table of a sweep, and where its page is.

    Args:
        table: table of the sweep.
        page_path: path of the page.
        console: console to print on.
        as_json: whether to also print the table as JSON on standard output.
    """
    if as_json:
        print_json(table_values(table))
    print_table(table, console)
    console.print(Text(f"\nThe same as a page, with every run: {page_path}"), soft_wrap=True)


def _carry_out(
    engine: Engine,
    locations: Locations,
    loaded_plan: LoadedPlan,
    start: SweepStart,
    console: Console,
    study_flags: StudyFlags,
    *,
    as_json: bool,
) -> list[str]:
    """Carry out the runs of a sweep that are not recorded yet, print its table, write its page.

    Args:
        engine: engine that carries out the runs.
        locations: locations of data and results.
        loaded_plan: plan and study of the sweep.
        start: runs that are to be carried out.
        console: console to print on.
        study_flags: flags that select the study and change it.
        as_json: whether to also print the table as JSON on standard output.

    Returns:
        Descriptions of the runs that could not be carried out.
    """
    home, plan, uri = locations.home, loaded_plan.plan, locations.store_uri
    archive = SweepArchive.of(home.path, plan.digest)

    def on_notice(text: str) -> None:
        console.print(Text(text), soft_wrap=True)

    with (
        translate_search_errors(locations.search_url),
        locked_searches(locations.search_url, search_digests(plan)) as search_lock,
        BackgroundTracker(home, uri, plan.name, on_notice) as tracker,
    ):
        if locations.tracking_uri is not None:
            tracker.flush()  # a store that cannot be opened is refused before anything is trained
        storage = open_search_storage(locations.search_url)
        patience = Patience(locations.search_url, on_notice, prepare=search_lock.ensure)
        sweep = Sweep(plan, home.path, storage, start.settled_digests, patience, start.budget)
        recorder = SweepRecorder(
            sweep,
            loaded_plan.loaded_study,
            archive,
            tracker,
            study_flags,
        )
        try:
            recorded_count = recorder.resume()
            if recorded_count and (start.cost is not None or sweep.done):
                _print_recorded_count(recorded_count, console, is_complete=sweep.done)
            if start.cost is not None:
                start.budget.begin()
                progress = SweepProgress(sweep, start.cost, starts_workers=engine.starts_workers)
                flags = recorded_flags(study_flags, locations)
                with (
                    ProgressFile(archive.folder, progress, flags),
                    Display(console, progress) as display,
                    engine.start(display),
                    time_limit(start.budget.seconds_left),
                ):
                    engine.carry_out(sweep, job_of(locations, plan), display)
                sweep.end_recorded()  # the time limit may have hit while a worker ended a run
            final_plan = recorder.save_plan()
            if final_plan.is_budget_spent and not final_plan.cells:
                tracker.mark_interrupted()
                console.print(_describe_spent_budget(sweep), soft_wrap=True)
                return sweep.failures
            report = tracker.read(lambda: build_report(uri, home.path, plan.digest))
            page_path = archive.folder / PAGE_FILE
            write_atomically(page_path, report.page)
            tracker.finish_sweep(final_plan, report.files)
        except BaseException as error:
            with suppress(NalError):  # the first error is the one that the user must see
                tracker.mark_interrupted()
            if isinstance(error, KeyboardInterrupt):
                ended_count = sum(sweep.ended_run_counts.values())
                raise KeyboardInterrupt(
                    f"interrupted after {format_count(ended_count, 'run')}"
                ) from None
            raise
    _print_results(report.table, page_path, console, as_json=as_json)
    if final_plan.is_budget_spent:
        console.print(f"\n{_describe_spent_budget(sweep)}", soft_wrap=True)
    return sweep.failures


def _describe_spent_budget(sweep: Sweep) -> str:
    """Say that the time budget of a sweep is spent, and how far the sweep came."""
    hours = sweep.plan.study.budget.hours or 0.0
    counts = ", ".join(
        f"{phase} {format_count(sweep.ended_run_counts[phase], 'run')}"
        for phase in (size.phase for size in phase_sizes(sweep.plan))
    )
    table_text = "the table has what there is" if sweep.cells else "there is no table yet"
    return (
        f"The time budget of {format_duration(hours * SECONDS_PER_HOUR)} is spent in the phase "
        f"{sweep.phase}: {table_text}. Ended runs: {counts}."
    )


def _suggested_commands(
    study_flags: StudyFlags, locations: Locations, plan: Plan, record: PlanRecord | None
) -> Text:
    """Return a text with commands that the user may run after a sweep.

    Args:
        study_flags: flags that select the study and change it.
        locations: locations of data and results.
        plan: plan of the sweep.
        record: plan as it was recorded at the end; None if it cannot be read.
    """
    store_location = Locations(home_dir=locations.home_dir, tracking_uri=locations.tracking_uri)
    suggestions = []
    if record is None or record.cells:
        table_command = command_line("report", StudyFlags(plan.name), store_location)
        suggestions.append(("print this table again", table_command))
    if locations.tracking_uri is None:
        suggestions.insert(0, ("browse all runs in MLflow", command_line("ui", store_location)))
    hours = plan.study.budget.hours
    if hours is not None and record is not None and record.is_limited_by_budget:
        larger_budget = replace(study_flags, budget_hours=NEXT_BUDGET_FACTOR * hours)
        suggestions.append(
            ("go on with a larger time budget", command_line("sweep", larger_budget, locations))
        )
    elif plan.searches and plan.study.search.sampler != "grid":  # a grid has no more points
        more_trials = replace(study_flags, trials=2 * plan.study.search.trials)
        suggestions.append(
            ("continue the search with more trials", command_line("sweep", more_trials, locations))
        )
    text = Text("\n")
    for purpose, command in suggestions:
        text.append(f"{purpose}:\n", style="dim").append(f"  {command}\n", style="bold")
    return text
