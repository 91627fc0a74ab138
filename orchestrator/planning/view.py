"""A plan as people and programs read it, before anything is trained."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from rich.console import Group, RenderableType
from rich.table import Column
from rich.text import Text

from orchestrator.output import facts_table, headed_table
from orchestrator.planning.cost import MachineCost, duration, size_text
from orchestrator.planning.sizes import PhaseSize, phase_sizes
from reports.words import code_text, point
from search_spaces.identity import study_code
from search_spaces.resolve import matched_recipe
from search_spaces.scaling import describe_cut_cycle
from trainables.backbones import backbone_of
from trainables.datasets import source_of
from trainables.methods import method_of

if TYPE_CHECKING:
    from orchestrator.flags import Places
    from orchestrator.planning.loading import LoadedPlan
    from search_spaces.loader import LoadedStudy


def plan_view(loaded_plan: LoadedPlan, cost: MachineCost, places: Places) -> RenderableType:
    """Show what will be run, why, what it costs and where it is written."""
    plan, study = loaded_plan.plan, loaded_plan.plan.study
    runs = headed_table("phase", Column("runs", justify="right"), "", "one run")
    for size in phase_sizes(plan):
        runs.add_row(str(size.phase), str(size.runs), size.arithmetic, _each(size, cost))
    facts = facts_table(_facts(loaded_plan, cost, places))
    title = Text(f"{plan.name}: {study.title}", style="bold")
    return Group(title, Text(), runs, Text(), facts, Text())


def _each(size: PhaseSize, cost: MachineCost) -> str:
    """Say how long one run of a phase takes: "40 s", or "40 s to 2 min" where they differ."""
    seconds = [cost.run_seconds(load) for load in size.loads]
    shortest, longest = duration(min(seconds)), duration(max(seconds))
    return shortest if shortest == longest else f"{shortest} to {longest}"


def _facts(loaded_plan: LoadedPlan, cost: MachineCost, places: Places) -> list[tuple[str, str]]:
    plan, study = loaded_plan.plan, loaded_plan.plan.study
    source = source_of(study.dataset)
    used = f"{plan.samples} of {len(plan.dataset.train)}" if study.subset else str(plan.samples)
    facts = [
        (
            "data",
            f"{source.title}, {used} training images, SHA-256 {plan.dataset.digest[:12]}",
        ),
        (
            "network",
            f"{backbone_of(study.backbone.name).title}, {matched_recipe(study).epochs} epochs",
        ),
    ]
    facts += [("code", code_text(name, digest)) for name, digest in study_code(study).items()]
    scaled = _scaled(loaded_plan.loaded)
    if scaled:
        facts.append(("scaled", scaled))
    facts += [
        (
            "noise from",
            f"{backbone_of(spec.backbone).title}, cross entropy on clean labels, "
            f"{spec.recipe.epochs} epochs",
        )
        for spec in plan.posteriors
    ]
    for search in plan.searches:
        where = ", ".join(
            f"{name} in [{space.low:g}, {space.high:g}]{' log' if space.log else ''}"
            for name, space in study.space_of(search.method).items()
        )
        facts.append(
            ("searched", f"{method_of(search.method).title} on {search.scenario}: {where}")
        )
        reference = plan.reference_of(search.method)
        if reference:
            said = loaded_plan.loaded.sources.get(
                f"reference.{search.method}.{next(iter(reference))}"
            )
            facts.append(("first trial", f"{point(reference)}" + (f" ({said})" if said else "")))
    if plan.searches:
        facts.append(
            (
                "chosen by",
                f"{plan.chosen_by}; standard error of one run "
                f"{100 * plan.standard_error:.1f} points ({plan.held_out} labels)",
            )
        )
    decoding = "; reading the pictures is not counted" if source.from_files else ""
    facts += [
        ("written to", str(places.home_dir)),
        ("MLflow", places.store),
        (
            "cost here",
            f"at most {sum(s.runs for s in phase_sizes(plan))} runs, about "
            f"{duration(cost.plan_seconds(plan))}, {cost.slots} at once on {cost.device}; "
            f"{size_text(cost.plan_bytes(plan))} on disk{decoding}",
        ),
    ]
    return facts


def _scaled(loaded: LoadedStudy) -> str:
    """Say what `--epochs` scaled beside the epochs themselves, and whether it cuts a cycle."""
    changes = [str(change) for change in loaded.scaled_values if change.path != "recipe.epochs"]
    whole = matched_recipe(loaded.study.with_length(None))
    parts = [
        ", ".join(dict.fromkeys(changes)),
        describe_cut_cycle(whole, matched_recipe(loaded.study)),
    ]
    said = "; ".join(part for part in parts if part)
    return f"with --epochs: {said}" if said else ""


def plan_json(loaded_plan: LoadedPlan, cost: MachineCost, places: Places) -> dict[str, Any]:
    """Return the same for programs."""
    plan = loaded_plan.plan
    return {
        "study": plan.name,
        "sweep": plan.digest,
        "data": plan.dataset.digest,
        "home": str(places.home_dir),
        "phases": [
            {
                "phase": str(size.phase),
                "runs": size.runs,
                "arithmetic": size.arithmetic,
                "seconds": cost.phase_seconds(size),
            }
            for size in phase_sizes(plan)
        ],
        "protocol": plan.chosen_by,
        "standard_error": plan.standard_error,
        "seconds": cost.plan_seconds(plan),
        "device": cost.device,
        "resolved": loaded_plan.loaded.with_references()[0],
    }
