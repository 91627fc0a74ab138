"""Notes on what was trained: fixed values, sizes, epochs, precision, devices and code."""

from __future__ import annotations

from typing import TYPE_CHECKING

from reports.words import format_count, format_extension, format_values, in_order

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from reports.aggregate import CellSummary
    from reports.plan_record import CellRecord, PlanRecord


def setting_notes(plan: PlanRecord, cells: Sequence[CellSummary]) -> Iterator[str]:
    """Yield the notes on recipes, fixed values and the values of rows that differ by scenario."""
    yield from _shortened_notes(plan)
    yield _recipes_note(plan, cells)
    yield from _row_values_notes(cells)
    yield from _fixed_values_notes(cells)


def machine_notes(plan: PlanRecord, cells: Sequence[CellSummary]) -> Iterator[str]:
    """Yield the notes on devices, precision, code and its commits."""
    if plan.code:
        extensions = "; ".join(format_extension(name, sha256) for name, sha256 in plan.code.items())
        yield f"Code from outside this project: {extensions}."
    yield from _devices_notes(cells)
    yield from _code_notes(cells)


def sizes_note(plan: PlanRecord, cells: Sequence[CellSummary]) -> str:
    """Return the note on the sizes of training and test set, and on what is held out."""
    dataset = plan.dataset
    used_count = plan.subset or dataset.train_size
    text = f"Training set: {used_count:,} images"
    if plan.subset is not None:
        text = f"Trained on {plan.subset:,} of {dataset.train_size:,} images"
    counts = sorted({each.cell.train_count for each in cells if each.cell.train_count})
    if counts and counts != [used_count]:
        trained = " or ".join(f"{count:,}" for count in counts)
        text += f", of which runs are trained on {trained} and hold out the others"
    if plan.test_subset is None:
        return f"{text}. Test set: {dataset.test_size:,} images."
    return (
        f"{text}. Accuracies are measured on {plan.test_subset:,} of {dataset.test_size:,} test "
        "images, the same for all runs and equally many of each class."
    )


def _shortened_notes(plan: PlanRecord) -> Iterator[str]:
    """Yield a note on a number of epochs that is not the study's, as in a smoke test."""
    if 0 < plan.epochs < plan.study_epochs:
        yield (
            f"Shortened by a flag to {plan.epochs} of the study's {plan.study_epochs} epochs: "
            "a trial of the software, not a result of the study."
        )
    elif 0 < plan.study_epochs < plan.epochs:
        yield f"Lengthened by a flag from the study's {plan.study_epochs} epochs to {plan.epochs}."


def _recipes_note(plan: PlanRecord, cells: Sequence[CellSummary]) -> str:
    matched_recipe = "the matched recipe: network, schedule, epochs and selection are NAL's"
    titles_with_own_recipe = [summary.cell.method_title for summary in cells if summary.cell.recipe]
    epochs = "" if plan.scenario_epochs else f" for {format_count(plan.epochs, 'epoch')}"
    if not titles_with_own_recipe:
        return f"All methods are trained{epochs} with {matched_recipe}."
    methods = ", ".join(dict.fromkeys(titles_with_own_recipe))
    own_recipe = (
        "are trained with the recipe stated beside their name, and show the accuracy that this "
        "recipe reports where the table shows its first kind of accuracy"
    )
    if all(summary.cell.recipe for summary in cells):
        return f"{methods} {own_recipe}."
    return f"{methods} {own_recipe}. All other methods are trained{epochs} with {matched_recipe}."


def _row_values_notes(cells: Sequence[CellSummary]) -> Iterator[str]:
    """Yield the values of each row whose scenarios have different ones, by scenario."""
    values_by_row: dict[tuple[str, str], dict[str, str]] = {}
    for summary in cells:
        cell = summary.cell
        if cell.values and cell.origin != "varied":
            origin = "tuned" if cell.is_tuned else "fixed"
            texts = values_by_row.setdefault((cell.method_title, origin), {})
            texts[cell.scenario_title] = format_values(cell.values)
    for (method, origin), texts in values_by_row.items():
        if len(set(texts.values())) > 1:
            listed = "; ".join(f"{text} on {scenario}" for scenario, text in texts.items())
            yield f"Values of {method}, {origin}: {listed}."


def _fixed_values_notes(cells: Sequence[CellSummary]) -> Iterator[str]:
    """Yield the values that the study fixes for each method, with their sources."""
    cells_by_text: dict[tuple[str, str], list[CellRecord]] = {}
    texts_by_column: dict[tuple[str, str], set[str]] = {}
    all_scenarios = dict.fromkeys(summary.cell.scenario_title for summary in cells)
    for summary in cells:
        cell = summary.cell
        if text := _describe_settings(cell):
            cells_by_text.setdefault((cell.method_title, text), []).append(cell)
            column = (cell.method_title, cell.scenario_title)
            texts_by_column.setdefault(column, set()).add(text)
    for (method, text), alike in cells_by_text.items():
        scenarios = dict.fromkeys(cell.scenario_title for cell in alike)
        where = "" if len(scenarios) == len(all_scenarios) else f" on {'; '.join(scenarios)}"
        # Rows of a method differ if a condition of the search is met in one of them only.
        if any(len(texts_by_column[method, scenario]) > 1 for scenario in scenarios):
            where = f", {' and '.join(dict.fromkeys(cell.origin for cell in alike))}{where}"
        yield f"Fixed for {method}{where}: {text}."


def _describe_settings(cell: CellRecord) -> str:
    """Describe the fixed hyperparameters of a cell by their source, "q = 0.7 (eq. 6)"."""
    names_by_source: dict[str, list[str]] = {}
    for name in in_order(cell.settings):
        names_by_source.setdefault(cell.setting_sources.get(name, ""), []).append(name)
    return "; ".join(
        format_values({name: cell.settings[name] for name in names})
        + (f" ({source})" if source else "")
        for source, names in names_by_source.items()
    )


def _devices_notes(cells: Sequence[CellSummary]) -> Iterator[str]:
    devices = sorted({device for summary in cells for device in summary.devices})
    precision = " or ".join(_distinct(summary.cell.precision for summary in cells))
    precision_text = f" in {precision}" if precision else ""
    if len(devices) == 1:
        yield f"All runs were trained on {devices[0]}{precision_text}."
    elif devices:
        yield (
            f"Runs were trained{precision_text} on different kinds of device "
            f"({'; '.join(devices)}), on which equal runs may have different results."
        )


def _code_notes(cells: Sequence[CellSummary]) -> Iterator[str]:
    """Yield the revision of the training code and its commits, where they are recorded."""
    revisions = sorted({each for summary in cells for each in summary.revisions.values()})
    if not revisions:
        return
    commits = _distinct(each for summary in cells for each in summary.commits.values())
    text = f"Training code: revision {' and '.join(map(str, revisions))}"
    if not commits:
        yield f"{text}; its commit is not recorded."
        return
    noun = "commit" if len(commits) == 1 else "commits"
    yield f"{text}, {noun} {'; '.join(commits)}."


def _distinct(texts: Iterable[str]) -> list[str]:
    return [text for text in dict.fromkeys(texts) if text]
