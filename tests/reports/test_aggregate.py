from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
from factories import cell_specs, make_cell, make_plan, make_result
from recorded import recorded_runs

from reports.aggregate import Statistic, summarise_cells
from trainables.errors import RecordError
from trainables.run.spec import REVISION

if TYPE_CHECKING:
    from trainables.run.result import RunResult


def results_of(
    method: str, accuracies: list[float | None], scenario: str = "symmetric-0.4"
) -> list[RunResult]:
    """Return results of seeds 0, 1, ... with these accuracies; None for a run that diverged."""
    cell = make_cell(method, scenario, range(len(accuracies)))
    specs = cell_specs(method, scenario, cell.seeds, cell.values)
    return [
        make_result(spec, accuracy=accuracy or 0.0, diverged_at=None if accuracy else 2)
        for spec, accuracy in zip(specs, accuracies, strict=True)
    ]


def test_standard_deviation_is_the_samples() -> None:
    statistic = Statistic.of([10.0, 20.0, 30.0])
    assert statistic.mean == pytest.approx(20.0)
    assert statistic.std == pytest.approx(10.0)
    assert statistic.n == 3
    assert Statistic.of([50.0]) == Statistic(50.0, None, 1)
    assert Statistic.of([]) == Statistic(None, None, 0)


def test_a_cell_is_summarised_by_accuracy_kind() -> None:
    plan = make_plan([make_cell(seeds=range(3))])
    (summary,) = summarise_cells(plan, recorded_runs(results_of("nal", [0.90, 0.92, 0.97])))
    last = summary.statistics["test/accuracy_last"]
    assert last.mean == pytest.approx(93.0)
    assert last.std == pytest.approx(3.60555, abs=1e-5)
    assert summary.accuracies["test/accuracy_last"] == pytest.approx({0: 90.0, 1: 92.0, 2: 97.0})
    assert summary.statistics["test/accuracy_best_val"].mean == pytest.approx(94.0)
    assert (summary.diverged_count, summary.missing_seeds, summary.is_complete) == (0, (), True)
    assert summary.flip_rate == pytest.approx(0.4)


def test_missing_and_diverged_seeds_are_counted_separately() -> None:
    plan = make_plan([make_cell(seeds=range(5))])
    (summary,) = summarise_cells(plan, recorded_runs(results_of("nal", [0.9, None, 0.92])))
    assert summary.statistics["test/accuracy_last"].n == 2
    assert summary.statistics["test/accuracy_last"].mean == pytest.approx(91.0)
    assert (summary.diverged_count, summary.missing_seeds, summary.is_complete) == (
        1,
        (3, 4),
        False,
    )


def test_a_cell_without_runs_has_no_mean() -> None:
    (summary,) = summarise_cells(make_plan([make_cell()]), recorded_runs([]))
    assert summary.statistics["test/accuracy_last"] == Statistic(None, None, 0)
    assert (summary.missing_seeds, summary.flip_rate) == ((0, 1, 2), None)


def test_methods_with_different_labels_are_not_compared() -> None:
    nal, ce = results_of("nal", [0.9, 0.9]), results_of("ce", [0.7, 0.7])
    other = replace(ce[1].labels, sha256="f" * 64)
    plan = make_plan([make_cell("nal", seeds=(0, 1)), make_cell("ce", seeds=(0, 1))])
    summarise_cells(plan, recorded_runs([*nal, *ce]))
    nal_labels = nal[1].labels.sha256[:12]
    message = (
        rf"^symmetric-0\.4, seed 1: nal .* {nal_labels}, ce on ffffffffffff; methods trained on"
    )
    with pytest.raises(RecordError, match=message):
        summarise_cells(plan, recorded_runs([*nal, ce[0], replace(ce[1], labels=other)]))


def test_labels_may_differ_between_scenarios() -> None:
    scenarios = ("symmetric-0.4", "symmetric-0.2")
    plan = make_plan([make_cell("nal", name, seeds=(0,)) for name in scenarios])
    runs = [result for name in scenarios for result in results_of("nal", [0.9], name)]
    assert len(summarise_cells(plan, recorded_runs(runs))) == 2


def test_device_names_are_collected() -> None:
    first, second = results_of("nal", [0.9, 0.9])
    second = replace(second, provenance={**second.provenance, "device": "cuda: NVIDIA A100"})
    (cell,) = summarise_cells(make_plan([make_cell(seeds=(0, 1))]), recorded_runs([first, second]))
    assert cell.devices == {"cpu", "cuda: NVIDIA A100"}


def test_runs_of_two_revisions_are_not_pooled() -> None:
    nal, ce = results_of("nal", [0.9]), results_of("ce", [0.7])
    plan = make_plan([make_cell("nal", seeds=(0,)), make_cell("ce", seeds=(0,))])
    first, second = recorded_runs([*nal, *ce])
    with pytest.raises(RecordError) as error:
        summarise_cells(plan, [first, replace(second, revision=REVISION + 1)])
    assert str(error.value) == (
        f"runs made by revisions {REVISION} and {REVISION + 1} of the training code cannot be "
        "compared: run the sweep's command again, which repeats the runs of the older revision"
    )


def test_a_stopped_run_is_missing() -> None:
    first, second = recorded_runs(results_of("nal", [0.9, 0.8]))
    runs = [first, replace(second, status="stopped")]
    (summary,) = summarise_cells(make_plan([make_cell(seeds=range(2))]), runs)
    assert (summary.missing_seeds, summary.statistics["test/accuracy_last"].n) == ((1,), 1)


def test_changes_of_device_and_version_are_collected() -> None:
    first, second = results_of("nal", [0.9, 0.8])
    changes = {"device": "cpu: AVX2, then cuda: A100", "torch": "2.6.0, then 2.7.0"}
    second = replace(second, provenance={**second.provenance, **changes})
    (summary,) = summarise_cells(
        make_plan([make_cell(seeds=range(2))]), recorded_runs([first, second])
    )
    text = "device cpu: AVX2, then cuda: A100; torch 2.6.0, then 2.7.0"
    assert summary.environment_changes == {1: text}
