"""Notes under a table: seeds, protocol, searches, recipes, label noise, sources and devices."""

from __future__ import annotations

from statistics import mean
from typing import TYPE_CHECKING

from reports.paper import (
    CITATION,
    NOT_CONVERGED,
    find_paper_results,
    paper_results_on_any_backbone,
    paper_setting_of,
)
from reports.words import GREEK_LETTERS, code_text, format_count, format_values

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from reports.aggregate import CellSummary
    from reports.plan_record import PlanRecord, TuningRecord
    from trainables.run.parameters import Space


def table_notes(plan: PlanRecord, cells: Sequence[CellSummary]) -> tuple[str, ...]:
    """Return the notes of a sweep's table, in reading order."""
    return (
        *_missing_runs_notes(plan, cells),
        _seeds_note(plan, cells),
        _protocol_note(plan),
        *_searches_notes(plan, cells),
        _recipes_note(plan, cells),
        *_convergence_notes(cells),
        *_label_noise_notes(cells),
        *_subset_notes(plan),
        *_paper_numbers_notes(plan, cells),
        *(f"Departs from the paper: {text.rstrip('. ')}." for text in plan.deviations),
        *_extensions_notes(plan),
        *_devices_notes(cells),
        *_changed_runs_notes(cells),
    )


def _missing_runs_notes(plan: PlanRecord, cells: Sequence[CellSummary]) -> Iterator[str]:
    if plan.state != "finished":
        yield "This sweep is not finished: type its command again to go on with it."
    for summary in cells:
        if summary.missing:
            word = "seed" if len(summary.missing) == 1 else "seeds"
            seeds = ", ".join(map(str, summary.missing))
            yield f"Missing: {_cell_label(summary)}, {word} {seeds}."
    if any(summary.diverged for summary in cells):
        yield "Where runs diverged, mean and ± are over those that finished."


def _seeds_note(plan: PlanRecord, cells: Sequence[CellSummary]) -> str:
    by_seeds: dict[tuple[int, ...], list[str]] = {}
    for summary in cells:
        by_seeds.setdefault(tuple(summary.cell.seeds), []).append(_cell_label(summary))
    counts = [
        f"n = {len(seeds)} (seeds {', '.join(map(str, seeds))})"
        + (f" for {'; '.join(labels)}" if len(by_seeds) > 1 else " unless a cell says otherwise")
        for seeds, labels in by_seeds.items()
    ]
    text = "± is the sample standard deviation (ddof 1) over n seeds"
    if counts:
        text += "; " + "; ".join(counts)
    # The draw of a subset is no source of variation where all samples are used.
    fixed_axes = [axis for axis in plan.fixed_seeds if axis != "subset" or plan.subset is not None]
    if fixed_axes:
        text += f". It leaves out what is held fixed: {', '.join(fixed_axes)}"
    return (
        text + ". Bold (* in plain text): the best mean of its column among cells with all seeds."
    )


def _protocol_note(plan: PlanRecord) -> str:
    error = f"its standard error for one run is {100 * plan.standard_error:.2f} points"
    return f"Chosen by: {plan.protocol}; {error}."


def _searches_notes(plan: PlanRecord, cells: Sequence[CellSummary]) -> Iterator[str]:
    titles = {summary.cell.scenario: summary.cell.scenario_title for summary in cells}
    for search in plan.searches:
        spaces = ", ".join(_describe_space(name, space) for name, space in search.space.items())
        scenario = titles.get(search.scenario, search.scenario)
        chosen = format_values(search.chosen) if search.chosen else "not chosen yet"
        text = (
            f"{search.method_title}: {chosen}, from {len(search.digests)} of "
            f"{format_count(search.trials, 'trial')} on {scenario} ({spaces})"
        )
        if seeds := max((len(candidate.digests) for candidate in search.candidates), default=0):
            candidates = format_count(len(search.candidates), "candidate")
            text += f", then {candidates} on {format_count(seeds, 'fresh seed')}"
        yield f"{text}; {_describe_scope(plan, search)}."


def _recipes_note(plan: PlanRecord, cells: Sequence[CellSummary]) -> str:
    matched = "network, schedule, epochs and selection are NAL's"
    with_own_recipe = [summary.cell.method_title for summary in cells if summary.cell.recipe]
    if not with_own_recipe:
        return f"Recipe: matched for all methods: {matched}."
    methods = ", ".join(dict.fromkeys(with_own_recipe))
    own_recipes = (
        "their own, said beside their names, with the number that it reports in the first column"
    )
    lengths = "" if plan.scenario_epochs else f" ({plan.epochs} epochs)"
    return f"Recipe: {methods}: {own_recipes}; all others matched{lengths}: {matched}."


