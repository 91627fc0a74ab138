"""A run out of memory in MLflow and in tables, before and after its retry."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from factories import cell_specs, make_cell, make_plan, make_result
from stores import fresh_store

from orchestrator.tracking.tracker import Tracker
from reports.comparison import comparison_table
from reports.read import read_sweep
from reports.store import open_store
from search_spaces.schema import Phase
from trainables.run.result import Status

if TYPE_CHECKING:
    from pathlib import Path


def test_a_run_out_of_memory_is_replaced_by_its_retry(tmp_path: Path) -> None:
    uri = fresh_store(tmp_path)
    cell = make_cell("ce")
    plan = make_plan([cell])
    good, complete_retry, other = (
        make_result(spec, accuracy=0.5)
        for spec in cell_specs(cell.method, cell.scenario, cell.seeds, cell.values)
    )
    out_of_memory = replace(
        complete_retry, status=Status.OUT_OF_MEMORY, reason="in epoch 1 (short)", trace=[]
    )

    def entry() -> tuple[str, str]:
        table = comparison_table(*read_sweep(uri))
        first = table.sections[0].rows[0].entries[0]
        return first.text, first.remark

    tracker = Tracker(uri, tmp_path / "artifacts", "digits")
    tracker.start_sweep(plan, "title: x\n")
    for result in (good, out_of_memory, other):
        tracker.record(result, Phase.CONFIRM, cell)
    assert entry() == ("50.00 ± 0.00", "1 out of memory")

    again = Tracker(uri, tmp_path / "artifacts", "digits")
    again.start_sweep(plan, "title: x\n")
    for result in (good, out_of_memory, complete_retry, other):
        again.record(result, Phase.CONFIRM, cell)
    assert entry() == ("50.00 ± 0.00", "")
    client = open_store(uri)
    experiment = client.get_experiment_by_name("digits")
    assert experiment is not None
    runs = client.search_runs([experiment.experiment_id], "tags.`nal.kind` = 'run'")
    assert sorted(run.data.tags["nal.status"] for run in runs) == ["finished"] * 3
    (cell_run,) = client.search_runs([experiment.experiment_id], "tags.`nal.kind` = 'cell'")
    assert (cell_run.data.metrics["n"], cell_run.info.status) == (3, "FINISHED")
