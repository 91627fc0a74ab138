from __future__ import annotations

from typing import TYPE_CHECKING, cast

import pytest
from fake_runs import record_run
from plans import Driver, random_data, searches_of, small_study

from orchestrator.planning.plan import Plan
from orchestrator.sweeping.budget import NO_BUDGET, Budget
from orchestrator.sweeping.sweep import Sweep
from orchestrator.tracking.archive import SweepArchive
from orchestrator.tracking.projection import crossed_cell
from orchestrator.tracking.recording import (
    SweepRecorder,
    describe_value_sources,
    plan_record,
    scenario_title,
)
from search_spaces.schema import Phase
from trainables.methods import method_of

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from orchestrator.tracking.background import BackgroundTracker
    from orchestrator.tracking.projection import RunPhase
    from reports.plan_record import CellRecord, PlanRecord
    from search_spaces.loader import LoadedStudy
    from trainables.run.result import RunResult


class FakeTracker:
    """A tracker that stores the plans and runs it receives."""

    def __init__(self) -> None:
        self.plans: list[PlanRecord] = []
        self.runs: list[tuple[str, RunPhase, CellRecord | None]] = []

    def start_sweep(self, plan: PlanRecord, study_yaml: str, code: Mapping[str, str]) -> None:
        assert code == {}
        assert "title: a small study" in study_yaml
        self.plans.append(plan)

    def update_plan(self, plan: PlanRecord) -> None:
        self.plans.append(plan)

    def record(self, result: RunResult, phase: RunPhase, cell: CellRecord | None) -> None:
        self.runs.append((result.digest, phase, cell))


@pytest.fixture
def loaded() -> LoadedStudy:
    return small_study()


def recorded_sweep(
    home: Path, loaded: LoadedStudy, budget: Budget = NO_BUDGET
) -> tuple[Sweep, SweepRecorder, FakeTracker]:
    plan = Plan("small", loaded.study, random_data())
    sweep, tracker = Sweep(plan, home, searches_of(home), budget=budget), FakeTracker()
    archive = SweepArchive.of(home, plan.digest)
    recorder = SweepRecorder(sweep, loaded, archive, cast("BackgroundTracker", tracker))
    recorder.resume()
    return sweep, recorder, tracker


def finish_sweep(sweep: Sweep, home: Path) -> None:
    while (task := sweep.next()) is not None:
        sweep.end(task, record_run(home, task.spec))


def test_each_run_is_recorded_once_with_its_phase_and_cell(
    tmp_path: Path, loaded: LoadedStudy
) -> None:
    sweep, recorder, tracker = recorded_sweep(tmp_path, loaded)
    finish_sweep(sweep, tmp_path)
    final = recorder.save_plan()
    assert final.state == "finished"
    assert {digest for digest, _, _ in tracker.runs} == final.digests
    assert len(tracker.runs) == len(final.digests)
    cells = {digest: cell for cell in final.cells for digest in cell.digests}
    for digest, phase, cell in tracker.runs:
        assert (phase is Phase.CONFIRM) is (digest in cells)
        assert cell == cells.get(digest)


def test_the_plan_is_written_as_phases_begin(tmp_path: Path, loaded: LoadedStudy) -> None:
    sweep, recorder, tracker = recorded_sweep(tmp_path, loaded)
    first = tracker.plans[0]
    assert first.state == "running"
    assert first.cells == []
    assert first.searches[0].chosen is None
    finish_sweep(sweep, tmp_path)
    recorder.save_plan()
    chosen = [plan.searches[0].chosen for plan in tracker.plans]
    assert chosen[-2] == chosen[-1] == sweep.tunings[0].chosen_values
    plan, _ = SweepArchive.of(tmp_path, sweep.plan.digest).read_plan_and_study()
    assert plan == tracker.plans[-1]


class CountBudget(Budget):
    """Budget with the time for three trials, and for one seed of select."""

    def allows_trial(self, position: int, trial_count: int) -> bool:  # noqa: ARG002
        return trial_count < 3

    def allows_seed(self, position: int, seed_count: int) -> bool:  # noqa: ARG002
        return seed_count < 1


def test_the_plan_says_where_the_budget_ends_a_phase_before_a_later_run_starts(
    tmp_path: Path, loaded: LoadedStudy
) -> None:
    sweep, _, _ = recorded_sweep(tmp_path, loaded, CountBudget())
    archive = SweepArchive.of(tmp_path, sweep.plan.digest)
    expected = {Phase.SEARCH: (None, None), Phase.SELECT: (3, None), Phase.CONFIRM: (3, 1)}
    phases = []
    while (task := sweep.next()) is not None:
        plan = archive.read_plan()
        assert plan is not None
        (search,) = plan.searches
        assert (search.budget_trials, search.budget_seeds) == expected[task.phase]
        phases.append(task.phase)
        sweep.end(task, record_run(tmp_path, task.spec))
    assert set(phases) == set(Phase)


def test_a_resumed_sweep_records_its_runs_again(tmp_path: Path, loaded: LoadedStudy) -> None:
    finish_sweep(recorded_sweep(tmp_path, loaded)[0], tmp_path)
    sweep, recorder, tracker = recorded_sweep(tmp_path, loaded)
    assert sweep.done
    final = recorder.save_plan()
    assert {digest for digest, _, _ in tracker.runs} == final.digests
    assert sum(cell is not None for _, _, cell in tracker.runs) == sum(
        len(cell.digests) for cell in final.cells
    )


