"""Recording of a sweep in progress, in its archive in the home folder and in MLflow."""

from __future__ import annotations

from typing import TYPE_CHECKING

from orchestrator.tracking.retraining import train_command
from reports.plan_record import (
    CandidateRecord,
    CellRecord,
    CrossedRecord,
    DatasetRecord,
    PlanRecord,
    ReferenceRecord,
    SettingValue,
    StoppedTrialRecord,
    TuningRecord,
)
from search_spaces.deviations import applicable_deviations
from search_spaces.identity import study_code_hashes
from search_spaces.resolve import (
    ResolvedMethod,
    matched_recipe,
    protocol_on,
    reference_with_sources,
    resolve,
)
from search_spaces.rungs import describe_scheduler
from search_spaces.schema import SAMPLER_TITLES, Phase
from trainables.backbones import backbone_of
from trainables.datasets import source_of
from trainables.methods import method_of
from trainables.methods.published import EpochSelection
from trainables.noise import noise_of
from trainables.noise.clean import CLEAN
from trainables.run.identity import digest_of, identity_of
from trainables.run.metrics import TEST_BEST_CLEAN_VAL, TEST_BEST_VAL, TEST_LAST, dataset_columns
from trainables.run_data.realisation import held_out_count

if TYPE_CHECKING:
    from orchestrator.flags import StudyFlags
    from orchestrator.planning.plan import Values
    from orchestrator.sweeping.sweep import Cell, Sweep
    from orchestrator.sweeping.tasks import Task
    from orchestrator.sweeping.tuning import Tuning
    from orchestrator.tracking.archive import SweepArchive
    from orchestrator.tracking.background import BackgroundTracker
    from search_spaces.loader import LoadedStudy
    from search_spaces.schema import Study
    from trainables.run.parameters import Value
    from trainables.run.protocols import Protocol
    from trainables.run.recipe import Recipe
    from trainables.run.result import RunResult


class SweepRecorder:
    """Writer of a sweep in progress: its runs to MLflow, its plan to MLflow and to the archive."""

    def __init__(
        self,
        sweep: Sweep,
        loaded_study: LoadedStudy,
        archive: SweepArchive,
        tracker: BackgroundTracker,
        study_flags: StudyFlags | None = None,
    ) -> None:
        """Create the recorder of a sweep, and write the plan of the sweep.

        Args:
            sweep: sweep that has not been resumed; `SweepRecorder.resume` does this.
            loaded_study: study of the sweep, with the sources of its values.
            archive: archive of the sweep in the home folder.
            tracker: writer to the study's MLflow experiment.
            study_flags: flags of the sweep's command; None for a sweep without a command, whose
                plan has no commands that train its runs again.
        """
        self._sweep = sweep
        self._loaded_study = loaded_study
        self._archive = archive
        self._tracker = tracker
        self._study_flags = study_flags
        self._cells_by_run: dict[str, CellRecord] = {}
        self._saved_phase = sweep.phase
        self._is_resumed = False
        study_yaml = loaded_study.to_yaml()
        # The plan of an earlier process is kept until this process has made the same progress.
        plan = archive.read_plan() or self._plan_record()
        archive.write(plan, study_yaml, loaded_study.extensions.files)
        tracker.start_sweep(plan, study_yaml, loaded_study.extensions.files)

    def resume(self) -> int:
        """Resume the sweep from the runs that are recorded already, and save its plan.

        Returns:
            The number of recorded runs.
        """
        recorded_count = self._sweep.resume(self._on_run_end, self._on_budget_end)
        self._is_resumed = True
        self.save_plan()
        return recorded_count

    def _on_run_end(self, task: Task, result: RunResult) -> None:
        """Write a run that has ended to MLflow, and save the current plan of the sweep."""
        if not self._cells_by_run:
            cells = [
                cell_record(
                    cell, self._loaded_study, self._sweep.plan.sample_count, self._study_flags
                )
                for cell in self._sweep.cells
            ]
            self._cells_by_run = {digest: cell for cell in cells for digest in cell.digests}
        self._tracker.record(result, task.phase, self._cells_by_run.get(result.digest))
        if not self._is_resumed:
            return
        if self._sweep.phase is self._saved_phase:
            self._archive.write_plan(self._plan_record())
        else:
            self.save_plan()

    def _on_budget_end(self) -> None:
        """Save where the time budget has ended a phase, which holds for later starts."""
        if self._is_resumed:
            self._archive.write_plan(self._plan_record())

    def save_plan(self) -> PlanRecord:
        """Write the current plan of the sweep to the archive and to MLflow, and return the plan."""
        self._saved_phase = self._sweep.phase
        plan = self._plan_record()
        self._archive.write_plan(plan)
        self._tracker.update_plan(plan)
        return plan

    def _plan_record(self) -> PlanRecord:
        return plan_record(self._sweep, self._loaded_study, self._study_flags)


