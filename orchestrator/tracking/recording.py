"""Records of a sweep in progress, written to its archive in the home folder and to MLflow."""

from __future__ import annotations

from typing import TYPE_CHECKING

from reports.plan_record import (
    CandidateRecord,
    CellRecord,
    DatasetRecord,
    PlanRecord,
    ReferenceRecord,
    TuningRecord,
)
from search_spaces.identity import study_code
from search_spaces.resolve import (
    ResolvedMethod,
    matched_recipe,
    protocol_on,
    reference_values,
    resolve,
)
from trainables.backbones import backbone_of
from trainables.datasets import source_of
from trainables.methods import method_of
from trainables.methods.published import Selection
from trainables.noise import noise_of
from trainables.run.metrics import TEST_BEST_CLEAN_VAL, TEST_BEST_VAL, TEST_LAST, further_readings

if TYPE_CHECKING:
    from orchestrator.planning.plan import Values
    from orchestrator.sweeping.sweep import Cell, Sweep
    from orchestrator.sweeping.tasks import Task
    from orchestrator.sweeping.tuning import Tuning
    from orchestrator.tracking.archive import SweepArchive
    from orchestrator.tracking.background import BackgroundTracker
    from search_spaces.loader import LoadedStudy
    from search_spaces.schema import Study
    from trainables.run.protocols import Protocol
    from trainables.run.result import RunResult


class Recorder:
    """Recorder of a sweep.

    It writes each run that ends to MLflow, and the plan of the sweep to MLflow and to the archive.
    """

    def __init__(
        self, sweep: Sweep, loaded: LoadedStudy, archive: SweepArchive, tracker: BackgroundTracker
    ) -> None:
        """Create the recorder of a sweep, and write the plan of the sweep.

        Args:
            sweep: sweep whose recorded runs have not been read yet; see `resume`.
            loaded: study of the sweep, with the sources of its values.
            archive: archive of the sweep.
            tracker: writer to the study's MLflow experiment.
        """
        self._sweep = sweep
        self._loaded = loaded
        self._archive = archive
        self._tracker = tracker
        self._cells: dict[str, CellRecord] = {}
        self._phase = sweep.phase
        self._resumed = False
        study_yaml = loaded.to_yaml()
        # The plan of an earlier start stays until this start has made the same progress.
        plan = archive.plan()
        if plan is None:
            plan = plan_record(sweep, loaded)
            archive.write(plan, study_yaml, loaded.extensions.files)
        tracker.start_sweep(plan, study_yaml, loaded.extensions.files)

    def resume(self) -> int:
        """Let the sweep process its recorded runs, and write its plan.

        Returns:
            The number of recorded runs.
        """
        recorded = self._sweep.resume(self._on_end)
        self._resumed = True
        self.update()
        return recorded

    def _on_end(self, task: Task, result: RunResult) -> None:
        """Record a run that has ended in MLflow, and save the current plan of the sweep."""
        if not self._cells:
            cells = [cell_record(cell, self._loaded) for cell in self._sweep.cells]
            self._cells = {digest: cell for cell in cells for digest in cell.digests}
        self._tracker.record(result, task.phase, self._cells.get(result.digest))
        if not self._resumed:
            return
        if self._sweep.phase is self._phase:
            self._archive.write_plan(plan_record(self._sweep, self._loaded))
        else:
            self.update()

    def update(self) -> PlanRecord:
        """Write the current plan of the sweep to the archive and to MLflow, and return it."""
        self._phase = self._sweep.phase
        plan = plan_record(self._sweep, self._loaded)
        self._archive.write_plan(plan)
        self._tracker.update_plan(plan)
        return plan


