"""Loading of a study and its dataset, with all checks that are possible before training."""

from __future__ import annotations

import os
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING

from orchestrator.downloading import download
from orchestrator.planning.history import find_history
from orchestrator.planning.plan import Plan
from orchestrator.planning.sizes import phase_sizes
from search_spaces.checks import check_image_shape
from search_spaces.resolve import matched_recipe
from trainables.datasets import Dataset, list_training_files, load
from trainables.errors import DataError, FieldError, UserError
from trainables.extensions import loaded_files
from trainables.methods import check_state_size, method_of
from trainables.noise import noise_of
from trainables.noise.from_file import read_label_file
from trainables.run_data.labels import store_labels
from trainables.run_data.realisation import (
    draw_realisation,
    evaluated_test_positions,
    labels_digest,
    subset_positions,
)
from trainables.training.job import Job

if TYPE_CHECKING:
    from pathlib import Path

    from rich.console import Console

    from orchestrator.flags import Locations, StudyFlags
    from search_spaces.loader import LoadedStudy
    from search_spaces.schema import Study


LABEL_FOLDER_NAME = "labels"
"""Name of the subfolder of the data folder that holds the user's files of noisy labels."""

SYSTEM_METRICS_VARIABLE = "MLFLOW_ENABLE_SYSTEM_METRICS_LOGGING"
"""Environment variable by which MLflow's users ask for system metrics of their runs."""


@dataclass(frozen=True, slots=True)
class LoadedPlan:
    """A checked study and the plan of its sweep.

    Attributes:
        loaded_study: study, with the source (file and line, or flag) of each value.
        plan: plan of the sweep.
    """

    loaded_study: LoadedStudy
    plan: Plan


def load_plan(
    study_flags: StudyFlags, locations: Locations, console: Console, *, may_write: bool
) -> LoadedPlan:
    """Load a study and its dataset, check them, and return the plan of the sweep.

    Args:
        study_flags: the study, as the command-line flags name and change it.
        locations: locations of the data and of the home folder, which holds all results.
        console: console that shows the progress.
        may_write: whether missing data may be downloaded and files written to the home folder;
            False in a dry run.

    Raises:
        UserError: if the study, the data or the home folder cannot be used.
    """
    loaded_study = study_flags.load()
    study = loaded_study.study
    if may_write:
        locations.home.create()
        download(study.dataset, locations.dataset_dir, console)
    with console.status(f"reading {study.dataset}"):
        dataset = load(
            study.dataset,
            locations.dataset_dir,
            locations.home.cache_dir if may_write else None,
        )
    if study.unreadable == "fail":
        _check_readable(dataset)
    plan = Plan(loaded_study.name, study, dataset)
    check_sizes(plan, loaded_study)
    home_dir = locations.home_dir if may_write else None
    annotations = check_labels(study, dataset, locations.dataset_dir, home_dir)
    if annotations:  # without them, the specs that the plan has computed are those of the sweep
        plan = replace(plan, annotations=annotations)
    if study_flags.from_sweep is not None:
        plan = replace(plan, history=find_history(locations.home, plan, study_flags.from_sweep))
    return LoadedPlan(loaded_study, plan)


def job_of(locations: Locations, plan: Plan) -> Job:
    """Return the `Job` of a plan: the settings that a worker needs for every run."""
    resources = plan.study.resources
    return Job(
        home=locations.home_dir,
        data_dir=locations.dataset_dir,
        study=plan.name,
        dataset=plan.study.dataset,
        data=plan.dataset.digest,
        diagnostics_every=plan.study.diagnostics.every,
        cpus=resources.cpus,
        gpus=resources.gpus,
        runs_per_gpu=resources.runs_per_gpu,
        has_system_metrics=wants_system_metrics(),
        code=loaded_files(),
    )


def wants_system_metrics() -> bool:
    """Return whether the user asks for system metrics, by MLflow's own environment variable.

    Raises:
        UserError: if the variable is neither true nor false.
    """
    text = os.environ.get(SYSTEM_METRICS_VARIABLE, "false")
    values = {"true": True, "1": True, "false": False, "0": False}
    if text.lower() not in values:
        raise UserError(f"{SYSTEM_METRICS_VARIABLE}={text}: must be true or false")
    return values[text.lower()]


def _check_readable(dataset: Dataset) -> None:
    """Raise `DataError` if some pictures of a dataset could not be decoded."""
    messages = [text for split in dataset.splits.values() for text in split.unreadable.values()]
    if messages:
        others_text = (
            f"; `data check` also lists the {len(messages) - 1} others" if messages[1:] else ""
        )
        raise DataError(
            f"{messages[0]}, or set `unreadable: skip` in the study to leave it out{others_text}"
        )