def plan_record(
    sweep: Sweep, loaded_study: LoadedStudy, study_flags: StudyFlags | None = None
) -> PlanRecord:
    """Return the record of a sweep's plan, with the current progress of the sweep.

    Args:
        sweep: sweep, in progress or finished.
        loaded_study: study of the sweep, with the sources of its values.
        study_flags: flags of the sweep's command; None for a sweep without a command.
    """
    plan, study, dataset = sweep.plan, sweep.plan.study, sweep.plan.dataset
    return PlanRecord(
        sweep=plan.digest,
        study=plan.name,
        title=study.title,
        dataset=DatasetRecord(
            name=dataset.name,
            title=source_of(study.dataset).title,
            digest=dataset.digest,
            classes=len(dataset.classes),
            train_size=len(dataset.train),
            test_size=len(dataset.test),
        ),
        backbone=backbone_of(study.backbone.name).title,
        subset=study.subset,
        test_subset=study.test_subset,
        epochs=matched_recipe(study).epochs,
        study_epochs=matched_recipe(study.with_training_length(None)).epochs,
        window=matched_recipe(study).window,
        scope=study.search.scope,
        protocol=plan.protocols_text,
        standard_error=plan.standard_error,
        headline="last epoch",
        deviations=list(applicable_deviations(study)),
        searches=[_tuning_record(tuning, loaded_study) for tuning in sweep.tunings],
        cells=[
            cell_record(cell, loaded_study, plan.sample_count, study_flags) for cell in sweep.cells
        ],
        scenario_epochs=_scenario_epochs(study),
        state="finished" if sweep.done else "running",
        fixed_seeds=dict(study.fixed_seeds),
        further=dataset_columns(dataset),
        protocols={name: protocol_on(study, name).identity for name in study.scenarios},
        code=study_code_hashes(study),
        trainings={name: _training_digest(study, name) for name in study.scenarios},
        has_other_scenarios=loaded_study.is_set_by_flag("scenarios"),
        budget_hours=study.budget.hours,
        is_budget_spent=not sweep.done and not sweep.budget.seconds_left,
        history=plan.history,
    )


def _training_digest(study: Study, scenario: str) -> str:
    """Return a digest of the network and the recipe that the methods of a study share."""
    backbone = study.backbone
    return digest_of(
        {
            "backbone": [backbone.name, dict(backbone.parameters)],
            "recipe": identity_of(matched_recipe(study, scenario)),
        }
    )


def _scenario_epochs(study: Study) -> dict[str, int]:
    """Return the number of epochs by scenario, where it differs from that of the study."""
    epochs_by_scenario = {name: matched_recipe(study, name).epochs for name in study.scenarios}
    return {
        name: epochs
        for name, epochs in epochs_by_scenario.items()
        if epochs != matched_recipe(study).epochs
    }


