"""Writing down a sweep as it goes: in its archive under the home, and in MLflow."""

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
from search_spaces.resolve import Training, matched_recipe, reference_values, resolve
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
    from trainables.run.result import RunResult


class Recorder:
    """Listens to a sweep and writes down what it hears."""

    def __init__(
        self, sweep: Sweep, loaded: LoadedStudy, archive: SweepArchive, tracker: BackgroundTracker
    ) -> None:
        """Begin to write, before the sweep does.

        Args:
            sweep: about to be carried out.
            loaded: its study, with the sources of its values.
            archive: of the sweep.
            tracker: of its study.
        """
        self._sweep = sweep
        self._loaded = loaded
        self._archive = archive
        self._tracker = tracker
        self._cells: dict[str, CellRecord] = {}
        self._phase = sweep.phase
        self._resumed = False
        study_yaml = loaded.to_yaml()
        # What an earlier start found out stays on record until this one has come as far.
        plan = archive.plan()
        if plan is None:
            plan = plan_record(sweep, loaded)
            archive.write(plan, study_yaml)
        tracker.start_sweep(plan, study_yaml)

    def resume(self) -> int:
        """Let the sweep take up what is recorded, then write down where that has brought it.

        Returns:
            How many recorded runs were taken up.
        """
        recorded = self._sweep.resume(self._ended)
        self._resumed = True
        self.update()
        return recorded

    def _ended(self, task: Task, result: RunResult) -> None:
        """Write down a run that ended, and how far that brings the sweep."""
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
        """Write down how far the sweep is, in MLflow too."""
        self._phase = self._sweep.phase
        plan = plan_record(self._sweep, self._loaded)
        self._archive.write_plan(plan)
        self._tracker.update_plan(plan)
        return plan


def plan_record(sweep: Sweep, loaded: LoadedStudy) -> PlanRecord:
    """Write down how far a sweep is.

    Args:
        sweep: being carried out, or done.
        loaded: its study, with the sources of its values.
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
        protocol=plan.protocol.name,
        standard_error=plan.protocol.standard_error,
        headline="last epoch",
        deviations=list(study.deviations),
        searches=[_search(tuning, loaded, study.search.trials) for tuning in sweep.tunings],
        cells=[cell_record(cell, loaded) for cell in sweep.cells],
        scenario_epochs=_scenario_epochs(study),
        state="finished" if sweep.done else "running",
        fixed_seeds=dict(study.fixed_seeds),
        further=further_readings(dataset),
    )


def _scenario_epochs(study: Study) -> dict[str, int]:
    """Return the length of a matched training where it is not the study's."""
    lengths = {name: matched_recipe(study, name).epochs for name in study.scenarios}
    return {
        name: epochs for name, epochs in lengths.items() if epochs != matched_recipe(study).epochs
    }


def _search(tuning: Tuning, loaded: LoadedStudy, trials: int) -> TuningRecord:
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
    """Write down a cell of the confirm phase."""
    trials = len(cell.tuning.digests) if cell.tuning and cell.origin.startswith("tuned") else 0
    training = resolve(loaded.study, cell.method, cell.scenario).training
    return CellRecord(
        method=cell.method,
        method_title=method_of(cell.method).title,
        scenario=cell.scenario,
        scenario_title=noise_of(cell.scenario).title,
        values=dict(cell.batch.values),
        origin=cell.origin,
        trials=trials,
        source=_source(cell, loaded),
        seeds=[spec.seeds.init for spec in cell.batch.specs],
        digests=[spec.digest for spec in cell.batch.specs],
        recipe=_in_words(training),
        reading="" if training.kind == "matched" else READINGS[training.selection],
    )


READINGS = {
    Selection.LAST: TEST_LAST,
    Selection.NOISY: TEST_BEST_VAL,
    Selection.CLEAN: TEST_BEST_CLEAN_VAL,
}
"""Metric of the number that a recipe reports, by the epoch that it takes it from."""


def _in_words(training: Training) -> str:
    if training.kind == "matched":
        return ""
    held = f", {100 * training.hold_out:g} % held out" if training.hold_out else ""
    return (
        f"{training.kind} recipe ({training.source}): {training.recipe.epochs} epochs{held}, "
        f"{training.selection}"
    )


def _source(cell: Cell, loaded: LoadedStudy) -> str:
    if cell.origin.startswith("tuned") and cell.tuning is not None:
        return f"search on {cell.tuning.plan.scenario}"
    if cell.origin == "varied":
        return "varied by the study"
    return values_source(loaded, cell.method, cell.batch.values, cell.scenario)


def values_source(loaded: LoadedStudy, method: str, values: Values, scenario: str) -> str:
    """Say where a method's fixed or reference values come from; its definition if it has none."""
    reference = reference_values(loaded.study, method)
    sourced = resolve(loaded.study, method, scenario).values
    chosen = [reference[name] for name in values if name in reference]
    if not values:
        chosen = [sourced[name] for name in sorted(sourced) if name not in reference]
    texts = dict.fromkeys(loaded.source_of(one) for one in chosen if one.layer != "default")
    return "; ".join(texts) or method_of(method).source
