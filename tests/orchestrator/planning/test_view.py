from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
from plans import machine_cost, random_data
from rich.console import Console, RenderableType

from orchestrator.flags import Locations, StudyFlags
from orchestrator.planning.loading import LoadedPlan
from orchestrator.planning.plan import Plan
from orchestrator.planning.view import plan_json, plan_outline, plan_view
from orchestrator.watching.recorded_budget import RecordedBudget
from search_spaces.loader import load_study

if TYPE_CHECKING:
    from pathlib import Path

SYMMETRIC = ("symmetric-0.4",)
"""Scenarios that no override changes."""


def plan_text(study_flags: StudyFlags, slots: int = 2) -> str:
    """Return the plan that flags select, as text."""
    loaded = study_flags.load()
    dataset = replace(random_data(), name="cifar10")
    loaded_plan = LoadedPlan(loaded, Plan(loaded.name, loaded.study, dataset))
    cost = machine_cost(0.01, 0.001, 10**6, slots)
    return rendered(plan_view(loaded_plan, cost, Locations()))


def rendered(view: RenderableType) -> str:
    console = Console(width=300)
    with console.capture() as capture:
        console.print(view)
    return capture.get()


def test_a_plan_warns_of_too_few_held_out_labels() -> None:
    text = plan_text(StudyFlags(study="cifar10", scenarios=SYMMETRIC))  # 10 of 100 labels
    assert (
        "10 held-out labels × 3 seeds in select.seeds cannot tell candidates apart that "
        "differ by less than 9.1 points: 16 seeds would bring this down to 4 points"
    ) in text
    flags = StudyFlags(study="cifar10", scenarios=SYMMETRIC, methods=("ce",), sets=("tune=[]",))
    assert "cannot tell candidates apart" not in plan_text(flags)


@pytest.mark.parametrize("seed_count", [1, 15, 16])
def test_the_seeds_of_the_select_phase_count_against_few_held_out_labels(seed_count: int) -> None:
    seeds = f"select.seeds={list(range(2000, 2000 + seed_count))}"
    text = plan_text(StudyFlags(study="cifar10", scenarios=SYMMETRIC, sets=(seeds,)))
    assert ("16 seeds would bring this down to 4 points" in text) == (seed_count < 16)


def test_the_held_out_fraction_that_would_do_depends_on_the_seeds() -> None:
    sets = ("select.seeds=[2000, 2001, 2002, 2003]", "search.hold_out=0.1")
    text = plan_text(StudyFlags(study="cifar10", scenarios=SYMMETRIC, sets=sets))
    # 40 labels on each of 4 seeds are 160, for which 0.5 / sqrt(160) is 4 points.
    assert "less than 7.9 points: search.hold_out=0.4 or 16 seeds would" in text


@pytest.mark.parametrize("has_bf16", [True, False])
def test_a_plan_warns_of_emulated_bf16(monkeypatch: pytest.MonkeyPatch, *, has_bf16: bool) -> None:
    monkeypatch.setattr("orchestrator.planning.cost.has_bf16_instructions", lambda: has_bf16)
    flags = StudyFlags(study="cifar10", scenarios=SYMMETRIC, sets=("recipe.precision=bf16",))
    assert ("add --set recipe.precision=float32" in plan_text(flags)) == (not has_bf16)
    assert "bf16" not in plan_text(StudyFlags(study="cifar10-small"))


@pytest.mark.parametrize(
    ("sets", "slots", "text"),
    [
        ((), 4, ""),
        (
            (),
            16,
            "16 slots, lag 4: the search has at most 4 runs at a time, so that 12 slots idle: "
            "--set search.lag=16 makes it another search, which uses 16",
        ),
        (("search.lag=16",), 16, ""),
        (("search.trials=3",), 16, ""),  # no lag would use more
        (
            ("search.trials=9",),
            16,
            "so that 12 slots idle: --set search.lag=9 makes it another search, which uses 9",
        ),
        (("search.seeds=[1000, 1001, 1002, 1003]",), 16, ""),
        (
            ("search.seeds=[1000, 1001, 1002]",),
            16,
            "at most 12 runs at a time, so that 4 slots idle: --set search.lag=6 makes it another "
            "search, which uses 16",
        ),
    ],
)
def test_a_plan_says_which_slots_the_lag_leaves_idle(
    sets: tuple[str, ...], slots: int, text: str
) -> None:
    flags = StudyFlags(study="cifar10", scenarios=SYMMETRIC, sets=sets)
    plan = plan_text(flags, slots)
    assert ("idle slots" in plan) is bool(text)
    assert text in plan
    lag = 16 if "search.lag=16" in sets else 4
    assert f"TPE; lag {lag}: trial n starts when the trials up to n - {lag} have ended" in plan


