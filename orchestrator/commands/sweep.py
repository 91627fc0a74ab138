"""`sweep`: carry out a study, or what is left of it."""

from __future__ import annotations

import json
import os
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
from orchestrator.engine.carry_out import carry_out
from orchestrator.engine.cluster import ray_cluster
from orchestrator.engine.nodes import check_nodes
from orchestrator.engine.reach import require_cluster
from orchestrator.flags import StudyFlags
from orchestrator.planning import cost as costs
from orchestrator.planning.cost import MachineCost, duration
from orchestrator.planning.preparing import Prepared, prepare
from orchestrator.planning.shrink import smaller_flags
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

    from orchestrator.home import Home
    from orchestrator.planning.plan import Plan
    from search_spaces.loader import LoadedStudy

ASK_ABOVE_SECONDS = 3600.0


class Interrupted(NalError):  # noqa: N818 - no error, but an end that the user asked for
    """Ctrl-C: what is finished is recorded, and the same command goes on."""

    exit_code = 130


def run(flags: StudyFlags, *, yes: bool, as_json: bool, dry_run: bool) -> int:
    """Plan, ask where it is long, carry out, report.

    Args:
        flags: as typed.
        yes: do not ask.
        as_json: print JSON on standard output, and everything for people on standard error.
        dry_run: print the plan, write nothing.

    Returns:
        Exit code: 0, or 1 if runs could not be carried out.

    Raises:
        NalError: one line for the user.
    """
    console = Console(stderr=as_json, highlight=False)
    if dry_run:
        prepared = prepare(flags, console, writes=False)
        with console.status("measuring what a step costs here"):
            cost = costs.measure(prepared.plan, cache=None)
        console.print(plan_view(prepared, cost, flags))
        if as_json:
            sys.stdout.write(json.dumps(plan_json(prepared, cost, flags)) + "\n")
        return 0
    home = flags.paths
    name = flags.load().name
    with ExitStack() as stack:
        _check_services(flags)
        home.prepare()
        stack.enter_context(home.claimed(name))
        prepared = prepare(flags, console, writes=True)
        if flags.ray_address is None:
            _check_cpus(prepared.loaded)
        with console.status("measuring what a step costs here"):
            cost = costs.measure(prepared.plan, home.cache)
        console.print(plan_view(prepared, cost, flags))
        if not yes and flags.ray_address is None:
            _ask(flags, prepared.plan, cost, console)
        home.require_space(cost.plan_bytes(prepared.plan))
        return _carry_out(flags, prepared, cost, console, as_json=as_json)


def _check_services(flags: StudyFlags) -> None:
    """See that the cluster and the tracking server answer, before anything takes time.

    Raises:
        ServiceError: one of them does not.
    """
    if flags.ray_address is not None:
        require_cluster(flags.ray_address)
    if flags.tracking_uri is not None:
        check_store(flags.tracking_uri)


def _check_cpus(loaded: LoadedStudy) -> None:
    """See that this machine has the CPUs that one run asks for.

    Raises:
        StudyError: it has not; without this Ray would wait for them for ever.
    """
    wanted, has = loaded.study.resources.cpus, os.cpu_count() or 1
    if wanted > has:
        message = f"one run asks for {wanted} CPUs, this machine has {has}"
        raise loaded.explain(FieldError("resources.cpus", message))


def _ask(flags: StudyFlags, plan: Plan, cost: MachineCost, console: Console) -> None:
    """Let the user agree to a plan that takes long here.

    Raises:
        UserError: there is nobody to ask, or the answer is no.
    """
    seconds = cost.plan_seconds(plan)
    if seconds <= ASK_ABOVE_SECONDS:
        return
    smaller = smaller_flags(flags, plan, cost, ASK_ABOVE_SECONDS)
    if smaller is not None:
        shorter = replace(plan, study=smaller.load().study)
        console.print(f"A smaller one, about {duration(cost.plan_seconds(shorter))} here:")
        console.print(Text(f"    {smaller.command()}\n"), soft_wrap=True)
    long = f"this plan takes about {duration(seconds)} on this machine"
    if not sys.stdin.isatty():
        hint = "" if smaller is None else ", or type the smaller command above"
        raise UserError(f"{long}: add --yes to begin it{hint}")
    if not console.input(f"{long}. Begin? \\[y/N] ").strip().lower().startswith("y"):
        raise UserError("not begun")


def _carry_out(
    flags: StudyFlags, prepared: Prepared, cost: MachineCost, console: Console, *, as_json: bool
) -> int:
    """Run what the sweep lacks, then show what it gave."""
    home, plan = flags.paths, prepared.plan
    uri = flags.tracking_uri or home.tracking_uri
    with (
        _explained(home),
        BackgroundTracker(uri, home.artifacts_for(uri), plan.name) as tracker,
    ):
        sweep = Sweep(plan, home.path, open_searches(home.search_storage))
        recorder = Recorder(
            sweep, prepared.loaded, SweepArchive.of(home.path, plan.digest), tracker
        )
        try:
            recorded = recorder.resume()
            if recorded:
                all_done = "nothing is left to train" if sweep.done else "going on from there"
                console.print(f"{counted(recorded, 'run')} recorded already: {all_done}.\n")
            if not sweep.done:
                _train(flags, sweep, cost, console)
        except BaseException as error:
            tracker.abandon()
            if isinstance(error, KeyboardInterrupt):
                ended = sum(sweep.finished.values())
                raise Interrupted(
                    f"interrupted after {ended} runs: type the same command to go on"
                ) from None
            raise
        final = recorder.update()
        tracker.flush()
        report = build_report(uri, plan.digest)
        tracker.finish_sweep(final, report.files)
    if as_json:
        sys.stdout.write(json.dumps(report.plain) + "\n")
    report.show(console)
    console.print(_next_commands(flags, plan), soft_wrap=True)
    for failure in sweep.failed:
        console.print(Text(f"could not be carried out: {failure}", style="red"), soft_wrap=True)
    return 1 if sweep.failed else 0


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


def _train(flags: StudyFlags, sweep: Sweep, cost: MachineCost, console: Console) -> None:
    home = flags.paths
    with console.status("starting Ray"), ExitStack() as stack:
        gpus = stack.enter_context(ray_cluster(flags.ray_address))
        if flags.ray_address is not None:
            check_nodes(home.path)
        held = stack.pop_all()
    with held, Display(console, sweep, cost) as display:
        per_run = sweep.plan.study.resources.gpus if gpus else 0.0
        carry_out(sweep, home.path, display, _job(flags, sweep.plan), per_run)


def _job(flags: StudyFlags, plan: Plan) -> dict[str, object]:
    return {
        "home": str(flags.paths.path),
        "data_dir": str(flags.data),
        "study": plan.name,
        "diagnostics_every": plan.study.diagnostics.every,
    }


def _next_commands(flags: StudyFlags, plan: Plan) -> Text:
    where = replace(StudyFlags(plan.name), home=flags.home, tracking_uri=flags.tracking_uri)
    lines = [("print this table again", where.command("report"))]
    if flags.tracking_uri is None:
        lines.insert(0, ("look at every run in MLflow", where.command("ui")))
    if plan.searches:
        more = replace(flags, trials=2 * plan.study.search.trials)
        lines.append(("search on from here", more.command("sweep")))
    text = Text("\n")
    for why, words in lines:
        text.append(f"{why}:\n", style="dim").append(f"  {words}\n", style="bold")
    return text
