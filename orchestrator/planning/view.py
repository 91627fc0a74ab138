"""Presentation of a plan and its cost, as text for the terminal and as JSON."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from rich.console import Group, RenderableType
from rich.table import Column
from rich.text import Text

from orchestrator.output import facts_table, headed_table
from orchestrator.planning.cost import MachineCost, format_duration, format_size
from orchestrator.planning.sizes import PhaseSize, phase_sizes
from reports.words import code_text, format_values
from search_spaces.identity import study_code
from search_spaces.resolve import matched_recipe
from search_spaces.scaling import describe_cut_cycle
from trainables.backbones import backbone_of
from trainables.datasets import source_of
from trainables.extensions import without_hash
from trainables.methods import method_of

if TYPE_CHECKING:
    from orchestrator.flags import Places
    from orchestrator.planning.loading import LoadedPlan
    from search_spaces.loader import LoadedStudy


def plan_view(loaded_plan: LoadedPlan, cost: MachineCost, places: Places) -> RenderableType:
    """Return the plan of a sweep as text for the terminal.

    It shows the number of runs, the settings, the cost and the locations of the output.
    """
    plan, study = loaded_plan.plan, loaded_plan.plan.study
    runs = headed_table("phase", Column("runs", justify="right"), "", "one run")
    for size in phase_sizes(plan):
        runs.add_row(str(size.phase), str(size.runs), size.arithmetic, _run_duration(size, cost))
    facts = facts_table(_facts(loaded_plan, cost, places))
    title = Text(f"{plan.name}: {study.title}", style="bold")
    return Group(title, Text(), runs, Text(), facts, Text())


def _run_duration(size: PhaseSize, cost: MachineCost) -> str:
    """Format the duration of one run of a phase, for example "40 s" or "40 s to 2 min"."""
    seconds = [cost.run_seconds(group) for group in size.groups]
    shortest, longest = format_duration(min(seconds)), format_duration(max(seconds))
    return shortest if shortest == longest else f"{shortest} to {longest}"


def _facts(loaded_plan: LoadedPlan, cost: MachineCost, places: Places) -> list[tuple[str, str]]:
    """Return the title and the text of each fact that is listed below the phases of a plan."""
    plan, study = loaded_plan.plan, loaded_plan.plan.study
    source = source_of(study.dataset)
    samples_text = (
        f"{plan.samples} of {len(plan.dataset.train)}" if study.subset else str(plan.samples)
    )
    facts = [
        (
            "data",
            f"{source.title}, {samples_text} training images, SHA-256 {plan.dataset.digest[:12]}",
        ),
        (
            "network",
            f"{backbone_of(study.backbone.name).title}, {matched_recipe(study).epochs} epochs",
        ),
    ]
    facts += [("code", code_text(name, digest)) for name, digest in study_code(study).items()]
    scaling_text = _scaling_text(loaded_plan.loaded)
    if scaling_text:
        facts.append(("scaled", scaling_text))
    facts += [
        (
            "noise from",
            f"{backbone_of(spec.backbone).title}, cross entropy on clean labels, "
            f"{spec.recipe.epochs} epochs",
        )
        for spec in plan.posteriors
    ]
    for search in plan.searches:
        ranges = ", ".join(
            f"{name} in [{space.low:g}, {space.high:g}]{' log' if space.log else ''}"
            for name, space in study.space_of(search.method).items()
        )
        facts.append(
            (
                "searched",
                f"{method_of(search.method).title} on {without_hash(search.scenario)}: {ranges}",
            )
        )
        reference = plan.reference_of(search.method)
        if reference:
            reference_source = loaded_plan.loaded.sources.get(
                f"reference.{search.method}.{next(iter(reference))}"
            )
            text = format_values(reference)
            if reference_source:
                text += f" ({reference_source})"
            facts.append(("first trial", text))
    if plan.searches:
        facts.append(
            (
                "chosen by",
                f"{plan.chosen_by}; standard error of one run "
                f"{100 * plan.standard_error:.1f} points ({plan.held_out} labels)",
            )
        )
    decoding_text = "; reading the pictures is not counted" if source.from_files else ""
    facts += [
        ("written to", str(places.home_dir)),
        ("MLflow", places.store),
        (
            "cost here",
            f"at most {sum(s.runs for s in phase_sizes(plan))} runs, about "
            f"{format_duration(cost.plan_seconds(plan))}, {cost.slots} at once on {cost.device}; "
            f"{format_size(cost.plan_bytes(plan))} on disk{decoding_text}",
        ),
    ]
    return facts


def _scaling_text(loaded: LoadedStudy) -> str:
    """Return a text on the effects of `--epochs` other than on the number of epochs.

    It lists the other values that are scaled, and says whether the last cycle of the learning-rate
    schedule is cut. "" without effects.
    """
    changes = [str(change) for change in loaded.scaled_values if change.key != "recipe.epochs"]
    full_recipe = matched_recipe(loaded.study.with_length(None))
    parts = [
        ", ".join(dict.fromkeys(changes)),
        describe_cut_cycle(full_recipe, matched_recipe(loaded.study)),
    ]
    text = "; ".join(part for part in parts if part)
    return f"with --epochs: {text}" if text else ""


def plan_json(loaded_plan: LoadedPlan, cost: MachineCost, places: Places) -> dict[str, Any]:
    """Return a plan and its cost as values that can be written as JSON."""
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
