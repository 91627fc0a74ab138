"""From flags to a plan: the study checked, its data found, downloaded if need be, and read."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from orchestrator.downloading import download
from orchestrator.planning.plan import Plan
from orchestrator.planning.sizes import phase_sizes
from search_spaces.checks import check_shapes
from search_spaces.resolve import matched_recipe
from trainables.datasets import Dataset, load
from trainables.errors import DataError, FieldError
from trainables.extensions import loaded_files
from trainables.methods import check_state, method_of
from trainables.noise import noise_of
from trainables.noise.from_file import read_label_file
from trainables.run_data.labels import store_labels
from trainables.run_data.realisation import labels_digest, realise, subset_positions
from trainables.training.job import Job

if TYPE_CHECKING:
    from pathlib import Path

    from rich.console import Console

    from orchestrator.flags import Changes, Places
    from search_spaces.loader import LoadedStudy
    from search_spaces.schema import Study


LABEL_FILES = "labels"
"""Folder of the user's label files in the data folder."""


@dataclass(frozen=True, slots=True)
class LoadedPlan:
    """A checked study over data that have been read."""

    loaded: LoadedStudy
    plan: Plan


def load_plan(changes: Changes, places: Places, console: Console, *, writes: bool) -> LoadedPlan:
    """Check everything that can be checked before a second is spent on training.

    Args:
        changes: the study, and what flags change in it.
        places: where the data and the home are.
        console: shows the progress of a download.
        writes: whether the home may be written to: a dry run reads only.

    Raises:
        UserError: the study, the data or the home cannot be used; says why.
    """
    loaded = changes.load()
    if writes:
        places.home.create()
        download(loaded.study.dataset, places.data, console)
    with console.status(f"reading {loaded.study.dataset}"):
        dataset = load(loaded.study.dataset, places.data, places.home.cache if writes else None)
    if loaded.study.unreadable == "fail":
        _check_readable(dataset)
    _check_sizes(Plan(loaded.name, loaded.study, dataset), loaded)
    home = places.home_dir if writes else None
    annotations = check_labels(loaded.study, dataset, places.data, home)
    return LoadedPlan(loaded, Plan(loaded.name, loaded.study, dataset, annotations))


def job_of(places: Places, plan: Plan) -> Job:
    """Return what all runs of a plan share."""
    resources = plan.study.resources
    return Job(
        home=places.home_dir,
        data_dir=places.data,
        study=plan.name,
        diagnostics_every=plan.study.diagnostics.every,
        cpus=resources.cpus,
        gpus=resources.gpus,
        code=loaded_files(),
    )


def _check_readable(dataset: Dataset) -> None:
    """Refuse pictures that could not be decoded when the dataset was read."""
    found = [what for split in dataset.splits.values() for what in split.unreadable.values()]
    if found:
        others = f"; and {len(found) - 1} more: `data check` names them all" if found[1:] else ""
        raise DataError(f"{found[0]}, or train without it (unreadable: skip){others}")


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
        check_shapes(study, matched_recipe(study).input_shape(plan.dataset.image))
        # No method may keep more state than is reasonable for this data.
        for load in (load for size in phase_sizes(plan) for load in size.loads):
            method, values = method_of(load.spec.method), load.spec.hyperparameters
            check_state(method, values, load.train, len(plan.dataset.classes))
    except FieldError as error:
        raise loaded.explain(error) from error


def check_labels(
    study: Study, dataset: Dataset, data_dir: Path, home: Path | None
) -> dict[str, str]:
    """See that the labels of every scenario can be drawn; return which annotations they read.

    Labels that are drawn from a trained network can only be drawn once there is one.

    Args:
        study: whose scenarios are meant.
        dataset: with its labels and annotations.
        data_dir: that holds label files of the user's.
        home: where the labels of such files are kept for the runs; None keeps none.

    Returns:
        The SHA-256 of the annotations, by each scenario that reads some: see `RunSpec.annotations`.

    Raises:
        DataError: the data, or a file of the user's, do not allow the noise.
    """
    digests = {}
    seeds = study.seeds(study.confirm.seeds[0])
    for scenario in study.scenarios:
        noise, annotations = noise_of(scenario), dict(dataset.annotations)
        if noise.label_file:
            folder, classes = data_dir / LABEL_FILES, len(dataset.classes)
            labels = read_label_file(folder, noise.label_file, dataset.train.labels, classes)
            annotations[noise.annotation] = labels
            if home is not None:
                store_labels(labels, home)
        if noise.annotation:
            digests[scenario] = labels_digest(annotations[noise.annotation])
        if noise.needs_posterior:
            subset_positions(dataset, seeds, study.subset, balanced=study.balanced)
        else:
            realise(
                dataset,
                scenario,
                seeds,
                study.subset,
                balanced=study.balanced,
                annotations=annotations,
            )
    return digests
