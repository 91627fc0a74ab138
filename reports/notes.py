"""Notes under a comparison table: seeds, searches, recipes, label noise, sources and devices."""

from __future__ import annotations

import math
from statistics import mean
from typing import TYPE_CHECKING

from reports.paired import LEVEL
from reports.paper import CITATION, paper_noise_of
from reports.public_runs import public_runs_notes
from reports.table import NOT_CONVERGED
from reports.words import GREEK_LETTERS, format_count, format_extension, format_values
from trainables.run.metrics import TEST_LAST
from trainables.run.protocols import protocol_from_identity

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from reports.aggregate import CellSummary
    from reports.plan_record import PlanRecord, TuningRecord
    from reports.quoted import QuotedResults
    from trainables.run.parameters import Space


CROSS_ENTROPY = "ce"
"""Name of the method with which tuned methods are compared."""
EDGE_FRACTION = 0.05
"""Fraction of a search space, on its linear or logarithmic scale, that counts as its edge."""


def table_notes(
    plan: PlanRecord, cells: Sequence[CellSummary], quoted: QuotedResults
) -> tuple[str, ...]:
    """Return the notes to print under the table of a sweep, from top to bottom."""
    return (
        *_missing_runs_notes(plan, cells),
        _seeds_note(plan, cells),
        *_variance_notes(cells),
        _bold_note(cells),
        *_protocol_notes(plan, cells),
        *_searches_notes(plan, cells),
        *_edges_notes(plan),
        *_losses_notes(plan, cells),
        _recipes_note(plan, cells),
        *_convergence_notes(cells),
        *_label_noise_notes(cells),
        *_subset_notes(plan),
        *_test_set_notes(plan, cells),
        *_quoted_notes(cells, quoted),
        *public_runs_notes(quoted.public_runs),
        *(
            f"Departs from the paper or its public code: {text.rstrip('. ')}."
            for text in plan.deviations
        ),
        *_extensions_notes(plan),
        *_devices_notes(cells),
        *_changed_runs_notes(cells),
    )


def _missing_runs_notes(plan: PlanRecord, cells: Sequence[CellSummary]) -> Iterator[str]:
    if plan.state != "finished":
        yield "This sweep is not finished: run its command again to continue."
    for summary in cells:
        if summary.missing_seeds:
            noun = "seed" if len(summary.missing_seeds) == 1 else "seeds"
            seeds = ", ".join(map(str, summary.missing_seeds))
            yield f"Missing runs: {_cell_label(summary)}, {noun} {seeds}."
    if any(summary.diverged_count for summary in cells):
        yield "Where runs diverged, mean and ± are over the runs that finished."


def _seeds_note(plan: PlanRecord, cells: Sequence[CellSummary]) -> str:
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
    text = "± is the sample standard deviation (ddof 1) over n seeds"
    if seed_texts:
        text += "; " + "; ".join(seed_texts)
    # Where all samples are used, the seed of the subset has no effect.
    fixed_axes = [axis for axis in plan.fixed_seeds if axis != "subset" or plan.subset is not None]
    if fixed_axes:
        text += f". ± excludes the variation of seeds that are held fixed: {', '.join(fixed_axes)}"
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
        yield (
            f"These shares of the variance are rough: the standard error of a standard deviation "
            f"over {min(seed_counts)} seeds is about {_relative_error(min(seed_counts)):.0%} of it."
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
        f"values and entries with missing seeds do not compete."
    )


def _protocol_notes(plan: PlanRecord, cells: Sequence[CellSummary]) -> Iterator[str]:
    if plan.searches:
        standard_error = f"its standard error is {100 * plan.standard_error:.2f} points for one run"
        yield f"Hyperparameters are chosen by {plan.protocol}; {standard_error}."
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


def _searches_notes(plan: PlanRecord, cells: Sequence[CellSummary]) -> Iterator[str]:
    titles = {summary.cell.scenario: summary.cell.scenario_title for summary in cells}
    for search in plan.searches:
        ranges = ", ".join(_describe_space(name, space) for name, space in search.space.items())
        scenario_title = titles.get(search.scenario, search.scenario)
        chosen_values = format_values(search.chosen) if search.chosen else "not chosen yet"
        text = (
            f"{search.method_title}: {chosen_values}, from {len(search.digests)} of "
            f"{format_count(search.trials, 'trial')} on {scenario_title} ({ranges})"
        )
        if seed_count := max(
            (len(candidate.digests) for candidate in search.candidates), default=0
        ):
            text += (
                f", then {_describe_candidates(search)} on {format_count(seed_count, 'new seed')}"
            )
        yield f"{text}; {_describe_scope(plan, search)}."


def _describe_candidates(search: TuningRecord) -> str:
    """Return the number of candidates; as in plans, the paper's values are not one of them."""
    search_count = sum(candidate.origin == "search" for candidate in search.candidates)
    texts = [format_count(search_count, "candidate")] if search_count else []
    if search_count < len(search.candidates):
        texts.append("the paper's values")
    return " and ".join(texts)


def _edges_notes(plan: PlanRecord) -> Iterator[str]:
    for search in plan.searches:
        for name, value in (search.chosen or {}).items():
            space, symbol = search.space[name], GREEK_LETTERS.get(name, name)
            if _is_at_edge(float(value), space):
                yield (
                    f"{search.method_title}: the chosen {symbol} = {value:g} lies at the edge of "
                    f"its range, {space.low:g} to {space.high:g}: better values may lie outside "
                    f"(search.space.{search.method}.{name})."
                )