def _tuning_record(tuning: Tuning, loaded_study: LoadedStudy) -> TuningRecord:
    method, reference, study = tuning.plan.method, tuning.reference, loaded_study.study
    trial_runs = [runs for _, runs in sorted(tuning.trial_runs.items())]
    return TuningRecord(
        method=method,
        method_title=method_of(method).title,
        scenario=tuning.plan.scenario,
        serves=list(tuning.plan.served_scenarios),
        space=dict(tuning.space),
        trials=study.search.trials,
        digests=tuning.trial_digests,
        reference=None
        if reference is None
        else ReferenceRecord(
            dict(reference),
            describe_value_sources(loaded_study, method, reference, tuning.plan.scenario),
        ),
        candidates=[
            CandidateRecord(dict(candidate.values), candidate.origin, list(seed_group.results))
            for candidate, seed_group in tuning.candidates
        ],
        chosen=None if tuning.chosen_values is None else dict(tuning.chosen_values),
        chosen_digests=tuning.chosen_trial_digests,
        seeds=len(study.search.seeds),
        sampler=SAMPLER_TITLES[study.search.sampler],
        remedies=_remedies(tuning, study),
        scheduler=describe_scheduler(study, method, tuning.plan.scenario),
        stopped=[
            StoppedTrialRecord(position, len(runs.digests), runs.epoch)
            for position, runs in enumerate(trial_runs)
            if runs.is_stopped
        ],
        budget_trials=tuning.budget_trials,
        budget_seeds=tuning.budget_seeds,
    )


def _remedies(tuning: Tuning, study: Study) -> list[str]:
    """Return what is worth trying if the chosen values lose to cross entropy; [] without values."""
    if tuning.chosen_values is None:
        return []
    resolved = resolve(study, tuning.plan.method, tuning.plan.scenario)
    training = resolved.with_values(tuning.chosen_values)
    return list(method_of(tuning.plan.method).remedies(training.hyperparameters, training.recipe))


def cell_record(
    cell: Cell,
    loaded_study: LoadedStudy,
    sample_count: int,
    study_flags: StudyFlags | None = None,
) -> CellRecord:
    """Return the record of a cell, one entry of the results table.

    Args:
        cell: cell of the sweep: all seeds of one method, scenario and hyperparameter values.
        loaded_study: study of the sweep, with the sources of its values.
        sample_count: number of training samples that runs use, including held-out ones.
        study_flags: flags of the sweep's command; None for a sweep without a command.
    """
    is_tuned = cell.tuning is not None and cell.origin.startswith("tuned")
    trial_count = len(cell.tuning.search.measured_trials) if cell.tuning and is_tuned else 0
    resolved = resolve(loaded_study.study, cell.method, cell.scenario)
    training = resolved.training
    chosen_names = set(cell.seed_group.values)
    fixed_values = {
        name: value
        for name, value in resolved.sourced_hyperparameters.items()
        if name not in chosen_names
    }
    return CellRecord(
        method=cell.method,
        method_title=method_of(cell.method).title,
        scenario=cell.scenario,
        scenario_title=scenario_title(cell.scenario, loaded_study.study.dataset),
        one_draw=noise_of(cell.scenario).is_seed_independent,
        noise_rule=noise_of(cell.scenario).rule,
        values=dict(cell.seed_group.values),
        origin=cell.origin,
        trials=trial_count,
        source=_describe_cell_source(cell, loaded_study),
        seeds=[
            spec.seeds.base_seed(loaded_study.study.fixed_seeds) for spec in cell.seed_group.specs
        ],
        digests=[spec.digest for spec in cell.seed_group.specs],
        recipe=describe_recipe(resolved, protocol_on(loaded_study.study, cell.scenario)),
        reading="" if training.kind == "matched" else REPORTED_METRICS[training.selection],
        crossed=_crossed_record(cell, loaded_study.study),
        epochs=training.recipe.epochs,
        precision=_describe_precision(training.recipe),
        train_count=sample_count - held_out_count(resolved.hold_out(Phase.CONFIRM), sample_count),
        settings={name: _plain(value.value) for name, value in fixed_values.items()},
        setting_sources={
            name: loaded_study.source_of(value)
            if value.layer != "default"
            else method_of(cell.method).source
            for name, value in fixed_values.items()
        },
        command=train_command(cell, loaded_study, study_flags) if study_flags else "",
    )