def check_sizes(plan: Plan, loaded_study: LoadedStudy) -> None:
    """Check that the subsets, held-out fraction, backbone and methods of a study fit the dataset.

    Raises:
        StudyError: if a value does not fit; the message names its line in the study.
    """
    study, available_count = plan.study, len(plan.dataset.train)
    try:
        if study.subset is not None and study.subset > available_count:
            raise FieldError(
                "subset",
                f"{study.subset} samples requested, but {study.dataset} has only "
                f"{available_count} training samples",
            )
        _check_test_subset(study, plan.dataset)
        held_out_count = plan.held_out_count
        if held_out_count < 1 or held_out_count >= plan.sample_count:
            raise FieldError(
                "search.hold_out",
                f"{study.search.hold_out:g} of {plan.sample_count} samples holds out "
                f"{held_out_count}: at least one sample must be held out and one left to train on",
            )
        check_image_shape(study, matched_recipe(study).input_shape(plan.dataset.image_shape))
        for group in (group for size in phase_sizes(plan) for group in size.groups):
            method, values = method_of(group.spec.method), group.spec.hyperparameters
            check_state_size(method, values, group.train_count, len(plan.dataset.classes))
            recipe = group.spec.recipe
            if recipe.drop_last and group.train_count < recipe.batch_size:
                is_of_study = recipe.batch_size == matched_recipe(study).batch_size
                is_posterior = any(group.spec == spec for spec in plan.posterior_specs)
                if is_posterior:
                    key = "posterior.recipe.batch_size"
                else:
                    key = "recipe.batch_size" if is_of_study else "methods"
                raise FieldError(
                    key,
                    f"batch_size must be at most {group.train_count}, the number of samples that "
                    f"{group.spec.method} is trained on, since drop_last leaves out smaller "
                    f"batches, got {recipe.batch_size}",
                )
    except FieldError as error:
        raise loaded_study.to_study_error(error) from error


def _check_test_subset(study: Study, dataset: Dataset) -> None:
    """Check that the test split has the samples that a study evaluates.

    Raises:
        FieldError: if there are too few samples.
    """
    if study.test_subset is None:
        return
    class_count = len(dataset.classes)
    if not class_count <= study.test_subset <= len(dataset.test):
        raise FieldError(
            "test_subset",
            f"must be from {class_count}, the number of classes, to {len(dataset.test)}, the "
            f"number of test samples of {study.dataset}, got {study.test_subset}",
        )
    try:
        for split in dataset.test_splits.values():
            evaluated_test_positions(dataset, split, study.test_subset)
    except DataError as error:
        raise FieldError("test_subset", str(error)) from error


def check_labels(
    study: Study, dataset: Dataset, data_dir: Path, home_dir: Path | None
) -> dict[str, str]:
    """Check that the noisy labels of every scenario can be drawn.

    Labels of PMD noise are drawn from the predictions of a network that is not trained yet. For
    such scenarios, only the choice of the training samples is checked.

    Args:
        study: study whose scenarios are checked.
        dataset: dataset of the study.
        data_dir: folder of the datasets, which also holds the user's label files.
        home_dir: home folder to which labels in the user's files are copied for the runs; None to
            copy none.

    Returns:
        SHA-256 of the noisy labels by scenario, for the scenarios whose labels are read from the
        dataset or a file instead of drawn; see `RunSpec.annotations`.

    Raises:
        DataError: if the label noise of a scenario is impossible with the dataset, or a label file
            is missing or invalid.
    """
    annotation_digests = {}
    seeds = study.axis_seeds(study.confirm.seeds[0])
    for scenario in study.scenarios:
        noise, annotations = noise_of(scenario), dict(dataset.annotations)
        if noise.label_file:
            labels = read_label_file(
                data_dir / LABEL_FOLDER_NAME,
                noise.label_file,
                dataset.train.labels,
                dataset.classes,
                partial(list_training_files, study.dataset, dataset, data_dir),
            )
            annotations[noise.annotation] = labels
            if home_dir is not None:
                store_labels(labels, home_dir)
        if noise.annotation:
            annotation_digests[scenario] = labels_digest(annotations[noise.annotation])
        if noise.needs_posterior:
            subset_positions(dataset, seeds, study.subset, balanced=study.balanced)
        else:
            draw_realisation(
                dataset,
                scenario,
                seeds,
                study.subset,
                balanced=study.balanced,
                annotations=annotations,
            )
    return annotation_digests