def test_a_plan_lists_scaled_values() -> None:
    text = plan_text(
        StudyFlags(study="cifar10", epochs=250, methods=("ce", "nal"), scenarios=SYMMETRIC)
    )
    changes = (
        "period 10 -> 5, window 10 -> 5, nal.first_target_epoch 60 -> 30, "
        "nal.target_interval 10 -> 5"
    )
    assert f"with --epochs: {changes} " in text
    assert "does not end a learning-rate cycle" not in text
    assert "chosen by     mean accuracy on held-out noisy labels over the last 3 cycle ends" in text


@pytest.mark.parametrize(
    ("sets", "scaled", "cycle"),
    [
        ((), "target_interval 10 -> 2; ", 2),
        (("recipe.schedule.period=10", "recipe.window=10"), "first_target_epoch 60 -> 10; ", 10),
    ],
)
def test_a_plan_warns_if_the_last_epoch_cuts_a_cycle(
    sets: tuple[str, ...], scaled: str, cycle: int
) -> None:
    warning = (
        f"the last epoch, 75, does not end a learning-rate cycle of {cycle} epochs: "
        "its learning rate is not the lowest"
    )
    flags = StudyFlags(
        study="cifar10", epochs=75, methods=("ce", "nal"), sets=sets, scenarios=SYMMETRIC
    )
    assert f"{scaled}{warning}" in plan_text(flags)


def test_a_plan_without_scaling_lists_no_scaled_values() -> None:
    assert "scaled" not in plan_text(StudyFlags(study="cifar10"))


def test_a_plan_says_what_the_disk_has_to_hold() -> None:
    text = plan_text(StudyFlags(study="cifar10", scenarios=SYMMETRIC, sets=("keep=table",)))
    assert "of checkpoints; those outside the table are deleted at the end" in text


def test_the_outline_without_data_counts_the_runs_of_each_phase() -> None:
    outline = plan_outline(load_study("cifar10"))
    assert outline is not None
    text = rendered(outline)
    counts = dict(line.split()[:2] for line in text.splitlines() if line.startswith(("s", "conf")))
    assert counts == {"search": "30", "select": "12", "confirm": "210"}
    assert "CIFAR-10, 50000 training images; not read" in text


def test_no_outline_of_data_of_unknown_size(tmp_path: Path) -> None:
    path = tmp_path / "own.yaml"
    path.write_text("extends: cifar10-small\ndataset: folder\n")
    assert plan_outline(load_study(str(path))) is None


@pytest.mark.parametrize(
    ("budget", "text"),
    [
        (RecordedBudget(), None),
        (RecordedBudget(36_000.0), "10.0 h for all starts together; enough for all runs"),
        (
            RecordedBudget(36_000.0, 35_990.0),
            "10.0 h for all starts together, 10.0 h of them spent by earlier starts; trials and "
            "seeds that do not fit are left out, how many depends on the speed of this machine",
        ),
        (
            RecordedBudget(20.0),
            "20 s for all starts together; it may end without a table, the smallest of which takes "
            "about 27 s",
        ),
    ],
)
def test_a_plan_describes_the_time_budget(budget: RecordedBudget, text: str | None) -> None:
    loaded = StudyFlags(study="digits").load()
    loaded_plan = LoadedPlan(loaded, Plan(loaded.name, loaded.study, random_data()))
    cost = machine_cost(0.02, 0.0)
    lines = rendered(plan_view(loaded_plan, cost, Locations(), budget=budget)).splitlines()
    budget_lines = [line.rstrip() for line in lines if line.startswith("time budget")]
    assert budget_lines == ([] if text is None else [f"time budget   {text}"])
    values = plan_json(loaded_plan, cost, Locations(), budget)
    assert values["budget_seconds"] == (None if text is None else budget.seconds)
    assert values["spent_seconds"] == budget.spent_seconds