def scenario_title(scenario: str, dataset: str) -> str:
    """Return the title of a scenario in tables: its label noise, such as "symmetric 40 %".

    Where nothing is added to labels that are not known to be correct, their noise is "real".

    Args:
        scenario: name of the scenario.
        dataset: name of the dataset.
    """
    has_real_noise = scenario == CLEAN and not source_of(dataset).has_true_labels
    return "real" if has_real_noise else noise_of(scenario).title


def _crossed_record(cell: Cell, study: Study) -> CrossedRecord | None:
    cross = study.confirm.cross
    if cross is None:
        return None
    digests = [spec.digest for spec in cell.crossed_group.specs]
    return CrossedRecord(list(cross.axes), list(cross.seeds), digests)


def _describe_precision(recipe: Recipe) -> str:
    """Return the number format of a recipe's forward pass, such as "float32 (TF32 allowed)"."""
    return f"{recipe.precision} (TF32 allowed)" if recipe.tf32 else recipe.precision


def _plain(value: Value) -> SettingValue:
    """Return the value of a hyperparameter, as text unless JSON has such values."""
    return value if isinstance(value, bool | int | float | str | None) else str(value)


REPORTED_METRICS = {
    EpochSelection.LAST: TEST_LAST,
    EpochSelection.NOISY: TEST_BEST_VAL,
    EpochSelection.CLEAN: TEST_BEST_CLEAN_VAL,
}
"""Name of the metric that a published recipe reports, by its rule for choosing the epoch."""


def describe_recipe(resolved: ResolvedMethod, matched_protocol: Protocol) -> str:
    """Describe the recipe of a method; "" for the matched recipe, which all methods share.

    Args:
        resolved: resolved settings of the method on a scenario, with its recipe.
        matched_protocol: protocol (rule that selects the averaged epochs) of the matched recipe.
    """
    training, own_protocol = resolved.training, resolved.protocol
    if training.kind == "matched":
        return ""
    mean_text = (
        f"; mean of {own_protocol.epochs_text}"
        if own_protocol.epochs_text != matched_protocol.epochs_text
        else ""
    )
    hold_out_text = f", {100 * training.hold_out:g} % held out" if training.hold_out else ""
    return (
        f"{training.kind} recipe ({training.source}): {training.recipe.epochs} epochs"
        f"{hold_out_text}, {training.selection}{mean_text}"
    )


def _describe_cell_source(cell: Cell, loaded_study: LoadedStudy) -> str:
    """Describe where the hyperparameter values of a cell come from."""
    if cell.origin.startswith("tuned") and cell.tuning is not None:
        return f"search on {cell.tuning.plan.scenario}"
    if cell.origin == "varied":
        return "varied by the study"
    return describe_value_sources(loaded_study, cell.method, cell.seed_group.values, cell.scenario)


def describe_value_sources(
    loaded_study: LoadedStudy, method: str, values: Values, scenario: str
) -> str:
    """Return the sources, such as a paper, of hyperparameter values that no search has found.

    Args:
        loaded_study: study, with the sources of its values.
        method: name of the method.
        values: hyperparameter values at the reference point (the paper's values); empty for the
            values that the study fixes.
        scenario: name of the scenario.

    Returns:
        Distinct sources, separated by semicolons; the publication of the method if all values are
        defaults.
    """
    reference_by_name = reference_with_sources(loaded_study.study, method)
    values_by_name = resolve(loaded_study.study, method, scenario).sourced_hyperparameters
    sourced_values = [reference_by_name[name] for name in values if name in reference_by_name]
    if not values:
        sourced_values = [
            values_by_name[name] for name in sorted(values_by_name) if name not in reference_by_name
        ]
    sources = dict.fromkeys(
        loaded_study.source_of(value) for value in sourced_values if value.layer != "default"
    )
    return "; ".join(sources) or method_of(method).source
