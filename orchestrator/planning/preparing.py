"""From flags to a plan: the study checked, its data found, downloaded if need be, and read."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TransferSpeedColumn

from orchestrator.planning.plan import Plan
from trainables.datasets import ensure, load
from trainables.errors import FieldError
from trainables.methods import check_state, method_of

if TYPE_CHECKING:
    from rich.console import Console

    from orchestrator.flags import StudyFlags
    from search_spaces.loader import LoadedStudy


@dataclass(frozen=True, slots=True)
class Prepared:
    """A checked study over data that have been read."""

    loaded: LoadedStudy
    plan: Plan


def prepare(flags: StudyFlags, console: Console, *, writes: bool) -> Prepared:
    """Check everything that can be checked before a second is spent on training.

    Args:
        flags: as typed.
        console: shows the progress of a download.
        writes: whether the home may be written to: a dry run reads only.

    Raises:
        UserError: the study, the data or the home cannot be used; says why.
    """
    loaded = flags.load()
    if writes:
        flags.paths.prepare()
        _download(loaded.study.dataset, flags, console)
    with console.status(f"reading {loaded.study.dataset}"):
        dataset = load(loaded.study.dataset, flags.data, flags.paths.cache if writes else None)
    plan = Plan(loaded.name, loaded.study, dataset)
    _check_sizes(plan, loaded)
    return Prepared(loaded, plan)


def _download(dataset: str, flags: StudyFlags, console: Console) -> None:
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        DownloadColumn(),
        TransferSpeedColumn(),
    )
    with Progress(*columns, console=console, transient=True) as bar:
        task = bar.add_task(f"downloading {dataset}", total=None, visible=False)
        ensure(
            dataset,
            flags.data,
            lambda done, total: bar.update(task, completed=done, total=total, visible=True),
        )


def _check_sizes(plan: Plan, loaded: LoadedStudy) -> None:
    study, available = plan.study, len(plan.dataset.train)
    try:
        if study.subset is not None and study.subset > available:
            raise FieldError(
                "subset", f"{study.subset} is more than the {available} training samples there are"
            )
        held_out = plan.held_out
        if held_out < 1 or held_out >= plan.samples:
            raise FieldError(
                "search.hold_out",
                f"{study.search.hold_out:g} of {plan.samples} samples holds out {held_out}: "
                "at least one must be held out and one left",
            )
        mean = study.recipe.mean
        if mean is not None and len(mean) != plan.dataset.image[0]:
            raise FieldError(
                "recipe.mean",
                f"has {len(mean)} values, the images of '{study.dataset}' have "
                f"{plan.dataset.image[0]} channels",
            )
        _check_methods(plan)
    except FieldError as error:
        raise loaded.explain(error) from error


def _check_methods(plan: Plan) -> None:
    """See that no method would keep more state than is reasonable for this data."""
    classes = len(plan.dataset.classes)
    for runs in (runs for size in plan.sizes for runs in size.loads):
        values = runs.spec.hyperparameters
        check_state(method_of(runs.spec.method), values, runs.train, classes)
