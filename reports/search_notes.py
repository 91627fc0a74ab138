"""Notes on tuning: searches with their budget, ranges and winners, and what was not tuned."""

from __future__ import annotations

import math
from collections import Counter
from typing import TYPE_CHECKING

from reports.words import GREEK_LETTERS, format_count, format_space, format_values, in_order
from trainables.run.parameters import Space, format_value

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from reports.aggregate import CellSummary
    from reports.optimism import SearchOptimism
    from reports.plan_record import PlanRecord, StoppedTrialRecord, TuningRecord

EDGE_FRACTION = 0.05
"""Fraction of a search space, on its linear or logarithmic scale, that counts as its edge."""


def search_notes(
    plan: PlanRecord, cells: Sequence[CellSummary], optimism: Sequence[SearchOptimism]
) -> Iterator[str]:
    """Yield the notes on what was tuned, with what budget, and what was not.

    Args:
        plan: plan of the sweep.
        cells: summaries of its cells.
        optimism: held-out accuracies of each search's winner.
    """
    if plan.searches:
        error = (
            f"the held-out samples alone give the accuracy of a run a standard error of up to "
            f"{100 * plan.standard_error:.2f} points"
        )
        resolution = "" if optimism else f"{error}; "
        yield (
            f"Hyperparameters are chosen by {plan.protocol}; {resolution}the test set chooses "
            "nothing."
        )
    yield from _searches_notes(plan, cells)
    yield from _budget_notes(plan)
    yield from _history_notes(plan)
    yield from (each.text for each in optimism)
    yield from _untuned_notes(plan, cells)
    yield from _edges_notes(plan)


def _searches_notes(plan: PlanRecord, cells: Sequence[CellSummary]) -> Iterator[str]:
    titles = {summary.cell.scenario: summary.cell.scenario_title for summary in cells}
    for search in plan.searches:
        space = in_order(search.space)
        ranges = "; ".join(map(format_space, space, space.values()))
        scenario_title = titles.get(search.scenario, search.scenario)
        chosen_values = format_values(search.chosen) if search.chosen else "not chosen yet"
        text = (
            f"{search.method_title}: {chosen_values}, from {len(search.runs_by_trial)} of "
            f"{format_count(search.trials, 'trial')} on {scenario_title} ({ranges})"
        )
        if search.sampler:
            text += f", proposed by {search.sampler}"
        if search.seeds > 1:
            text += f", each the mean of {search.seeds} seeds"
        if seed_count := max(
            (len(candidate.digests) for candidate in search.candidates), default=0
        ):
            text += (
                f", then {_describe_candidates(search)} on {format_count(seed_count, 'new seed')}"
            )
        yield f"{text}; {_describe_scope(plan, search)}."
        if search.scheduler:
            yield _describe_stops(plan, search)


def _describe_stops(plan: PlanRecord, search: TuningRecord) -> str:
    """Return the note on the trials that were stopped early, and on what this has saved."""
    trial_count = len(search.runs_by_trial)
    if not search.stopped:
        stops_text = f"none of {format_count(trial_count, 'trial')} was stopped early"
    else:
        verb = "was" if len(search.stopped) == 1 else "were"
        counts = Counter(trial.text for trial in sorted(search.stopped, key=_stop_order))
        counts_text = ", ".join(f"{count} {text}" for text, count in counts.items())
        stops_text = (
            f"{len(search.stopped)} of {format_count(trial_count, 'trial')} {verb} stopped early "
            f"({counts_text})"
        )
        epochs = plan.scenario_epochs.get(search.scenario, plan.epochs)
        left_out = sum(
            (search.seeds - trial.run_count) * epochs
            + (0 if trial.epoch is None else epochs - trial.epoch)
            for trial in search.stopped
        )
        share = 1 - left_out / (trial_count * search.seeds * epochs)
        stops_text += (
            f", so that the search needed {100 * share:.0f} % of the epochs of whole trials; only "
            "whole trials become candidates"
        )
    return f"{search.method_title}: {stops_text}. Rule: {search.scheduler}."


def _stop_order(trial: StoppedTrialRecord) -> int:
    return trial.run_count if trial.epoch is None else trial.epoch


def _budget_notes(plan: PlanRecord) -> Iterator[str]:
    """Yield a note for each search that the time budget has ended early."""
    for search in plan.searches:
        endings = []
        if search.lacks_trials:
            endings.append(f"the search after {search.budget_trials} of {search.trials} trials")
        if search.budget_seeds is not None:
            endings.append(
                "the comparison of its candidates after "
                + format_count(search.budget_seeds, "new seed")
            )
        if endings:
            yield (
                f"{search.method_title}: the time budget of {plan.budget_hours:g} h has ended "
                f"{' and '.join(endings)}; on a faster or slower machine there would be more or "
                "fewer."
            )


def _history_notes(plan: PlanRecord) -> Iterator[str]:
    """Yield a note on the earlier sweep from whose trials the searches have learnt."""
    if plan.history is not None:
        trial_count = format_count(len(plan.history.trials), "trial")
        yield (
            f"The search has learnt from {trial_count} of an earlier sweep, "
            f"{plan.history.sweep[:12]} of '{plan.history.study}', which do not count among its "
            "own trials: the budget of the tuned method is larger by those that it does not repeat."
        )


def _describe_candidates(search: TuningRecord) -> str:
    """Return the number of candidates; as in plans, the reference is not one of them."""
    search_count = sum(candidate.origin == "search" for candidate in search.candidates)
    texts = [format_count(search_count, "candidate")] if search_count else []
    if search_count < len(search.candidates):
        texts.append("the reference")
    return " and ".join(texts)


def _describe_scope(plan: PlanRecord, search: TuningRecord) -> str:
    if plan.scope == "scenario":
        return "each scenario has its own search"
    if len(search.serves) > 1:
        return "one search serves all scenarios"
    return "the search serves this scenario only"


def _untuned_notes(plan: PlanRecord, cells: Sequence[CellSummary]) -> Iterator[str]:
    """Yield a note that names the methods that no search has tuned."""
    if not plan.searches:
        yield "No hyperparameter was tuned in this sweep: all values are fixed beforehand."
        return
    tuned = {search.method for search in plan.searches}
    untuned = dict.fromkeys(
        summary.cell.method_title for summary in cells if summary.cell.method not in tuned
    )
    if untuned:
        yield (
            f"Not tuned, in contrast to {_titles_of(plan)}: {', '.join(untuned)}; a comparison "
            "with tuned values favours these."
        )


def _titles_of(plan: PlanRecord) -> str:
    return " and ".join(dict.fromkeys(search.method_title for search in plan.searches))


def _edges_notes(plan: PlanRecord) -> Iterator[str]:
    for search in plan.searches:
        for name, value in in_order(search.chosen or {}).items():
            space, symbol = search.space[name], GREEK_LETTERS.get(name, name)
            if isinstance(space, Space) and _is_at_edge(float(value), space):
                yield (
                    f"{search.method_title}: the chosen {symbol} = {format_value(value)} lies at "
                    f"the edge of its range, {space.low:g} to {space.high:g}: better values may "
                    f"lie outside (search.space.{search.method}.{name})."
                )


def _is_at_edge(value: float, space: Space) -> bool:
    """Return whether a value lies in the outer `EDGE_FRACTION` of a search space, or outside."""
    low, high, point = space.low, space.high, value
    if space.log:
        low, high, point = math.log(low), math.log(high), math.log(point)
    margin = EDGE_FRACTION * (high - low)
    return not low + margin < point < high - margin