def plan_record(sweep: Sweep, loaded: LoadedStudy) -> PlanRecord:
    """Return the record of a sweep's plan in its current state.

    Args:
        sweep: sweep, in progress or finished.
        loaded: study of the sweep, with the sources of its values.
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
        epochs=matched_recipe(study).epochs,
        window=matched_recipe(study).window,
        scope=study.search.scope,
        protocol=plan.chosen_by,
        standard_error=plan.standard_error,
        headline="last epoch",
        deviations=list(study.deviations),
        searches=[_tuning_record(tuning, loaded, study.search.trials) for tuning in sweep.tunings],
        cells=[cell_record(cell, loaded) for cell in sweep.cells],
        scenario_epochs=_scenario_epochs(study),
        state="finished" if sweep.done else "running",
        fixed_seeds=dict(study.fixed_seeds),
        further=further_readings(dataset),
        protocols={name: protocol_on(study, name).identity for name in study.scenarios},
        code=study_code(study),
    )


def _scenario_epochs(study: Study) -> dict[str, int]:
    """Return the number of epochs of the matched recipe, by scenario.

    Only scenarios are included whose number differs from that of the study.
    """
    epochs_by_scenario = {name: matched_recipe(study, name).epochs for name in study.scenarios}
    return {
        name: epochs
        for name, epochs in epochs_by_scenario.items()
        if epochs != matched_recipe(study).epochs
    }


def _tuning_record(tuning: Tuning, loaded: LoadedStudy, trials: int) -> TuningRecord:
    method, reference = tuning.plan.method, tuning.reference
    return TuningRecord(
        method=method,
        method_title=method_of(method).title,
        scenario=tuning.plan.scenario,
        serves=list(tuning.plan.serves),
        space=dict(tuning.space),
        trials=trials,
        digests=list(tuning.digests),
        reference=None
        if reference is None
        else ReferenceRecord(
            dict(reference), values_source(loaded, method, reference, tuning.plan.scenario)
        ),
        candidates=[
            CandidateRecord(dict(candidate.values), candidate.origin, list(batch.results))
            for candidate, batch in tuning.candidates
        ],
        chosen=None if tuning.chosen is None else dict(tuning.chosen),
    )


def cell_record(cell: Cell, loaded: LoadedStudy) -> CellRecord:
    """Return the record of a cell of the confirm phase.

    Args:
        cell: cell of the sweep: all seeds of one method, scenario and values.
        loaded: study of the sweep, with the sources of its values.
    """
    trials = len(cell.tuning.digests) if cell.tuning and cell.origin.startswith("tuned") else 0
    resolved = resolve(loaded.study, cell.method, cell.scenario)
    training = resolved.training
    return CellRecord(
        method=cell.method,
        method_title=method_of(cell.method).title,
        scenario=cell.scenario,
        scenario_title=noise_of(cell.scenario).title,
        one_draw=noise_of(cell.scenario).one_draw,
        values=dict(cell.batch.values),
        origin=cell.origin,
        trials=trials,
        source=_cell_source(cell, loaded),
        seeds=[spec.seeds.init for spec in cell.batch.specs],
        digests=[spec.digest for spec in cell.batch.specs],
        recipe=_describe_recipe(resolved, protocol_on(loaded.study, cell.scenario)),
        reading="" if training.kind == "matched" else REPORTED_METRICS[training.selection],
    )


REPORTED_METRICS = {
    Selection.LAST: TEST_LAST,
    Selection.NOISY: TEST_BEST_VAL,
    Selection.CLEAN: TEST_BEST_CLEAN_VAL,
}
"""Metric that a published recipe reports, by its rule that selects the epoch."""


def _describe_recipe(resolved: ResolvedMethod, matched_protocol: Protocol) -> str:
    """Return a description of a recipe that is not matched; "" for the matched recipe.

    Args:
        resolved: resolved settings of a method on a scenario, with its recipe.
        matched_protocol: protocol (rule that names the averaged epochs) of the matched recipe.
    """
    training, own_protocol = resolved.training, resolved.protocol
    if training.kind == "matched":
        return ""
    mean = (
        f"; mean of {own_protocol.averaged}"
        if own_protocol.averaged != matched_protocol.averaged
        else ""
    )
    hold_out = f", {100 * training.hold_out:g} % held out" if training.hold_out else ""
    return (
        f"{training.kind} recipe ({training.source}): {training.recipe.epochs} epochs{hold_out}, "
        f"{training.selection}{mean}"
    )


def _cell_source(cell: Cell, loaded: LoadedStudy) -> str:
    if cell.origin.startswith("tuned") and cell.tuning is not None:
        return f"search on {cell.tuning.plan.scenario}"
    if cell.origin == "varied":
        return "varied by the study"
    return values_source(loaded, cell.method, cell.batch.values, cell.scenario)


def values_source(loaded: LoadedStudy, method: str, values: Values, scenario: str) -> str:
    """Return a text that names the sources of a method's fixed or reference values.

    Args:
        loaded: study, with the sources of its values.
        method: name of the method.
        values: hyperparameter values that the study fixes, or those of the NAL paper.
        scenario: name of the scenario.

    Returns:
        Distinct sources, separated by semicolons; the source of the method itself if there are
        none.
    """
    reference_by_name = reference_values(loaded.study, method)
    values_by_name = resolve(loaded.study, method, scenario).values
    sourced_values = [reference_by_name[name] for name in values if name in reference_by_name]
    if not values:
        sourced_values = [
            values_by_name[name] for name in sorted(values_by_name) if name not in reference_by_name
        ]
    texts = dict.fromkeys(
        loaded.source_of(value) for value in sourced_values if value.layer != "default"
    )
    return "; ".join(texts) or method_of(method).source
