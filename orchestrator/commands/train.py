"""`train`: one run, without Ray."""

from __future__ import annotations

import json
import os
import sys
from dataclasses import replace
from typing import TYPE_CHECKING

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from orchestrator.planning.cost import environment_of
from orchestrator.planning.preparing import prepare
from orchestrator.tracking.background import BackgroundTracker
from reports.store import check_store
from reports.words import point
from search_spaces.loader import parse_set
from search_spaces.phases import Phase
from search_spaces.schema import Study
from trainables.backbones import backbone_of
from trainables.errors import FieldError, StudyError, suggest
from trainables.methods import METHODS, check_state, method_of
from trainables.noise import noise_of
from trainables.record import Record
from trainables.result import Status

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from orchestrator.flags import StudyFlags
    from orchestrator.planning.plan import Plan
    from trainables.parameters import Value
    from trainables.result import LabelFacts, RunResult
    from trainables.spec import RunSpec


def run(flags: StudyFlags, method: str, seed: int, *, as_json: bool) -> int:
    """Train one run of a study as its confirm phase would, and record it.

    Args:
        flags: as typed; a `--set` whose key is a parameter of the method sets that.
        method: what is trained.
        seed: base seed of every axis.
        as_json: print the result as JSON on standard output.

    Returns:
        Exit code: 0, or 1 if the run diverged.

    Raises:
        NalError: one line for the user.
    """
    console = Console(stderr=as_json, highlight=False)
    if method not in METHODS:
        raise StudyError(f"--method: unknown method '{method}': {suggest(method, METHODS)}")
    flags, values = _split_sets(flags, method)
    flags.load()
    if flags.tracking_uri is not None:
        check_store(flags.tracking_uri)
    prepared = prepare(flags, console, writes=True)
    plan, study = prepared.plan, prepared.plan.study
    os.environ.update(environment_of(study.resources.gpus))
    try:
        spec = plan.spec(Phase.CONFIRM, method, study.scenarios[0], values, seed)
        for one in (*plan.needs_of(spec), spec):
            kind = method_of(one.method)
            kind.check(one.hyperparameters, one.recipe.epochs)
            check_state(kind, one.hyperparameters, plan.samples, len(plan.dataset.classes))
    except FieldError as error:
        raise StudyError(f"--set {error.field}: {error.message}") from error
    home = flags.paths
    uri = flags.tracking_uri or home.tracking_uri
    with BackgroundTracker(uri, home.artifacts_for(uri), plan.name) as tracker:
        for need in trained_needs(spec, plan, home.path, console):
            tracker.record(need, "train")
        result = _trained(spec, plan, home.path, console)
        tracker.record(result, "train")
    if as_json:
        sys.stdout.write(json.dumps(result.to_dict()) + "\n")
    else:
        console.print(
            _view(result, values, len(plan.dataset.train), str(home.path / "runs" / result.digest))
        )
    return 0 if result.status is Status.FINISHED else 1


def _trained(spec: RunSpec, plan: Plan, home: Path, console: Console) -> RunResult:
    result = Record(home, spec.digest).result()
    if result is None or not result.final:
        return _train(spec, plan, home, console)
    console.print(f"{_name(spec)} is recorded already: nothing is left to train.")
    return result


def _name(spec: RunSpec) -> str:
    return f"{spec.method} on {spec.scenario}, seed {spec.seeds.init}"


def trained_needs(spec: RunSpec, plan: Plan, home: Path, console: Console) -> list[RunResult]:
    """Train the runs that a run needs, as far as they are not recorded; return their results."""
    results = []
    for need in plan.needs_of(spec):
        if need in plan.posteriors:
            console.print(
                f"{noise_of(spec.scenario).title} is drawn from a network on clean labels, which "
                f"is trained once: {backbone_of(need.backbone).title}, {need.recipe.epochs} "
                "epochs.",
                soft_wrap=True,
            )
        results.append(_trained(need, plan, home, console))
    return results


def _train(spec: RunSpec, plan: Plan, home: Path, console: Console) -> RunResult:
    from trainables.running import complete

    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("epochs"),
        TimeRemainingColumn(),
        TextColumn("{task.fields[latest]}"),
    )
    with Progress(*columns, console=console) as bar:
        task = bar.add_task(_name(spec), total=spec.recipe.epochs, latest="")
        return complete(
            spec,
            home,
            lambda: plan.dataset,
            plan.name,
            lambda epoch, row: bar.update(task, completed=epoch, latest=_latest(row)),
            diagnostics_every=plan.study.diagnostics.every,
        )


def _split_sets(flags: StudyFlags, method: str) -> tuple[StudyFlags, dict[str, Value]]:
    """Take the method's own parameters out of what `--set` says."""
    own = {parameter.name: parameter for parameter in method_of(method).parameters}
    values: dict[str, Value] = {}
    others = []
    for text in flags.sets:
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
    return replace(flags, sets=tuple(others)), values


def _latest(row: dict[str, float]) -> str:
    shown = {
        "train/loss": "loss {:.3f}",
        "val/accuracy": "val {:.1%}",
        "test/accuracy": "test {:.1%}",
    }
    return "  ".join(form.format(row[name]) for name, form in shown.items() if name in row)


def labels_text(labels: LabelFacts) -> str:
    """Say how many labels are wrong, and which these are."""
    nominal = f" (nominal {labels.nominal_rate:.0%})" if labels.nominal_rate else ""
    rate = "true labels are not known"
    if labels.flip_rate is not None:
        rate = f"true flip rate {labels.flip_rate:.2%}{nominal}"
    return f"{rate}, SHA-256 {labels.sha256[:12]}"


def _view(result: RunResult, values: Mapping[str, Value], available: int, folder: str) -> Table:
    table = Table.grid(padding=(0, 3))
    table.add_column(style="dim")
    table.add_column(overflow="fold")
    table.add_row("run", result.digest)
    table.add_row("status", f"{result.status} {result.reason}".strip())
    if values:
        table.add_row("set", point(values))
    used = result.labels.count - result.skipped
    images = "all images" if used == available else f"{used} of {available} images"
    table.add_row("trained on", images)
    table.add_row("labels", labels_text(result.labels))
    if result.skipped:
        table.add_row("left out", f"{result.skipped} training pictures that cannot be read")
    for name, value in result.summary().items():
        table.add_row(name, f"{value:.2%}" if "accuracy" in name else f"{value:.3f}")
    table.add_row("device", result.provenance["device"])
    table.add_row("record", folder)
    return table
