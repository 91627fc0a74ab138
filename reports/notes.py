"""Notes under a comparison table: seeds, searches, recipes, label noise, sources and devices."""

from __future__ import annotations

import math
from statistics import mean
from typing import TYPE_CHECKING

from reports.paired import LEVEL, compare_paired
from reports.paper import CITATION, OTHER_NOISE_NOTE, is_other_noise, paper_noise_of
from reports.public_runs import public_runs_notes
from reports.search_notes import search_notes
from reports.setting_notes import machine_notes, setting_notes, sizes_note
from reports.spread import Spread
from reports.table import NOT_CONVERGED
from reports.words import NO_NUMBER, format_count, format_values
from trainables.run.metrics import TEST_LAST
from trainables.run.protocols import protocol_from_identity

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from reports.aggregate import CellSummary
    from reports.optimism import SearchOptimism
    from reports.plan_record import PlanRecord
    from reports.quoted import QuotedResults


CROSS_ENTROPY = "ce"
"""Name of the method with which tuned methods are compared."""


def table_notes(
    plan: PlanRecord,
    cells: Sequence[CellSummary],
    quoted: QuotedResults,
    optimism: Sequence[SearchOptimism] = (),
    spread: Spread = Spread.SD,
) -> tuple[str, ...]:
    """Return the notes to print under the table of a sweep, from top to bottom.

    Args:
        plan: plan of the sweep.
        cells: summaries of its cells.
        quoted: published accuracies that the table shows.
        optimism: held-out accuracies of each search's winner.
        spread: what is printed after ±.
    """
    return (
        *_missing_runs_notes(plan, cells),
        _seeds_note(plan, cells, spread),
        *_variance_notes(cells),
        _bold_note(cells),
        *search_notes(plan, cells, optimism),
        *_averaged_epochs_notes(plan, cells),
        *_losses_notes(plan, cells),
        *setting_notes(plan, cells),
        *_convergence_notes(cells),
        *_label_noise_notes(cells),
        sizes_note(plan, cells),
        *_test_set_notes(plan, cells),
        *_quoted_notes(cells, quoted),
        *public_runs_notes(quoted.public_runs),
        *(
            f"Departs from the paper or its public code: {text.rstrip('. ')}."
            for text in plan.deviations
        ),
        *machine_notes(plan, cells),
        *_changed_runs_notes(cells),
    )


def _missing_runs_notes(plan: PlanRecord, cells: Sequence[CellSummary]) -> Iterator[str]:
    if plan.is_budget_spent:
        yield (
            f"The time budget of {plan.budget_hours:g} h was spent before all runs had ended: run "
            "the command again with a larger --budget-hours to continue."
        )
    elif plan.state != "finished":
        yield "This sweep is not finished: run its command again to continue."
    for summary in cells:
        missing_seeds = summary.missing_seeds
        if missing_seeds and plan.state != "finished":
            yield f"Missing runs: {_cell_label(summary)}, {_seeds_text(missing_seeds)}."
        elif missing_seeds:
            verb = "was" if len(missing_seeds) == 1 else "were"
            outcome = f"could not be carried out, or {verb} deleted in MLflow"
            yield _failed_runs_note(summary, missing_seeds, outcome)
        if summary.out_of_memory_seeds:
            yield _failed_runs_note(summary, summary.out_of_memory_seeds, "ran out of memory")
    if any(summary.diverged_count for summary in cells):
        yield "Where runs diverged, mean and ± are over the runs that finished."


def _failed_runs_note(summary: CellSummary, seeds: Sequence[int], outcome: str) -> str:
    """Return the note on runs of a cell that failed, with the command that shows the error."""
    text = (
        f"{_cell_label(summary)}: {len(seeds)} of {format_count(summary.planned_count, 'run')} "
        f"{outcome} ({_seeds_text(seeds)})"
    )
    command = summary.cell.command
    return f"{text}. To see why: {command} --seed {seeds[0]}" if command else f"{text}."


def _seeds_text(seeds: Sequence[int]) -> str:
    return f"{'seed' if len(seeds) == 1 else 'seeds'} {', '.join(map(str, seeds))}"


