"""`train`: one run, without Ray."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from rich.console import Console

from orchestrator.display import ProgressBars, run_title
from orchestrator.engine.inline_engine import InlineEngine
from orchestrator.output import facts_table, print_json
from orchestrator.planning.cost import MachineCost, duration, measure_run
from orchestrator.planning.loading import job_of, load_plan
from orchestrator.planning.sizes import Load, network_of
from orchestrator.sweeping.tasks import RunList
from orchestrator.tracking.background import BackgroundTracker
from reports.store import check_store
from reports.words import code_text, point
from search_spaces.loader import parse_set
from search_spaces.schema import Phase, Study
from trainables.backbones import backbone_of
from trainables.errors import FieldError, StudyError, suggest
from trainables.methods import check_state, method_of
from trainables.noise import noise_of
from trainables.run.record import Record
from trainables.run.result import LabelFacts, RunResult, Status
from trainables.run_data.realisation import held_out_count

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from rich.table import Table

    from orchestrator.flags import Changes, Places
    from orchestrator.planning.plan import Plan
    from trainables.run.parameters import Value
    from trainables.run.spec import RunSpec

PATIENCE_SECONDS = 60.0
"""How long to wait for another process that trains the same run."""


def run(changes: Changes, places: Places, method: str, seed: int, *, as_json: bool) -> int:
    """Train one run of a study as its confirm phase would, and record it.

    Args:
        changes: the study, and what flags change in it; a `--set` whose key is a parameter of the
            method sets that.
        places: where the data and the home are.
        method: what is trained.
        seed: base seed of every axis.
        as_json: print the result as JSON on standard output.

    Returns:
        Exit code: 0, or 1 if the run diverged.

    Raises:
        NalError: one line for the user.
    """
    console = Console(stderr=as_json, highlight=False)
    try:
        method = replace(changes, sets=()).load().extensions.name_of("method", method)
        method_of(method)
    except FieldError as error:
        raise StudyError(f"--method: {error.message}") from error
    changes, values = _split_sets(changes, method)
    changes.load()
    if places.tracking_uri is not None:
        check_store(places.tracking_uri)
    plan = load_plan(changes, places, console, writes=True).plan
    try:
        spec = plan.spec(Phase.CONFIRM, method, plan.study.scenarios[0], values, seed)
        for one in (*plan.needs_of(spec), spec):
            kind = method_of(one.method)
            kind.check(one.hyperparameters, one.recipe.epochs)
            check_state(kind, one.hyperparameters, plan.samples, len(plan.dataset.classes))
    except FieldError as error:
        raise StudyError(f"--set {error.field}: {error.message}") from error
    home, uri = places.home, places.store
    results: dict[str, RunResult] = {}
    with BackgroundTracker(uri, home.artifacts_for(uri), plan.name) as tracker:

        def take(result: RunResult) -> None:
            results[result.digest] = result
            tracker.record(result, "train")

        train_here((*plan.needs_of(spec), spec), plan, places, console, take)
    result = results[spec.digest]
    if as_json:
        print_json(result.to_dict())
    else:
        console.print(
            _view(result, values, len(plan.dataset.train), str(home.path / "runs" / result.digest))
        )
    return 0 if result.status is Status.FINISHED else 1


def train_here(
    specs: Sequence[RunSpec],
    plan: Plan,
    places: Places,
    console: Console,
    take: Callable[[RunResult], None],
) -> None:
    """Train runs in this process, as far as they are not recorded.

    Args:
        specs: of the runs, each after those of them that it needs.
        plan: that they belong to.
        places: where the data and the home are.
        console: shows how far they are.
        take: is given every result, recorded or new.

    Raises:
        NalError: one of them could not be carried out; says why.
    """
    lacking = []
    for spec in specs:
        recorded = Record(places.home_dir, spec.digest).result()
        if recorded is None or not recorded.final:
            lacking.append(spec)
            continue
        console.print(f"{run_title(spec)} is recorded already: nothing is left to train.")
        take(recorded)
    for spec in lacking:
        if spec in plan.posteriors:
            _announce(spec, plan, places, console)
    if not lacking:
        return
    job = replace(job_of(places, plan), patience_seconds=PATIENCE_SECONDS)
    with ProgressBars(console) as bars:
        InlineEngine().carry_out(RunList(lacking, take), job, bars)


def _announce(posterior: RunSpec, plan: Plan, places: Places, console: Console) -> None:
    """Say that a network has to be trained before labels can be drawn, and how long it takes."""
    with console.status("measuring what a step costs here"):
        cost = measure_run(posterior, plan, places.home.cache)
    machine = MachineCost({network_of(posterior): cost}, cost.device)
    seconds = machine.run_seconds(Load(1, posterior, plan.samples, 0, 0))
    console.print(
        f"{noise_of(plan.study.scenarios[0]).title} is drawn from a network on clean labels, which "
        f"is trained once: {backbone_of(posterior.backbone).title}, {posterior.recipe.epochs} "
        f"epochs, about {duration(seconds)} here.",
        soft_wrap=True,
    )


def _split_sets(changes: Changes, method: str) -> tuple[Changes, dict[str, Value]]:
    """Take the method's own parameters out of what `--set` says."""
    own = {parameter.name: parameter for parameter in method_of(method).parameters}
    values: dict[str, Value] = {}
    others = []
    for text in changes.sets:
        change = parse_set(text)
        if change.path not in own:
            if change.path.split(".")[0] not in Study.model_fields:
                known = suggest(change.path, [*own, *Study.model_fields])
                raise StudyError(
                    f"{change.flag}: no parameter of {method} nor key of a study: {known}"
                )
            others.append(text)
            continue
        try:
            values[change.path] = own[change.path].check(change.value)
        except FieldError as error:
            raise StudyError(f"{change.flag}: {error.message}") from error
    return replace(changes, sets=tuple(others)), values


def labels_text(labels: LabelFacts) -> str:
    """Say how many labels are wrong, and which these are."""
    nominal = f" (nominal {labels.nominal_rate:.0%})" if labels.nominal_rate else ""
    rate = "true labels are not known"
    if labels.flip_rate is not None:
        rate = f"true flip rate {labels.flip_rate:.2%}{nominal}"
    return f"{rate}, SHA-256 {labels.sha256[:12]}"


def _view(result: RunResult, values: Mapping[str, Value], available: int, folder: str) -> Table:
    facts = [("run", result.digest), ("status", f"{result.status} {result.reason}".strip())]
    if values:
        facts.append(("set", point(values)))
    held_out = held_out_count(result.spec.hold_out, result.labels.count)
    used = result.labels.count - held_out - result.skipped
    images = "all images" if used == available else f"{used} of {available} images"
    if held_out:
        images += f"; the noisy labels of {held_out} others are held out"
    facts += [("code", code_text(name, sha256)) for name, sha256 in result.spec.code.items()]
    facts += [("trained on", images), ("labels", labels_text(result.labels))]
    if result.skipped:
        facts.append(("left out", f"{result.skipped} training pictures that cannot be read"))
    facts += [
        (name, f"{value:.2%}" if "accuracy" in name else f"{value:.3f}")
        for name, value in result.summary().items()
    ]
    return facts_table([*facts, ("device", result.provenance["device"]), ("record", folder)])
