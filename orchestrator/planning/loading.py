"""Loading of a plan: a study is checked, and its data are downloaded if missing and read."""

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
from trainables.methods import check_state_size, method_of
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


LABEL_FOLDER = "labels"
"""Subfolder of the data folder that holds the user's label files."""


@dataclass(frozen=True, slots=True)
class LoadedPlan:
    """A checked study and the plan made from it.

    Attributes:
        loaded: loaded study, with the source of each value.
        plan: plan made from the study and its dataset.
    """

    loaded: LoadedStudy
    plan: Plan


def load_plan(changes: Changes, places: Places, console: Console, *, writes: bool) -> LoadedPlan:
    """Load a study and its data, and check all that can be checked before training.

    Args:
        changes: the study and the changes that flags make to it.
        places: locations of the data and the home folder.
        console: console that shows the progress.
        writes: whether files may be written to the home folder; a dry run only reads.

    Raises:
        UserError: if the study, the data or the home folder cannot be used.
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
    """Return the settings that all runs of a plan share."""
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
    """Raise `DataError` if some pictures of a dataset could not be decoded."""
    problems = [text for split in dataset.splits.values() for text in split.unreadable.values()]
    if problems:
        others_text = (
            f"; and {len(problems) - 1} more: `data check` lists all" if problems[1:] else ""
        )
        raise DataError(f"{problems[0]}, or train without it (unreadable: skip){others_text}")


def _check_sizes(plan: Plan, loaded: LoadedStudy) -> None:
    """Raise an error if numbers of samples or image shapes of a study do not fit the dataset.

    The message of the error names the source of the value in the study.
    """
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
        for group in (group for size in phase_sizes(plan) for group in size.groups):
            method, values = method_of(group.spec.method), group.spec.hyperparameters
            check_state_size(method, values, group.train, len(plan.dataset.classes))
    except FieldError as error:
        raise loaded.explain(error) from error


def check_labels(
    study: Study, dataset: Dataset, data_dir: Path, home: Path | None
) -> dict[str, str]:
    """Check that the noisy labels of every scenario can be drawn.

    Where labels are drawn from the predictions of a network that is not trained yet, only the
    choice of the training samples is checked.

    Args:
        study: study whose scenarios are checked.
        dataset: dataset of the study.
        data_dir: folder of the datasets, which also holds the user's label files.
        home: home folder to which the labels of such files are copied for the runs; None to copy
            none.

    Returns:
        SHA-256 of the labels of each scenario that reads its labels instead of drawing them, see
        `RunSpec.annotations`.

    Raises:
        DataError: if the dataset or a label file does not support the label noise.
    """
    annotation_digests = {}
    seeds = study.seeds(study.confirm.seeds[0])
    for scenario in study.scenarios:
        noise, annotations = noise_of(scenario), dict(dataset.annotations)
        if noise.label_file:
            folder, classes = data_dir / LABEL_FOLDER, len(dataset.classes)
            labels = read_label_file(folder, noise.label_file, dataset.train.labels, classes)
            annotations[noise.annotation] = labels
            if home is not None:
                store_labels(labels, home)
        if noise.annotation:
            annotation_digests[scenario] = labels_digest(annotations[noise.annotation])
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
    return annotation_digests
