from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from plans import TWO_SCENARIOS, Driver, random_data, small_plan, small_study
from small_runs import pixels_of

from orchestrator.planning.plan import Plan
from orchestrator.planning.protocol import HeldOutAccuracy
from orchestrator.planning.sizes import phase_sizes
from search_spaces.resolve import matched_recipe
from search_spaces.schema import Phase
from trainables.datasets.base import Dataset, Split
from trainables.methods import METHODS
from trainables.run.protocols import HeldOutCycleEnds, HeldOutMean
from trainables.run_data.labels import draw_labels

if TYPE_CHECKING:
    from trainables.run.spec import RunSpec

VALUES = {"lambda": 2.0, "alpha": 0.8}
PHASES_BEFORE_CONFIRM = (Phase.SEARCH, Phase.SELECT)


@pytest.mark.parametrize("phase", PHASES_BEFORE_CONFIRM)
@pytest.mark.parametrize("hold_out_setting", ["true", "false"])
def test_the_test_split_is_not_evaluated_before_confirm(
    phase: Phase, hold_out_setting: str
) -> None:
    plan = small_plan(sets=(f"confirm.hold_out={hold_out_setting}",))
    spec = plan.spec(phase, "nal", "symmetric-0.4", VALUES, 7)
    assert spec.evaluate == ("val",)
    assert spec.hold_out == 0.3


@pytest.mark.parametrize(
    ("hold_out_setting", "evaluate", "hold_out"),
    [("true", ("val", "test"), 0.3), ("false", ("test",), 0.0)],
)
def test_confirm_evaluates_the_test_split(
    hold_out_setting: str, evaluate: tuple[str, ...], hold_out: float
) -> None:
    plan = small_plan(sets=(f"confirm.hold_out={hold_out_setting}",))
    spec = plan.spec(Phase.CONFIRM, "nal", "symmetric-0.4", VALUES, 7)
    assert spec.evaluate == evaluate
    assert spec.hold_out == hold_out


def test_a_spec_contains_the_values_of_the_study() -> None:
    plan = small_plan(subset=60, sets=("resources.cpus=2", "hyperparameters.nal.target_interval=3"))
    spec = plan.spec(Phase.SEARCH, "nal", "symmetric-0.4", VALUES, 7)
    assert spec.data == plan.dataset.digest
    assert spec.subset == 60
    assert spec.threads == 2
    assert spec.recipe == matched_recipe(plan.study)
    assert dict(spec.backbone_parameters) == {"hidden": (16,), "attention": "linear"}
    assert dict(spec.hyperparameters) == {
        "lambda": 2.0,
        "alpha": 0.8,
        "first_target_epoch": 1,
        "target_interval": 3,
        "clamps": False,
        "delta": 0.0,
        "beta": 0.0,
    }
    assert (spec.seeds.noise, spec.seeds.order, spec.seeds.subset) == (7, 7, 0)


def labels_of(spec: RunSpec) -> str:
    """Return the SHA-256 of a run's noisy labels."""
    return draw_labels(spec, random_data(), Path()).digest


@pytest.mark.parametrize("seed", [0, 1])
def test_methods_are_paired_at_each_seed(seed: int) -> None:
    plan = small_plan()
    labels = {labels_of(plan.spec(Phase.CONFIRM, m, "symmetric-0.4", {}, seed)) for m in METHODS}
    assert len(labels) == 1


def test_seeds_and_scenarios_have_their_own_labels() -> None:
    plan = small_plan(scenarios=TWO_SCENARIOS)
    labels = {
        labels_of(plan.spec(Phase.CONFIRM, "ce", scenario, {}, seed))
        for scenario in TWO_SCENARIOS
        for seed in (0, 1)
    }
    assert len(labels) == 4


def test_the_noise_axis_can_be_fixed() -> None:
    plan = small_plan(sets=("fixed_seeds={subset: 0, noise: 5}",))
    first, second = (plan.spec(Phase.CONFIRM, "ce", "symmetric-0.4", {}, s) for s in (0, 1))
    assert labels_of(first) == labels_of(second)
    assert (first.seeds.noise, first.seeds.init, second.seeds.init) == (5, 0, 1)