def _seeds_note(plan: PlanRecord, cells: Sequence[CellSummary], spread: Spread) -> str:
    labels_by_seeds: dict[tuple[int, ...], list[str]] = {}
    for summary in cells:
        labels_by_seeds.setdefault(tuple(summary.cell.seeds), []).append(_cell_label(summary))
    seed_texts = [
        f"n = {len(seeds)} (seeds {', '.join(map(str, seeds))})"
        + (
            f" for {'; '.join(labels)}"
            if len(labels_by_seeds) > 1
            else " unless an entry says otherwise"
        )
        for seeds, labels in labels_by_seeds.items()
    ]
    text = f"± is {spread.description}"
    if seed_texts:
        text += "; " + "; ".join(seed_texts)
    # Where all samples are used, the seed of the subset has no effect.
    fixed_axes = [axis for axis in plan.fixed_seeds if axis != "subset" or plan.subset is not None]
    if fixed_axes:
        text += f". ± excludes the variation of seeds that are held fixed: {', '.join(fixed_axes)}"
    if any(1 in (len(each.cell.seeds), each.statistics[TEST_LAST].n) for each in cells):
        text += f". One seed has no ±, which is printed as {NO_NUMBER}"
    return f"{text}."


def _variance_notes(cells: Sequence[CellSummary]) -> Iterator[str]:
    seed_counts = set()
    for summary in cells:
        crossed = summary.cell.crossed
        if crossed is None:
            continue
        runs_text = format_count(len(crossed.digests), "run")
        if summary.variance is None:
            yield (
                f"{_cell_label(summary)}: where the variation comes from is not known, since not "
                f"all of the {runs_text} with crossed seeds have finished."
            )
            continue
        seed_counts.add(len(crossed.seeds))
        yield (
            f"{_cell_label(summary)}: the standard deviation in the last epoch comes from "
            f"{summary.variance.text}; {runs_text}, all combinations of "
            f"{format_count(len(crossed.seeds), 'seed')} each."
        )
    if seed_counts:
        error = 100 * _relative_error(min(seed_counts))
        yield (
            "These shares of the variance are rough: the standard error of a standard deviation "
            f"over {min(seed_counts)} seeds is at least about {error:.0f} % of it."
        )


def _relative_error(seed_count: int) -> float:
    """Return the relative standard error of a standard deviation over seeds, approximately."""
    return 1 / math.sqrt(2 * (seed_count - 1))


def _bold_note(cells: Sequence[CellSummary]) -> str:
    seed_count = max((len(summary.cell.seeds) for summary in cells), default=0)
    if seed_count < 2:
        return "No entry is bold, since one seed does not tell methods apart."
    return (
        "Bold (* in plain text) marks the best mean of a column and all that cannot be told from "
        f"it: paired t-tests over the seeds, {100 * LEVEL:g} %, with Holm's correction. Varied "
        "values, entries with missing or diverged seeds and those of another epoch do not compete."
        + (" Two seeds tell only large differences." if seed_count == 2 else "")
    )


def _averaged_epochs_notes(plan: PlanRecord, cells: Sequence[CellSummary]) -> Iterator[str]:
    titles = {summary.cell.scenario: summary.cell.scenario_title for summary in cells}
    by_epochs: dict[str, list[str]] = {}
    for scenario, identity in plan.protocols.items():
        if scenario in titles:
            by_epochs.setdefault(protocol_from_identity(identity).epochs_text, []).append(
                titles[scenario]
            )
    if len(by_epochs) > 1:
        texts = (f"{epochs} for {', '.join(names)}" for epochs, names in by_epochs.items())
        yield f"Averaged epochs differ between scenarios: {'; '.join(texts)}."


def _losses_notes(plan: PlanRecord, cells: Sequence[CellSummary]) -> Iterator[str]:
    """Yield a note for each tuned method that is less accurate than cross entropy somewhere.

    Only a difference that the paired t-test finds counts. Where cross entropy itself failed to
    converge in all runs, it is no measure of the method.
    """
    remedies_by_method = {
        search.method: search.remedies for search in plan.searches if search.method != CROSS_ENTROPY
    }
    for method, remedies in remedies_by_method.items():
        losing_cells = [
            summary.cell
            for summary in cells
            if summary.cell.is_tuned
            and summary.cell.method == method
            and any(
                summary.cell.scenario == other.cell.scenario and _is_below(summary, other)
                for other in cells
                if other.cell.method == CROSS_ENTROPY and not other.all_failed
            )
        ]
        if losing_cells:
            scenarios = "; ".join(dict.fromkeys(cell.scenario_title for cell in losing_cells))
            title = losing_cells[0].method_title
            text = f"{title} is less accurate than cross entropy on {scenarios}"
            yield (f"{text}; worth trying: {'; '.join(remedies)}." if remedies else f"{text}.")


def _is_below(summary: CellSummary, other: CellSummary) -> bool:
    """Return whether the accuracy in the last epoch is lower than that of another cell."""
    comparison = compare_paired(other.accuracies[TEST_LAST], summary.accuracies[TEST_LAST])
    return comparison is not None and comparison.mean > 0 and comparison.t_p <= LEVEL