def _convergence_notes(cells: Sequence[CellSummary]) -> Iterator[str]:
    if any(summary.stagnated or summary.all_failed for summary in cells):
        yield (
            f"{NOT_CONVERGED}: failed to converge, which is a divergence, or in the last epoch "
            "fewer than 2/K of the training samples predicted right (by true labels where they are "
            "known)."
        )


def _describe_scope(plan: PlanRecord, search: TuningRecord) -> str:
    if plan.scope == "scenario":
        return "each scenario has its own search"
    return "one search serves all scenarios" if len(search.serves) > 1 else "searched there alone"


def _describe_space(name: str, space: Space) -> str:
    scale = ", log" if space.log else ""
    return f"{GREEK_LETTERS.get(name, name)} in [{space.low:g}, {space.high:g}]{scale}"


def _label_noise_notes(cells: Sequence[CellSummary]) -> Iterator[str]:
    rates: dict[str, list[float]] = {}
    for summary in cells:
        if summary.flip_rate is not None:
            rates.setdefault(summary.cell.scenario_title, []).append(summary.flip_rate)
    if rates:
        means = "; ".join(f"{title}: {100 * mean(rate):.2f} %" for title, rate in rates.items())
        yield f"Labels that really differ from the true ones: {means}."
    one_draw_titles = {summary.cell.scenario_title for summary in cells if summary.cell.one_draw}
    if one_draw_titles:
        names = "; ".join(sorted(one_draw_titles))
        yield f"All seeds see one draw of the noise, so that ± does not include it: {names}."


def _subset_notes(plan: PlanRecord) -> Iterator[str]:
    if plan.subset is not None:
        yield f"Trained on {plan.subset:,} of {plan.dataset.train_size:,} images."


def _paper_numbers_notes(plan: PlanRecord, cells: Sequence[CellSummary]) -> Iterator[str]:
    methods = {summary.cell.method_title for summary in cells}
    shown, settings, other_backbones = [], [], set()
    for scenario in dict.fromkeys(summary.cell.scenario for summary in cells):
        results = find_paper_results(plan.dataset.title, scenario, plan.backbone)
        # The table of ablations repeats rows of Table 1: each method's first number is shown.
        by_method = {result.method: result for result in reversed(results)}
        matches = [by_method[method] for method in methods & set(by_method)]
        shown += matches
        if matches:
            settings.append(paper_setting_of(scenario))
        else:
            other_backbones |= {
                r.backbone for r in paper_results_on_any_backbone(plan.dataset.title, scenario)
            }
    symmetric = [s for s in settings if s and s.noise_type == "symmetric"]
    if shown:
        tables = ", ".join(str(number) for number in sorted({r.table for r in shown}))
        yield f"paper: {CITATION}, Table {tables}; ± as printed there; no part in the bold."
    if symmetric:
        yield (
            "The paper's text excludes the true class from symmetric flips, its public code "
            "includes it; which made its numbers is not recorded."
        )
    if any(setting.including for setting in symmetric):
        yield "† is the paper's number for symmetric noise of this rate, whose text excludes it."
    if any("pretrained" in result.backbone for result in shown):
        yield "‡ is the paper's number of a network that began with ImageNet weights."
    if other_backbones:
        names = ", ".join(sorted(other_backbones))
        yield (
            f"The paper's numbers for this noise are with {names}: not shown beside another "
            "backbone."
        )


def _extensions_notes(plan: PlanRecord) -> Iterator[str]:
    if plan.code:
        files = "; ".join(code_text(name, sha256) for name, sha256 in plan.code.items())
        yield f"Code from outside this package: {files}."


def _devices_notes(cells: Sequence[CellSummary]) -> Iterator[str]:
    devices = sorted({device for summary in cells for device in summary.devices})
    if len(devices) == 1:
        yield f"Ran on {devices[0]}."
    elif devices:
        yield (
            f"Kinds of device are mixed ({'; '.join(devices)}): equal runs may differ between them."
        )


def _changed_runs_notes(cells: Sequence[CellSummary]) -> Iterator[str]:
    for summary in cells:
        for seed, text in summary.changes.items():
            yield (
                f"Interrupted and continued otherwise: {_cell_label(summary)}, seed {seed} "
                f"({text}); its numbers may differ from those of a run in one place."
            )


def _cell_label(summary: CellSummary) -> str:
    """Return the text that names a cell: method, values and scenario."""
    cell = summary.cell
    return ", ".join(
        filter(None, [cell.method_title, format_values(cell.values), cell.scenario_title])
    )