def test_the_reference_has_the_searched_values() -> None:
    plan = small_plan()
    assert plan.reference_of("nal") == {"lambda": 0.5, "alpha": 0.9}
    assert plan.reference_of("ce") is None


def test_objective_of_the_small_study() -> None:
    objective = small_plan().objective("symmetric-0.4")
    assert objective == HeldOutAccuracy(HeldOutMean(3), class_count=10, held_out_count=30)
    assert small_plan(subset=50).objective("symmetric-0.4").held_out_count == 15


RESTARTS = ("recipe.schedule={kind: cosine-restarts, period: 2}",)


def test_cycle_ends_choose_where_the_learning_rate_restarts() -> None:
    plan = small_plan(sets=RESTARTS)
    assert plan.objective("symmetric-0.4").protocol == HeldOutCycleEnds(3)
    assert plan.protocols_text == (
        "mean accuracy on held-out noisy labels over the last 3 cycle ends (epochs at the lowest "
        "learning rate)"
    )
    by_mean = small_plan(sets=(*RESTARTS, "search.protocol=held-out-mean"))
    assert by_mean.protocols_text == small_plan().protocols_text
    assert by_mean.digest != plan.digest
    digests = {
        small_plan(sets=(*RESTARTS, f"search.cycles={cycles}")).digest for cycles in (1, 2, 3, 4)
    }
    assert len(digests) == 3  # a training of 6 epochs has 3 cycles
    assert plan.digest in digests


def test_each_searched_scenario_has_the_protocol_of_its_schedule() -> None:
    override = (
        "overrides=[{scenario: symmetric-0.2, recipe: "
        "{schedule: {kind: cosine-restarts, period: 3}}}]"
    )
    plan = small_plan(scenarios=TWO_SCENARIOS, sets=(override, "search.scope=scenario"))
    assert plan.protocols_text == (
        "on symmetric-0.4: mean accuracy on held-out noisy labels over the last 3 epochs; "
        "on symmetric-0.2: mean accuracy on held-out noisy labels over the last 2 cycle ends "
        "(epochs at the lowest learning rate)"
    )
    shared = small_plan(scenarios=TWO_SCENARIOS, sets=(override,))
    assert shared.protocols_text == small_plan().protocols_text  # searched on symmetric-0.4 alone


STUDIES: dict[str, dict[str, Any]] = {
    "usual": {},
    "two scenarios, one search": {"scenarios": TWO_SCENARIOS},
    "a search for each scenario": {
        "scenarios": TWO_SCENARIOS,
        "sets": ("search.scope=scenario",),
    },
    "more of everything": {
        "trials": 6,
        "seeds": 3,
        "sets": ("select.candidates=4", "select.seeds=[50, 51, 52]"),
    },
    "fewer trials than candidates": {"trials": 1},
    "nothing searched": {"methods": ("ce",)},
    "fixed values only": {"sets": ("tune=[]",)},
}


@pytest.mark.parametrize("flags", STUDIES.values(), ids=STUDIES)
def test_phase_sizes_equal_the_runs_of_a_sweep(flags: dict[str, Any], tmp_path: Path) -> None:
    plan = small_plan(**flags)
    driver = Driver(plan, tmp_path).run()
    assert driver.sweep.done
    counts = Counter(task.phase for task in driver.tasks)
    # There are fewer runs than planned if the reference is among the best or is chosen.
    tunings = driver.sweep.tunings
    saved_runs = {Phase.SEARCH: 0, Phase.SELECT: 0, Phase.CONFIRM: 0}
    for tuning in tunings:
        max_candidates = min(plan.study.select.candidates, plan.study.search.trials) + 1
        missing_candidates = max_candidates - len(tuning.candidates)
        saved_runs[Phase.SELECT] += missing_candidates * len(plan.study.select.seeds)
        if tuning.chosen_values == tuning.reference:
            saved_runs[Phase.CONFIRM] += len(tuning.plan.served_scenarios) * len(
                plan.study.confirm.seeds
            )
    for size in phase_sizes(plan):
        assert counts[size.phase] == size.max_run_count - saved_runs[size.phase], (
            size.run_count_formula
        )
    assert set(counts) == {size.phase for size in phase_sizes(plan)}