def _is_at_edge(value: float, space: Space) -> bool:
    """Return whether a value lies in the outer `EDGE_FRACTION` of a search space, or outside."""
    low, high, point = space.low, space.high, value
    if space.log:
        low, high, point = math.log(low), math.log(high), math.log(point)
    margin = EDGE_FRACTION * (high - low)
    return not low + margin < point < high - margin


def _losses_notes(plan: PlanRecord, cells: Sequence[CellSummary]) -> Iterator[str]:
    """Yield a note for each tuned method that is less accurate than cross entropy somewhere.

    Where cross entropy itself failed to converge in all runs, it is no measure of the method.
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
    """Return whether the mean accuracy in the last epoch is lower than that of another cell."""
    mean_accuracy, other_mean = (each.statistics[TEST_LAST].mean for each in (summary, other))
    return mean_accuracy is not None and other_mean is not None and mean_accuracy < other_mean


def _recipes_note(plan: PlanRecord, cells: Sequence[CellSummary]) -> str:
    matched_recipe = "the matched recipe: network, schedule, epochs and selection are NAL's"
    titles_with_own_recipe = [summary.cell.method_title for summary in cells if summary.cell.recipe]
    if not titles_with_own_recipe:
        return f"All methods are trained with {matched_recipe}."
    methods = ", ".join(dict.fromkeys(titles_with_own_recipe))
    own_recipe = (
        "are trained with the recipe stated beside their name, and the first column shows the "
        "accuracy that this recipe reports"
    )
    epochs = "" if plan.scenario_epochs else f" for {format_count(plan.epochs, 'epoch')}"
    return f"{methods} {own_recipe}. All other methods are trained{epochs} with {matched_recipe}."


def _convergence_notes(cells: Sequence[CellSummary]) -> Iterator[str]:
    if any(summary.stagnated_count or summary.all_failed for summary in cells):
        yield (
            f"{NOT_CONVERGED} marks failure to converge: a run diverged, or in its last epoch "
            "fewer than 2/K of the training samples were predicted correctly (K classes; by true "
            "labels where these are known)."
        )


def _describe_scope(plan: PlanRecord, search: TuningRecord) -> str:
    if plan.scope == "scenario":
        return "each scenario has its own search"
    if len(search.serves) > 1:
        return "one search serves all scenarios"
    return "the search serves this scenario only"


def _describe_space(name: str, space: Space) -> str:
    scale = ", log" if space.log else ""
    return f"{GREEK_LETTERS.get(name, name)} in [{space.low:g}, {space.high:g}]{scale}"


def _label_noise_notes(cells: Sequence[CellSummary]) -> Iterator[str]:
    flip_rates: dict[str, list[float]] = {}
    for summary in cells:
        if summary.flip_rate is not None:
            flip_rates.setdefault(summary.cell.scenario_title, []).append(summary.flip_rate)
    if flip_rates:
        means = "; ".join(
            f"{title}: {100 * mean(rates):.2f} %" for title, rates in flip_rates.items()
        )
        yield f"Measured fraction of labels that differ from the true labels: {means}."
    single_draw_titles = {summary.cell.scenario_title for summary in cells if summary.cell.one_draw}
    if single_draw_titles:
        titles = "; ".join(sorted(single_draw_titles))
        yield (
            "All seeds see one draw of the label noise, so that ± excludes the variation between "
            f"draws: {titles}."
        )


def _subset_notes(plan: PlanRecord) -> Iterator[str]:
    if plan.subset is not None:
        yield f"Trained on {plan.subset:,} of {plan.dataset.train_size:,} images."
    if plan.test_subset is not None:
        yield (
            f"Accuracies are measured on {plan.test_subset:,} of {plan.dataset.test_size:,} test "
            "images, the same for all runs and equally many of each class."
        )


def _test_set_notes(plan: PlanRecord, cells: Sequence[CellSummary]) -> Iterator[str]:
    means = [mean for each in cells if (mean := each.statistics[TEST_LAST].mean) is not None]
    if not means:
        return
    size, best = plan.test_subset or plan.dataset.test_size, max(means)
    error = math.sqrt(best * (100 - best) / size)
    yield (
        f"The test set has {size:,} images. Another one of this size would change an accuracy of "
        f"{best:.1f} % by {error:.1f} points (standard error), which ± does not contain."
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
    has_incl = any(noise.includes_true_class for noise in symmetric)
    if has_incl or (symmetric and any(each.convention == "incl" for each in quoted.results)):
        yield (
            "† marks an accuracy for symmetric noise that differs from this scenario's, or may "
            "differ, in whether it draws the true class."
        )
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


def _extensions_notes(plan: PlanRecord) -> Iterator[str]:
    if plan.code:
        extensions = "; ".join(format_extension(name, sha256) for name, sha256 in plan.code.items())
        yield f"Code from outside this project: {extensions}."


def _devices_notes(cells: Sequence[CellSummary]) -> Iterator[str]:
    devices = sorted({device for summary in cells for device in summary.devices})
    if len(devices) == 1:
        yield f"All runs were trained on {devices[0]}."
    elif devices:
        yield (
            f"Runs were trained on different kinds of device ({'; '.join(devices)}), on which "
            "equal runs may have different results."
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
