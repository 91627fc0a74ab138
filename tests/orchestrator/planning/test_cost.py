from __future__ import annotations

import json
import math
import subprocess
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from plans import machine_cost, small_plan

from orchestrator.home import Home
from orchestrator.planning.cost import (
    ENGINE_STARTS,
    OVERHEAD_STARTS,
    format_duration,
    measure_machine_cost,
    parse_duration,
)
from orchestrator.planning.sizes import network_key, phase_sizes
from search_spaces.schema import Phase
from trainables.errors import NalError

if TYPE_CHECKING:
    from orchestrator.planning.cost import MachineCost
    from orchestrator.planning.plan import Plan

MEASURED: dict[str, Any] = {
    "step_seconds": 0.01,
    "evaluation_seconds": 0.001,
    "checkpoint_bytes": 1000,
    "start_seconds": 1.75,
    "device": "cpu: a test",
    "devices": 1,
}


def set_free_cpus(monkeypatch: pytest.MonkeyPatch, count: float) -> None:
    """Let other processes leave a number of CPUs free while a cost is measured."""
    monkeypatch.setattr("orchestrator.planning.load.LoadMeter.free_cpus", lambda _meter: count)


RUN_OVERHEAD_SECONDS = 1.75 * OVERHEAD_STARTS


def measure(
    plan: Plan,
    home: Path = Path("nowhere"),
    *,
    engine_limit: int | None = None,
    starts_workers: bool = True,
    may_write: bool = True,
) -> MachineCost:
    """Measure the cost of a plan; without a home folder, nothing is stored."""
    return measure_machine_cost(
        plan,
        Home(home),
        engine_limit=engine_limit,
        starts_workers=starts_workers,
        may_write=may_write and home.exists(),
    )