@pytest.mark.parametrize(
    ("sets", "count", "formula"),
    [
        (("reference=null",), 4, "2 candidates × 2 seeds"),
        (("select.candidates=1",), 4, "(1 candidate + 1 with reference values) × 2 seeds"),
        (
            ("tune=[ce, nal]", "search.space.ce={learning_rate: {low: 0.01, high: 0.1}}"),
            10,
            "2 searches × (2 candidates + 1 with reference values where known) × 2 seeds",
        ),
    ],
)
def test_candidates_are_counted_without_the_values_of_the_paper(
    sets: tuple[str, ...], count: int, formula: str
) -> None:
    _, select, _ = phase_sizes(small_plan(sets=sets))
    assert (select.max_run_count, select.run_count_formula) == (count, formula)


def test_arithmetic_of_phase_sizes() -> None:
    search, select, confirm = phase_sizes(small_plan(scenarios=TWO_SCENARIOS))
    assert (search.max_run_count, search.run_count_formula) == (4, "4 trials × 1 seed")
    assert select.max_run_count == 6
    assert select.run_count_formula == "(2 candidates + 1 with reference values) × 2 seeds"
    assert confirm.max_run_count == 12
    assert (
        confirm.run_count_formula == "2 scenarios × (2 methods + 1 with reference values) × 2 seeds"
    )
    assert [(group.train_count, group.evaluated_count) for group in search.groups] == [(70, 30)]
    assert {(group.train_count, group.evaluated_count) for group in confirm.groups} == {
        (70, 30 + 40)
    }


def test_runs_without_a_split_train_on_all_samples() -> None:
    *_, confirm = phase_sizes(small_plan(sets=("confirm.hold_out=false",)))
    assert {(group.train_count, group.evaluated_count) for group in confirm.groups} == {(100, 40)}


@pytest.mark.parametrize(
    "flags",
    [
        {"trials": 9},
        {"seeds": 5},
        {"sets": ("select.seeds=[3000]",)},
        {"sets": ("select.candidates=3",)},
        {"sets": ("title=another",)},
        {"sets": ("deviations=[one]",)},
        {"sets": ("resources.gpus=0.5",)},
        {"sets": ("diagnostics.every=0",)},
    ],
)
def test_these_changes_keep_the_digest(flags: dict[str, Any]) -> None:
    assert small_plan(**flags).digest == small_plan().digest


@pytest.mark.parametrize(
    "flags",
    [
        {"epochs": 7},
        {"methods": ("nal",)},
        {"scenarios": TWO_SCENARIOS},
        {"subset": 60},
        {"sets": ("recipe.learning_rate=0.1",)},
        {"sets": ("backbone.hidden=[8]",)},
        {"sets": ("hyperparameters.nal.target_interval=2",)},
        {"sets": ("reference.nal.alpha=0.8",)},
        {"sets": ("search.seeds=[1001]",)},
        {"sets": ("search.hold_out=0.2",)},
        {"sets": ("search.space.nal.lambda.high=10",)},
        {"sets": ("confirm.hold_out=false",)},
        {"sets": ("fixed_seeds.noise=0",)},
    ],
)
def test_these_changes_change_the_digest(flags: dict[str, Any]) -> None:
    assert small_plan(**flags).digest != small_plan().digest


def test_data_and_name_change_the_digest() -> None:
    study, data = small_study().study, random_data()
    other_data = Dataset(
        "digits", data.classes, data.train, Split(pixels_of(data.test) + 1, data.test.labels)
    )
    digests = {
        Plan("small", study, data).digest,
        Plan("other", study, data).digest,
        Plan("small", study, other_data).digest,
    }
    assert len(digests) == 3


def test_the_phases_share_no_seed(tmp_path: Path) -> None:
    seeds: dict[Phase, set[int]] = {phase: set() for phase in Phase}
    for task in Driver(small_plan(), tmp_path).run().tasks:
        seeds[task.phase].add(task.spec.seeds.init)
        assert ("test" in task.spec.evaluate) is (task.phase is Phase.CONFIRM)
    assert seeds == {Phase.SEARCH: {1000}, Phase.SELECT: {2000, 2001}, Phase.CONFIRM: {0, 1}}