def test_the_plan_of_a_finished_sweep(tmp_path: Path, loaded: LoadedStudy) -> None:
    plan = Plan("small", loaded.study, random_data())
    sweep = Driver(plan, tmp_path).run().sweep
    record = plan_record(sweep, loaded)
    assert (record.sweep, record.study, record.epochs, record.window) == (
        plan.digest,
        "small",
        6,
        3,
    )
    assert (record.dataset.train_size, record.dataset.test_size) == (100, 40)
    assert record.standard_error == pytest.approx((0.25 / 30) ** 0.5)
    (search,) = record.searches
    assert (search.trials, len(search.digests)) == (4, 4)
    assert search.reference is not None
    assert search.reference.values == {"lambda": 0.5, "alpha": 0.9}
    assert [len(candidate.digests) for candidate in search.candidates] == [2] * len(
        search.candidates
    )
    ce, tuned, reference = record.cells
    assert (ce.origin, ce.trials, ce.source) == ("fixed", 0, method_of("ce").source)
    assert (tuned.origin, tuned.trials, tuned.source) == ("tuned", 4, "search on symmetric-0.4")
    assert (reference.origin, reference.trials) == ("reference", 0)
    assert tuned.values == search.chosen
    assert tuned.seeds == [0, 1]
    # The momentum is that of digits; the first of 6 epochs is a sixth.
    assert [text.partition(" (")[0] for text in search.remedies] == ["a larger λ"]


def test_remedies_are_what_the_study_does_not_have(tmp_path: Path) -> None:
    loaded = small_study(sets=("recipe.momentum=0.5",))
    plan = Plan("small", loaded.study, random_data())
    driver = Driver(plan, tmp_path).run(max_runs=5)
    (search,) = plan_record(driver.sweep, loaded).searches
    assert search.remedies == []  # nothing is chosen yet
    (search,) = plan_record(driver.run().sweep, loaded).searches
    texts = [text.partition(" (")[0] for text in search.remedies]
    assert texts == ["a larger λ", "recipe.momentum=0.9"]


def test_the_plan_of_an_unfinished_sweep(tmp_path: Path, loaded: LoadedStudy) -> None:
    plan = Plan("small", loaded.study, random_data())
    record = plan_record(Driver(plan, tmp_path).run(max_runs=5).sweep, loaded)
    assert record.state == "running"
    assert len(record.searches[0].digests) == 4
    assert record.cells == []


def test_the_plan_has_the_deviations_that_hold(tmp_path: Path) -> None:
    entries = "{text: of NAL, when: {methods: nal}}, {text: of PLC, when: {methods: plc}}, of all"
    _, recorder, _ = recorded_sweep(tmp_path, small_study(sets=(f"deviations=[{entries}]",)))

    assert recorder.save_plan().deviations[:2] == ["of NAL", "of all"]


def test_the_sources_of_values(loaded: LoadedStudy) -> None:
    source = describe_value_sources(loaded, "nal", {"lambda": 0.5, "alpha": 0.9}, "symmetric-0.4")
    assert "small.yaml:9" in source
    assert describe_value_sources(loaded, "ce", {}, "symmetric-0.4") == method_of("ce").source


def test_cells_record_what_was_trained(tmp_path: Path, loaded: LoadedStudy) -> None:
    plan = Plan("small", loaded.study, random_data())
    record = plan_record(Driver(plan, tmp_path).run().sweep, loaded)
    nal = next(cell for cell in record.cells if cell.method == "nal")
    assert (nal.epochs, nal.precision, record.study_epochs) == (6, "float32", 6)
    assert nal.noise_rule == "excludes the true class"
    assert nal.train_count == 70  # of 100 samples, 30 % are held out
    assert "lambda" not in nal.settings
    assert nal.settings["beta"] == 0.0
    assert nal.setting_sources.keys() == nal.settings.keys()
    assert not record.has_other_scenarios
    (search,) = record.searches
    assert search.chosen_digests in search.runs_by_trial


def test_seeds_of_a_cell_differ_if_the_initial_weights_are_held_fixed(tmp_path: Path) -> None:
    loaded = small_study(sets=("fixed_seeds={init: 7, subset: 0}",), trials=1)
    plan = Plan("small", loaded.study, random_data())
    record = plan_record(Driver(plan, tmp_path).run().sweep, loaded)
    assert [cell.seeds for cell in record.cells] == [[0, 1]] * len(record.cells)


def test_a_flag_that_replaces_the_scenarios_is_recorded(tmp_path: Path) -> None:
    loaded = small_study(scenarios=["clean"], epochs=3)
    plan = Plan("small", loaded.study, random_data())
    record = plan_record(Driver(plan, tmp_path).run(max_runs=1).sweep, loaded)
    assert record.has_other_scenarios
    assert (record.epochs, record.study_epochs) == (3, 6)


def test_the_plan_has_runs_with_crossed_seeds_before_they_are_recorded(tmp_path: Path) -> None:
    loaded = small_study(sets=("confirm.cross={axes: [noise, init], seeds: [3, 4]}",), trials=1)
    sweep, _, tracker = recorded_sweep(tmp_path, loaded)
    crossed_count = 0
    while (task := sweep.next()) is not None:
        sweep.end(task, record_run(tmp_path, task.spec))
        if tracker.runs[-1][1:] == (Phase.CONFIRM, None):
            assert crossed_cell(tracker.plans[-1], task.spec.digest) is not None
            crossed_count += 1
    assert crossed_count == 4 * len(sweep.cells)


def test_labels_that_nobody_has_checked_are_not_called_clean() -> None:
    assert scenario_title("clean", "animal10n") == "real"
    assert scenario_title("clean", "cifar10") == "clean"
    assert scenario_title("symmetric-0.4", "animal10n") == "symmetric 40 %"