@pytest.fixture
def probes(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """Requested measurements, all of which return `MEASURED`."""
    requests: list[dict[str, Any]] = []

    def answer(command: list[str], **options: Any) -> subprocess.CompletedProcess[str]:
        requests.append(json.loads(options["input"]))
        return subprocess.CompletedProcess(command, 0, json.dumps(MEASURED), "")

    monkeypatch.setattr(subprocess, "run", answer)
    monkeypatch.setattr("orchestrator.planning.cost.usable_cpu_count", lambda: 4)
    monkeypatch.setattr("orchestrator.planning.cost.MAX_CONCURRENT_PROBES", 1)
    set_free_cpus(monkeypatch, 4.0)
    return requests


def test_a_cost_is_measured_once(probes: list[dict[str, Any]], tmp_path: Path) -> None:
    first = measure(small_plan(), tmp_path)
    second = measure(small_plan(), tmp_path)
    assert first == second
    (cost,) = first.costs_by_network.values()
    assert (cost.step_seconds, first.device, first.max_concurrent_runs) == (0.01, "cpu: a test", 4)
    assert len(probes) == 1
    assert probes[0]["spec"]["backbone"] == "mlp"
    assert (probes[0]["image"], probes[0]["classes"]) == ([1, 8, 8], 10)


@pytest.mark.usefixtures("probes")
def test_as_many_runs_are_measured_at_a_time_as_a_cpu_will_train(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    step_seconds = iter([0.1, 0.2, 0.6])

    def answer(command: list[str], **_: Any) -> subprocess.CompletedProcess[str]:
        barrier.wait(10)  # a process that waits for the others
        numbers = {**MEASURED, "step_seconds": next(step_seconds)}
        return subprocess.CompletedProcess(command, 0, json.dumps(numbers), "")

    barrier = threading.Barrier(3)
    monkeypatch.setattr(subprocess, "run", answer)
    monkeypatch.setattr("orchestrator.planning.cost.MAX_CONCURRENT_PROBES", 3)
    (cost,) = measure(small_plan(), tmp_path).costs_by_network.values()
    assert cost.step_seconds == pytest.approx(0.3)


@pytest.mark.parametrize(
    ("options", "count"),
    [
        ({}, 4),
        ({"engine_limit": 3}, 3),
        ({"engine_limit": 99}, 4),
        ({"sets": ("resources.cpus=2",)}, 2),
    ],
)
def test_number_of_runs_that_are_measured_at_a_time(
    options: dict[str, Any],
    count: int,
    probes: list[dict[str, Any]],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("orchestrator.planning.cost.MAX_CONCURRENT_PROBES", 8)
    plan = small_plan(sets=options.get("sets", ()))
    for _ in range(2):
        cost = measure(plan, tmp_path, engine_limit=options.get("engine_limit"))
    assert len(probes) == count
    assert cost.max_concurrent_runs == options.get("engine_limit", count)
    monkeypatch.setattr("orchestrator.planning.cost.gpu_description", lambda: "a GPU")
    measure(plan, tmp_path, engine_limit=options.get("engine_limit"))
    assert len(probes) == count + 1  # the memory of a GPU may not suffice for several


def test_the_start_of_workers_takes_a_multiple_of_one_process(
    probes: list[dict[str, Any]], tmp_path: Path
) -> None:
    assert measure(small_plan(), tmp_path).start_seconds == 1.75 * ENGINE_STARTS
    assert measure(small_plan(), tmp_path, starts_workers=False).start_seconds == 0
    assert len(probes) == 1


@pytest.mark.parametrize(
    "setting", ["backbone.hidden=[32]", "recipe.batch_size=64", "resources.cpus=2"]
)
def test_runs_of_another_cost_are_measured_again(
    setting: str, probes: list[dict[str, Any]], tmp_path: Path
) -> None:
    measure(small_plan(), tmp_path)
    measure(small_plan(sets=(setting,)), tmp_path)
    assert len(probes) == 2


def test_trials_and_epochs_need_no_new_measurement(
    probes: list[dict[str, Any]], tmp_path: Path
) -> None:
    measure(small_plan(), tmp_path)
    measure(small_plan(trials=9, epochs=12, seeds=5), tmp_path)
    assert len(probes) == 1


def test_a_dry_run_writes_nothing_but_uses_what_is_stored(
    probes: list[dict[str, Any]], tmp_path: Path
) -> None:
    measure(small_plan(), tmp_path, may_write=False)
    assert list(tmp_path.iterdir()) == []
    measure(small_plan(), tmp_path)
    measure(small_plan(), tmp_path, may_write=False)
    assert len(probes) == 2


def test_a_cost_measured_beside_other_work_is_measured_again(
    probes: list[dict[str, Any]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    set_free_cpus(monkeypatch, 0.6)
    monkeypatch.setitem(MEASURED, "step_seconds", 37.0)
    (cost,) = measure(small_plan(), tmp_path).costs_by_network.values()
    assert cost.step_seconds == 37
    set_free_cpus(monkeypatch, 0.95)
    monkeypatch.setitem(MEASURED, "step_seconds", 0.01)
    for _ in range(2):
        (cost,) = measure(small_plan(), tmp_path).costs_by_network.values()
        assert cost.step_seconds == 0.01
    assert len(probes) == 2


@pytest.mark.parametrize(("free_cpus", "probe_count"), [(4, 1), (1.8, 1), (1.7, 2)])
def test_a_run_of_several_threads_needs_as_many_free_cpus(
    free_cpus: float,
    probe_count: int,
    probes: list[dict[str, Any]],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    set_free_cpus(monkeypatch, free_cpus)
    for _ in range(2):
        measure(small_plan(sets=("resources.cpus=2",)), tmp_path)
    assert len(probes) == probe_count
    (measurement,) = json.loads((tmp_path / "cache" / "costs.json").read_text()).values()
    assert measurement["free_cpus"] == free_cpus


def test_a_run_never_needs_more_cpus_than_there_are(
    probes: list[dict[str, Any]], tmp_path: Path
) -> None:
    for _ in range(2):
        measure(small_plan(sets=("resources.cpus=9",)), tmp_path)
    assert len(probes) == 1


@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("processor_name", lambda: "another processor"),
        ("package_versions", lambda: {"torch": "1.0"}),
        ("REVISION", 99),
        ("gpu_description", lambda: "another GPU"),
    ],
)
def test_a_change_of_processor_torch_or_code_makes_costs_invalid(
    name: str,
    change: object,
    probes: list[dict[str, Any]],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    measure(small_plan(), tmp_path)
    monkeypatch.setattr(f"orchestrator.planning.cost.{name}", change)
    measure(small_plan(), tmp_path)
    assert len(probes) == 2


def test_costs_stored_without_their_conditions_are_measured_again(
    probes: list[dict[str, Any]], tmp_path: Path
) -> None:
    measure(small_plan(), tmp_path)
    path = tmp_path / "cache" / "costs.json"
    (key,) = json.loads(path.read_text())
    path.write_text(json.dumps({key: MEASURED}))
    measure(small_plan(), tmp_path)
    assert len(probes) == 2


def test_threads_of_a_run_leave_fewer_slots(probes: list[dict[str, Any]]) -> None:
    assert measure(small_plan(sets=("resources.cpus=3",))).max_concurrent_runs == 1
    assert measure(small_plan(sets=("resources.cpus=9",))).max_concurrent_runs == 1
    assert len(probes) == 2


def test_a_gpu_may_be_shared(probes: list[dict[str, Any]], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(MEASURED, "device", "cuda: a test")
    assert measure(small_plan()).max_concurrent_runs == 1
    assert measure(small_plan(sets=("resources.gpus=0.5",))).max_concurrent_runs == 2
    assert measure(small_plan(sets=("resources.gpus=0.1",))).max_concurrent_runs == 4  # CPUs
    monkeypatch.setitem(MEASURED, "devices", 3)
    assert measure(small_plan()).max_concurrent_runs == 3
    assert len(probes) == 4


def test_a_study_for_the_cpu_is_measured_on_the_cpu(
    probes: list[dict[str, Any]], tmp_path: Path
) -> None:
    measure(small_plan(), tmp_path)
    measure(small_plan(sets=("resources.gpus=0",)), tmp_path)
    assert len(probes) == 2


def test_a_damaged_cache_is_measured_again(probes: list[dict[str, Any]], tmp_path: Path) -> None:
    (tmp_path / "cache").mkdir()
    (tmp_path / "cache" / "costs.json").write_text("{")
    measure(small_plan(), tmp_path)
    assert len(probes) == 1
    assert measure(small_plan(), tmp_path).device == "cpu: a test"
    assert len(probes) == 1


@pytest.mark.parametrize(
    "damage",
    [
        {"cost": {**MEASURED, "step_seconds": math.nan}},
        {"cost": {**MEASURED, "step_seconds": -1}},
        {"cost": {**MEASURED, "step_seconds": "x"}},
        {"cost": {**MEASURED, "unknown": 1}},
        {"cost": 5},
    ],
)
def test_a_damaged_measurement_is_made_again(
    probes: list[dict[str, Any]], tmp_path: Path, damage: dict[str, Any]
) -> None:
    measure(small_plan(), tmp_path)
    path = tmp_path / "cache" / "costs.json"
    stored = json.loads(path.read_text())
    path.write_text(json.dumps({key: {**value, **damage} for key, value in stored.items()}))
    count = len(probes)
    assert measure(small_plan(), tmp_path) == measure(small_plan(), tmp_path)
    assert len(probes) == count + len(stored)
    for content in ("5", "null", "[1, 2]", json.dumps(dict.fromkeys(stored, 5))):
        path.write_text(content)
        measure(small_plan(), tmp_path)
    assert len(probes) == count + 5 * len(stored)


def test_a_network_that_cannot_be_trained_is_explained(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(command: list[str], **_: Any) -> subprocess.CompletedProcess[str]:
        return subprocess.CompletedProcess(command, 1, "", "Traceback\nMemoryError: too large\n")

    monkeypatch.setattr(subprocess, "run", fail)
    with pytest.raises(
        NalError,
        match=r"cannot train nal with backbone mlp on this machine: MemoryError: too large",
    ):
        measure(small_plan())


def test_the_cost_of_a_run_is_its_steps_and_evaluations() -> None:
    plan = small_plan()
    cost = machine_cost(0.01, 0.001)
    search, select, confirm = phase_sizes(plan)
    # 6 epochs of ceil(70 / 32) = 3 steps; 30 held-out samples, and 40 more of the test split.
    assert cost.run_seconds(search.groups[0]) == pytest.approx(0.18 + 0.18 + RUN_OVERHEAD_SECONDS)
    assert cost.run_seconds(confirm.groups[0]) == pytest.approx(0.18 + 0.42 + RUN_OVERHEAD_SECONDS)
    assert (search.max_run_count, select.max_run_count, confirm.max_run_count) == (4, 6, 6)
    seconds = 15.0 + 5 * (0.36 + RUN_OVERHEAD_SECONDS) + 3 * (0.6 + RUN_OVERHEAD_SECONDS)
    assert cost.plan_seconds(plan) == pytest.approx(seconds)
    # CE, two of the six runs of confirm, keeps no targets.
    assert cost.plan_bytes(plan) == 16 * 1000 + 14 * 4 * 70 * 10


def test_the_posterior_is_included_in_the_cost(
    probes: list[dict[str, Any]], tmp_path: Path
) -> None:
    other = ("posterior.recipe.epochs=7", "posterior.backbone={name: mlp, hidden: [9]}")
    plan = small_plan(scenarios=("pmd-1-0.35",), sets=other)
    cost = measure(plan, tmp_path)
    by_hidden = {tuple(probe["spec"]["backbone_parameters"]["hidden"]): probe for probe in probes}
    assert set(by_hidden) == {(16,), (9,)}
    assert by_hidden[9,]["spec"]["scenario"] == "clean"
    (posterior,) = plan.posterior_specs
    ce = plan.spec(Phase.CONFIRM, "ce", "pmd-1-0.35", {}, 0)
    assert set(cost.costs_by_network) == {network_key(posterior), network_key(ce)}
    # 7 epochs of ceil(100 / 32) = 4 steps, without evaluations.
    search = phase_sizes(plan)[0]
    (group,) = (group for group in search.groups if group.is_label_source)
    assert cost.run_seconds(group) == pytest.approx(0.28 + RUN_OVERHEAD_SECONDS)
    without = small_plan()
    added = cost.plan_seconds(plan) - cost.plan_seconds(without)
    assert added == pytest.approx(cost.run_seconds(group))
    assert cost.plan_bytes(plan) - cost.plan_bytes(without) == MEASURED["checkpoint_bytes"]


def test_fewer_evaluations_cost_less() -> None:
    plan = small_plan(sets=("recipe.evaluate_every=6", "recipe.window=1"))
    cost = machine_cost(0.0, 0.001)
    size = next(size for size in phase_sizes(plan) if size.phase is Phase.SEARCH)
    assert cost.run_seconds(size.groups[0]) == pytest.approx(0.03 + RUN_OVERHEAD_SECONDS)


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0.4, "0 s"),
        (40, "40 s"),
        (89, "89 s"),
        (90, "2 min"),
        (720, "12 min"),
        (5399, "90 min"),
        (5400, "1.5 h"),
        (12_600, "3.5 h"),
        (48 * 3600, "2.0 days"),
        (181_440, "2.1 days"),
        (12 * 86_400, "12 days"),
        (364 * 86_400, "364 days"),
        (366 * 86_400, "1.0 years"),
        (4764.5 * 86_400, "13 years"),
    ],
)
def test_format_of_durations(seconds: float, text: str) -> None:
    assert format_duration(seconds) == text


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("90s", 90.0),
        ("40 s", 40.0),
        ("45min", 2700.0),
        ("45m", 2700.0),
        ("1h", 3600.0),
        ("1.5H", 5400.0),
        ("2d", 172_800.0),
        ("2.1 days", 181_440.0),
    ],
)
def test_durations_are_read(text: str, seconds: float) -> None:
    assert parse_duration(text) == pytest.approx(seconds)


@pytest.mark.parametrize(
    "text", ["", "soon", "1", "h", "-1h", "0h", "1h30min", "1e3s", "9" * 400 + "d", "٣h"]
)
def test_texts_that_are_no_durations_are_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"^must be a time such as 90s, 45min, 1\.5h or 2d, got "):
        parse_duration(text)
