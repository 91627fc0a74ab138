"""Plan of a sweep and its cost, formatted as text for the terminal and as JSON."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np
from rich.console import Group, RenderableType
from rich.table import Column
from rich.text import Text

from orchestrator.home import folder_bytes
from orchestrator.output import facts_table, headed_table
from orchestrator.planning.cost import MachineCost, format_duration, format_size
from orchestrator.planning.history import other_starts
from orchestrator.planning.plan import Plan
from orchestrator.planning.sizes import (
    PhaseSize,
    max_concurrent_search_runs,
    max_concurrent_trial_runs,
    phase_sizes,
)
from orchestrator.sweeping.budget import SweepForecast
from reports.store import mask_password
from reports.words import format_count, format_extension, format_space, format_values, in_order
from search_spaces.identity import study_code_hashes
from search_spaces.resolve import matched_recipe
from search_spaces.rungs import describe_scheduler
from search_spaces.scaling import describe_cut_cycle
from search_spaces.schema import LEARNING_SAMPLERS, SAMPLER_TITLES
from trainables.backbones import backbone_of
from trainables.datasets import Dataset, Split, source_of
from trainables.extensions import without_hash
from trainables.methods import method_of

if TYPE_CHECKING:
    from orchestrator.flags import Locations
    from orchestrator.home import Home
    from orchestrator.planning.loading import LoadedPlan
    from orchestrator.watching.recorded_budget import RecordedBudget
    from search_spaces.loader import LoadedStudy


def plan_view(
    loaded_plan: LoadedPlan,
    cost: MachineCost,
    locations: Locations,
    recorded_count: int = 0,
    budget: RecordedBudget | None = None,
) -> RenderableType:
    """Render the plan of a sweep for the terminal: runs, settings, cost and output locations.

    Args:
        loaded_plan: plan and study of the sweep.
        cost: measured cost of training on this machine.
        locations: paths of the data, the home folder and the MLflow store.
        recorded_count: number of runs of the sweep that are recorded already, if this is known.
        budget: time budget of the sweep; None for no limit.
    """
    plan, study = loaded_plan.plan, loaded_plan.plan.study
    phase_table = headed_table("phase", Column("runs", justify="right"), "", "one run")
    for size in phase_sizes(plan):
        phase_table.add_row(
            str(size.phase),
            str(size.max_run_count),
            size.run_count_formula,
            _format_run_duration(size, cost),
        )
    facts = _facts(loaded_plan, cost, locations)
    if recorded_count:
        facts.append(("recorded", f"at least {format_count(recorded_count, 'run')} of this sweep"))
    if budget_text := _budget_text(plan, cost, budget):
        facts.append(("time budget", budget_text))
    title = Text(f"{plan.name}: {study.title}", style="bold")
    return Group(title, Text(), phase_table, Text(), facts_table(facts), Text())


def _budget_text(plan: Plan, cost: MachineCost, budget: RecordedBudget | None) -> str:
    """Describe the time budget of a sweep, and what it leaves out; "" without a limit."""
    if budget is None or math.isinf(budget.seconds):
        return ""
    spent_text = (
        f", {format_duration(budget.spent_seconds)} of them spent by earlier starts"
        if budget.spent_seconds
        else ""
    )
    text = f"{format_duration(budget.seconds)} for all starts together{spent_text}"
    if budget.seconds_left >= cost.plan_seconds(plan):
        return f"{text}; enough for all runs"
    table_seconds = SweepForecast.of(plan, cost).smallest_table_seconds
    if not budget.spent_seconds and budget.seconds < table_seconds:
        return (
            f"{text}; it may end without a table, the smallest of which takes about "
            f"{format_duration(table_seconds)}"
        )
    return (
        f"{text}; trials and seeds that do not fit are left out, how many depends on the speed of "
        "this machine"
    )


def plan_outline(loaded_study: LoadedStudy) -> RenderableType | None:
    """Render what is known of a sweep without its data: the runs of each phase, and the network.

    Returns:
        The outline; None if the size of the dataset is not published.
    """
    study = loaded_study.study
    source = source_of(study.dataset)
    if source.train_size is None or source.class_count is None:
        return None
    labels = np.arange(source.train_size) % source.class_count
    split = Split(np.zeros((source.train_size, 1, 1, 1), dtype=np.uint8), labels)
    class_names = tuple(map(str, range(source.class_count)))
    plan = Plan(loaded_study.name, study, Dataset(study.dataset, class_names, split, split))
    phase_table = headed_table("phase", Column("runs", justify="right"), "")
    for size in phase_sizes(plan):
        phase_table.add_row(str(size.phase), str(size.max_run_count), size.run_count_formula)
    facts = [
        ("data", f"{source.title}, {source.train_size} training images; not read"),
        (
            "network",
            f"{backbone_of(study.backbone.name).title}, "
            + format_count(matched_recipe(study).epochs, "epoch"),
        ),
    ]
    title = Text(f"{loaded_study.name}: {study.title}", style="bold")
    return Group(title, Text(), phase_table, Text(), facts_table(facts), Text())


def _format_run_duration(size: PhaseSize, cost: MachineCost) -> str:
    """Format the duration of one run of a phase, for example "40 s" or "40 s to 2 min"."""
    seconds = [cost.run_seconds(group) for group in size.groups]
    shortest, longest = format_duration(min(seconds)), format_duration(max(seconds))
    return shortest if shortest == longest else f"{shortest} to {longest}"


def _facts(
    loaded_plan: LoadedPlan, cost: MachineCost, locations: Locations
) -> list[tuple[str, str]]:
    """Return the heading and the text of each line that is printed below the table of phases."""
    plan, study = loaded_plan.plan, loaded_plan.plan.study
    source = source_of(study.dataset)
    samples_text = (
        f"{plan.sample_count} of {len(plan.dataset.train)}"
        if study.subset
        else str(plan.sample_count)
    )
    facts = [
        (
            "data",
            f"{source.title}, {samples_text} training images, SHA-256 {plan.dataset.digest[:12]}",
        ),
        (
            "network",
            f"{backbone_of(study.backbone.name).title}, "
            + format_count(matched_recipe(study).epochs, "epoch"),
        ),
    ]
    facts += [
        ("code", format_extension(name, digest))
        for name, digest in study_code_hashes(study).items()
    ]
    scaling_text = _scaling_text(loaded_plan.loaded_study)
    if scaling_text:
        facts.append(("scaled", scaling_text))
    facts += [
        (
            "noise from",
            f"predictions of {backbone_of(spec.backbone).title}, trained with cross entropy on "
            f"clean labels for {format_count(spec.recipe.epochs, 'epoch')}",
        )
        for spec in plan.posterior_specs
    ]
    for search in plan.searches:
        spaces = in_order(study.space_of(search.method))
        ranges = "; ".join(map(format_space, spaces, spaces.values()))
        facts.append(
            (
                "searched",
                f"{method_of(search.method).title} on {without_hash(search.scenario)}: {ranges}",
            )
        )
        reference = plan.reference_of(search.method)
        if reference:
            reference_source = loaded_plan.loaded_study.sources.get(
                f"reference.{search.method}.{next(iter(reference))}"
            )
            reference_text = format_values(reference)
            if reference_source:
                reference_text += f" ({reference_source})"
            facts.append(("first trial", reference_text))
        if scheduler_text := describe_scheduler(study, search.method, search.scenario):
            text = f"{scheduler_text}; runs and time of the search are the most that it may take"
            facts.append(("stopped early", text))
    if plan.searches:
        facts += [("proposed by", _sampler_text(plan)), *_history_facts(plan, locations.home)]
        facts += _idle_slots(plan, cost)
        facts.append(
            (
                "chosen by",
                f"{plan.protocols_text}; standard error of one run "
                f"{100 * plan.standard_error:.1f} points ({plan.held_out_count} held-out labels)",
            )
        )
    if plan.held_out_warning:
        facts.append(("warning", plan.held_out_warning))
    if cost.emulates_bf16(plan):
        facts.append(
            (
                "warning",
                "bf16 is emulated on this processor, which takes many times as long as float32: "
                "add --set recipe.precision=float32",
            )
        )
    decoding_text = (
        "; the time to decode the images is not included" if source.has_picture_files else ""
    )
    max_run_count = sum(size.max_run_count for size in phase_sizes(plan))
    facts += [
        ("written to", str(locations.home_dir)),
        ("MLflow", mask_password(locations.store_uri)),
        (
            "cost here",
            f"at most {format_count(max_run_count, 'run')}, about "
            f"{format_duration(cost.plan_seconds(plan))}, "
            f"{cost.max_concurrent_runs} at once on {cost.device}{decoding_text}",
        ),
        ("on disk", _disk_text(plan, cost, locations)),
    ]
    return facts


def _sampler_text(plan: Plan) -> str:
    """Describe the rule that proposes trials, and on which results a trial depends."""
    settings = plan.study.search
    source_text = ", from their results" if settings.sampler in LEARNING_SAMPLERS else ""
    return (
        f"{SAMPLER_TITLES[settings.sampler]}; lag {settings.lag}: trial n starts when the trials "
        f"up to n - {settings.lag} have ended{source_text}"
    )


def _history_facts(plan: Plan, home: Home) -> list[tuple[str, str]]:
    """Return the line on the earlier sweep that the search learns from, or could go on with."""
    if plan.history is not None:
        count_text = format_count(len(plan.history.trials), "trial")
        return [
            (
                "learns from",
                f"{count_text} of sweep {plan.history.sweep[:12]} of '{plan.history.study}', "
                "besides its own",
            )
        ]
    return [
        (
            "without --from",
            f"another sweep than the one started with --from {name}, which continues with it",
        )
        for name in other_starts(home, plan)
    ]


def _idle_slots(plan: Plan, cost: MachineCost) -> list[tuple[str, str]]:
    """Return the line on the slots that the lag of the search leaves idle, if there are any."""
    settings, slots = plan.study.search, cost.max_concurrent_runs
    run_count = max_concurrent_search_runs(plan)
    run_count_per_lag = max_concurrent_trial_runs(plan) * len(plan.searches)
    needed_lag = min(math.ceil(slots / run_count_per_lag), settings.trials)
    if slots <= run_count or needed_lag <= settings.lag:
        return []
    text = (
        f"{format_count(slots, 'slot')}, lag {settings.lag}: the search has at most "
        f"{format_count(run_count, 'run')} at a time, so that {slots - run_count} slots "
        f"idle: --set search.lag={needed_lag} makes it another search, which uses "
        f"{min(slots, needed_lag * run_count_per_lag)}"
    )
    return [("idle slots", text)]


def _disk_text(plan: Plan, cost: MachineCost, locations: Locations) -> str:
    """Describe what the home folder occupies, and what the sweep adds."""
    home = locations.home
    added_text = f"at most {format_size(cost.plan_bytes(plan))} of checkpoints"
    if plan.study.keep == "table":
        added_text += "; those outside the table are deleted at the end (keep: table)"
    used_bytes, removed_bytes = folder_bytes(home.path), folder_bytes(home.trash_dir)
    if not used_bytes:
        return added_text
    removed_text = f" ({format_size(removed_bytes)} in trash/)" if removed_bytes else ""
    return f"{added_text}; the home folder has {format_size(used_bytes)} now{removed_text}"


def _scaling_text(loaded_study: LoadedStudy) -> str:
    """Describe the side effects of the flag `--epochs`; "" if none.

    Side effects are values that were scaled together with the number of epochs, and a last
    learning-rate cycle that ends early.
    """
    scaled_values = [
        str(scaled_value)
        for scaled_value in loaded_study.scaled_values
        if scaled_value.key != "recipe.epochs"
    ]
    full_recipe = matched_recipe(loaded_study.study.with_training_length(None))
    effects = [
        ", ".join(dict.fromkeys(scaled_values)),
        describe_cut_cycle(full_recipe, matched_recipe(loaded_study.study)),
    ]
    effects_text = "; ".join(effect for effect in effects if effect)
    return f"with --epochs: {effects_text}" if effects_text else ""


def plan_json(
    loaded_plan: LoadedPlan, cost: MachineCost, locations: Locations, budget: RecordedBudget
) -> dict[str, Any]:
    """Return the plan of a sweep and its cost as a dict that can be written as JSON."""
    plan = loaded_plan.plan
    return {
        "study": plan.name,
        "sweep": plan.digest,
        "data": plan.dataset.digest,
        "home": str(locations.home_dir),
        "phases": [
            {
                "phase": str(size.phase),
                "runs": size.max_run_count,
                "arithmetic": size.run_count_formula,
                "seconds": cost.phase_seconds(size),
            }
            for size in phase_sizes(plan)
        ],
        "protocol": plan.protocols_text,
        "standard_error": plan.standard_error,
        "seconds": cost.plan_seconds(plan),
        "budget_seconds": None if math.isinf(budget.seconds) else budget.seconds,
        "spent_seconds": budget.spent_seconds,
        "bytes": cost.plan_bytes(plan),
        "home_bytes": folder_bytes(locations.home.path),
        "device": cost.device,
        "resolved": loaded_plan.loaded_study.with_references()[0],
    }
