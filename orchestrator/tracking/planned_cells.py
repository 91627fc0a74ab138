"""The table entries (cells) that a shipped study would train, without its dataset."""

from __future__ import annotations

from typing import TYPE_CHECKING

from orchestrator.tracking.recording import (
    REPORTED_METRICS,
    describe_recipe,
    describe_value_sources,
    scenario_title,
)
from reports.paper_tables import PlannedStudy
from reports.plan_record import CellRecord
from search_spaces.loader import load_study
from search_spaces.resolve import confirm_cell_values, protocol_on, reference_of, resolve
from trainables.backbones import backbone_of
from trainables.datasets import source_of
from trainables.methods import method_of
from trainables.noise import noise_of
from trainables.run.parameters import active_spaces

if TYPE_CHECKING:
    from collections.abc import Iterator

    from orchestrator.planning.plan import Values
    from search_spaces.loader import LoadedStudy


def plan_study(name: str) -> PlannedStudy:
    """Return what a shipped study would train.

    Args:
        name: name of the study.

    Raises:
        StudyError: if there is no such study.
    """
    loaded_study = load_study(name)
    study = loaded_study.study
    return PlannedStudy(
        name=name,
        dataset=source_of(study.dataset).title,
        backbone=backbone_of(study.backbone.name).title,
        cells=tuple(
            _cell_record(loaded_study, method, scenario, origin, values)
            for scenario in study.scenarios
            for method in study.methods
            for origin, values in _iter_values(loaded_study, method)
        ),
    )


def _iter_values(loaded_study: LoadedStudy, method: str) -> Iterator[tuple[str, Values]]:
    """Yield origin and hyperparameter values of a method's cells; none for those to be tuned."""
    study = loaded_study.study
    if method in study.tune:
        yield "tuned", {}
        reference = reference_of(study, method)
        if reference is not None:
            active = active_spaces(study.space_of(method), reference)
            yield "reference", {name: reference.scalar(name) for name in active}
        return
    origin = "varied" if study.vary.get(method) else "fixed"
    for values in confirm_cell_values(study, method):
        yield origin, dict(values)


def _cell_record(
    loaded_study: LoadedStudy, method: str, scenario: str, origin: str, values: Values
) -> CellRecord:
    study = loaded_study.study
    resolved = resolve(study, method, scenario)
    training = resolved.training
    seeds = list(study.confirm.seeds)
    return CellRecord(
        method=method,
        method_title=method_of(method).title,
        scenario=scenario,
        scenario_title=scenario_title(scenario, study.dataset),
        one_draw=noise_of(scenario).is_seed_independent,
        values=dict(values),
        origin=origin,
        trials=study.search.trials if origin == "tuned" else 0,
        source="a search"
        if origin == "tuned"
        else describe_value_sources(loaded_study, method, values, scenario),
        seeds=seeds,
        digests=[""] * len(seeds),
        recipe=describe_recipe(resolved, protocol_on(study, scenario)),
        reading="" if training.kind == "matched" else REPORTED_METRICS[training.selection],
    )