def _convergence_notes(cells: Sequence[CellSummary]) -> Iterator[str]:
    if any(summary.stagnated_count or summary.all_failed for summary in cells):
        yield (
            f"{NOT_CONVERGED} marks failure to converge: a run diverged, or in its last epoch "
            "fewer than 2/K of the training samples were predicted correctly (K classes; by true "
            "labels where these are known)."
        )


def _label_noise_notes(cells: Sequence[CellSummary]) -> Iterator[str]:
    flip_rates: dict[str, list[float]] = {}
    rules = {summary.cell.scenario_title: summary.cell.noise_rule for summary in cells}
    for summary in cells:
        rates = flip_rates.setdefault(summary.cell.scenario_title, [])
        if summary.flip_rate is not None:
            rates.append(summary.flip_rate)
    texts = [
        f"{title}{f' ({rules[title]})' if rules[title] else ''}: "
        + (f"{100 * mean(rates):.2f} %" if rates else "not measured")
        for title, rates in flip_rates.items()
        if rates or rules[title]
    ]
    if texts:
        yield f"Measured fraction of labels that differ from the true labels: {'; '.join(texts)}."
    single_draw_titles = {summary.cell.scenario_title for summary in cells if summary.cell.one_draw}
    if single_draw_titles:
        titles = "; ".join(sorted(single_draw_titles))
        yield (
            "All seeds see one draw of the label noise, so that ± excludes the variation between "
            f"draws: {titles}."
        )


def _test_set_notes(plan: PlanRecord, cells: Sequence[CellSummary]) -> Iterator[str]:
    means = [mean for each in cells if (mean := each.statistics[TEST_LAST].mean) is not None]
    if not means:
        return
    size, best = plan.test_subset or plan.dataset.test_size, max(means)
    if best == 100:
        # The binomial standard error would be 0. At this limit, all images are correct with the
        # probability of LEVEL.
        limit = 100 * LEVEL ** (1 / size)
        yield (
            f"An accuracy of 100 % on {size:,} test images does not exclude one of {limit:.1f} % "
            f"on other images ({100 * (1 - LEVEL):g} % confidence), which ± does not contain."
        )
        return
    error = math.sqrt(best * (100 - best) / size)
    decimals = max(1, math.ceil(-math.log10(error)))  # so that the error is not printed as 0
    yield (
        f"Another test set of {size:,} images would change an accuracy of {best:.{decimals}f} % by "
        f"{error:.{decimals}f} points (standard error), which ± does not contain."
    )


def _quoted_notes(cells: Sequence[CellSummary], quoted: QuotedResults) -> Iterator[str]:
    noises = [paper_noise_of(summary.cell.scenario) for summary in cells] if quoted.results else []
    symmetric = [noise for noise in noises if noise and noise.noise_type == "symmetric"]
    if quoted.results:
        tables = ", ".join(map(str, sorted({result.table for result in quoted.results})))
        yield (
            f'Rows marked "paper" quote {CITATION}, Table {tables}, with ± as printed there, in '
            "the column of the epoch that they are known to be from; they are never bold."
        )
    if symmetric:
        yield (
            "Symmetric noise excludes the true class in the paper's text, but its public code "
            "includes it; the paper does not say which of the two produced its accuracies."
        )
    conventions = {noise.convention for noise in symmetric}
    if any(
        is_other_noise(result.convention, convention)
        for result in quoted.results
        for convention in conventions
    ):
        yield OTHER_NOISE_NOTE
    if any("pretrained" in result.backbone for result in quoted.results):
        yield "‡ marks the paper's accuracy of a network that started from ImageNet weights."
    titles = {summary.cell.scenario: summary.cell.scenario_title for summary in cells}
    for obstacle in dict.fromkeys(quoted.obstacles.values()):
        scenarios = "; ".join(
            titles[name] for name, text in quoted.obstacles.items() if text == obstacle
        )
        yield (
            f"The paper's accuracies for {scenarios} are not shown, since this sweep {obstacle}."
        )
    if quoted.other_backbones:
        backbones = ", ".join(sorted(quoted.other_backbones))
        yield (
            "The paper's accuracies for this label noise are not shown, since its networks have "
            f"another backbone: {backbones}."
        )


def _changed_runs_notes(cells: Sequence[CellSummary]) -> Iterator[str]:
    for summary in cells:
        for seed, text in summary.environment_changes.items():
            yield (
                f"Continued on another device or version: {_cell_label(summary)}, seed {seed} "
                f"({text}); the accuracies may differ from those of an uninterrupted run."
            )


def _cell_label(summary: CellSummary) -> str:
    """Return the text that identifies a cell: method, hyperparameter values and scenario."""
    cell = summary.cell
    return ", ".join(
        filter(None, [cell.method_title, format_values(cell.values), cell.scenario_title])
    )
