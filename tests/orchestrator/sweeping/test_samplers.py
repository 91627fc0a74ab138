"""Samplers: proposals as pure functions, and what each sampler covers."""

from __future__ import annotations

import math
import subprocess
import sys
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import optuna
import pytest
from scipy.stats import qmc

from orchestrator.sweeping import gp_process
from orchestrator.sweeping.gp_process import GpProcess
from orchestrator.sweeping.samplers import (
    GpSampler,
    GridSampler,
    QmcSampler,
    RandomSampler,
    Request,
    TpeSampler,
    round_values,
)
from orchestrator.sweeping.trials import Trial, TrialState
from trainables.errors import NalError
from trainables.run.parameters import ChoiceSpace, Prior, Space, active_spaces
from trainables.run.seeds import derive_seed

if TYPE_CHECKING:
    from orchestrator.planning.plan import Values
    from orchestrator.sweeping.samplers import Sampler
    from trainables.run.parameters import AnySpace

SPACE = {"lambda": Space(0.05, 20, log=True), "alpha": Space(0.5, 0.99)}


def objective(values: Values) -> float:
    distance = math.log10(float(values["lambda"]) / 2)
    return 0.9 - (float(values["alpha"]) - 0.8) ** 2 - distance**2 / 10


def trials_of(count: int, **changes: Any) -> list[Trial]:
    """Return complete trials at random points."""
    sampler, trials = RandomSampler(), []
    for number in range(count):
        values = sampler.propose(Request(SPACE, None, 7, number, []))
        trials.append(Trial(number, values, TrialState.COMPLETE, objective(values)))
    return [replace(trial, **changes) for trial in trials]


def request(trials: list[Trial], number: int = 20) -> Request:
    return Request(SPACE, None, 1000, number, trials)


def test_tpe_proposes_what_a_study_of_optuna_with_these_trials_proposes() -> None:
    sampler = optuna.samplers.TPESampler(
        seed=derive_seed("search", 1000, 20) % 2**32, multivariate=True, constant_liar=True
    )
    study = optuna.create_study(direction="maximize", sampler=sampler)
    distributions: dict[str, optuna.distributions.BaseDistribution] = {
        "lambda": optuna.distributions.FloatDistribution(0.05, 20, log=True),
        "alpha": optuna.distributions.FloatDistribution(0.5, 0.99),
    }
    trials = trials_of(16)
    for trial in trials:
        study.add_trial(
            optuna.trial.create_trial(
                params=trial.values, distributions=distributions, value=trial.objective
            )
        )
    alone = TpeSampler().propose(request(trials))
    for _ in range(3):
        study.enqueue_trial(alone)
        study.ask(distributions)
    expected = study.ask(distributions).params
    pending = [Trial(number, alone) for number in (16, 17, 18)]
    assert TpeSampler().propose(request([*trials, *pending])) == expected
    assert expected != alone  # pending trials count as bad ones


@pytest.mark.parametrize(
    "sampler",
    [TpeSampler(), pytest.param(GpSampler(), marks=pytest.mark.slow)],
    ids=["tpe", "gp"],
)
def test_a_model_finds_the_best_values(sampler: Sampler) -> None:
    """After 30 trials the best of ten proposals is nearer the optimum than most random points."""
    trials = trials_of(30)
    best = max(trial.objective or 0.0 for trial in trials)
    values = [sampler.propose(request(trials, number)) for number in range(30, 40)]
    objectives = [objective(each) for each in values]
    assert max(objectives) > 0.899
    assert max(objectives) > best
    again = [sampler.propose(request(trials, number)) for number in range(39, 29, -1)]
    assert again == values[::-1]


def test_failed_trials_teach_nothing_and_running_ones_keep_their_distance() -> None:
    trials = trials_of(20)
    failed = [replace(trial, state=TrialState.FAILED, objective=None) for trial in trials[:5]]
    sampler = TpeSampler()
    assert sampler.propose(request([*failed, *trials])) == sampler.propose(request(trials))
    stopped = trials_of(20, state=TrialState.STOPPED, steps={2: 0.1, 4: 0.2})
    assert sampler.propose(request([*stopped, *trials])) != sampler.propose(request(trials))


@pytest.mark.slow
def test_the_gaussian_process_takes_running_trials_into_account() -> None:
    trials = trials_of(30)
    alone = GpSampler().propose(request(trials))
    beside = GpSampler().propose(request([*trials, Trial(30, alone)]))
    assert alone != beside


def test_random_values_are_uniform_on_their_scale() -> None:
    values = [RandomSampler().propose(request([], number)) for number in range(2000)]
    for name, space in SPACE.items():
        positions = np.sort([space.position(float(each[name])) for each in values])
        assert 0 <= positions[0] <= positions[-1] < 1
        # Kolmogorov-Smirnov distance; the bound is exceeded in one of 10^4 samples.
        assert np.abs(positions - np.arange(2000) / 2000).max() < 2.2 / np.sqrt(2000)


def test_qmc_values_are_the_points_of_one_sobol_sequence() -> None:
    values = [QmcSampler().propose(request([], number)) for number in range(64)]
    points = np.array(
        [[SPACE[name].position(float(each[name])) for name in sorted(SPACE)] for each in values]
    )
    assert qmc.discrepancy(points) < 0.0012  # of 64 random points: 0.006 on average
    # Each of the 64 strips of a side has one point.
    assert all(len(set((64 * points[:, axis]).astype(int))) == 64 for axis in (0, 1))
    other = QmcSampler().propose(replace(request([], 0), seed=1001))
    assert other != values[0]


def test_a_grid_is_tried_once_in_an_order_of_the_seed() -> None:
    points: list[Values] = [
        {"lambda": lambda_, "alpha": alpha} for lambda_ in (0.1, 1.0) for alpha in (0.6, 0.9)
    ]
    sampler = GridSampler(points)

    def order(seed: int) -> list[int]:
        return [
            points.index(sampler.propose(Request(SPACE, None, seed, number, [])))
            for number in range(4)
        ]

    orders = [order(seed) for seed in range(20)]
    assert all(sorted(each) == [0, 1, 2, 3] for each in orders)
    assert len({tuple(each) for each in orders}) > 5


def test_rounding_keeps_small_numbers_and_stays_in_the_space() -> None:
    space = {"lambda": Space(1e-5, 20, log=True), "alpha": Space(0.5, 0.99999)}
    values: Values = {"lambda": 0.000123456, "alpha": 0.98766}
    assert round_values(values, space) == {"lambda": 0.0001235, "alpha": 0.9877}
    assert round_values({**values, "alpha": 0.999985}, space)["alpha"] == 0.99999


CONDITIONAL: dict[str, AnySpace] = {
    "kind": ChoiceSpace(("soft", "hard")),
    "count": Space(1, 9, integer=True, when={"kind": ("soft",)}),
    "rate": Space(1e-3, 1, log=True),
}


@pytest.mark.parametrize(
    "sampler",
    [
        TpeSampler(),
        RandomSampler(),
        QmcSampler(),
        pytest.param(GpSampler(), marks=pytest.mark.slow),
    ],
    ids=["tpe", "random", "qmc", "gp"],
)
def test_choices_integers_and_conditions_are_proposed(sampler: Sampler) -> None:
    trials: list[Trial] = []
    for number in range(25):
        proposal = sampler.propose(Request(CONDITIONAL, None, 1000, number, trials))
        values = round_values(proposal, CONDITIONAL)
        assert list(values) == list(active_spaces(CONDITIONAL, values))
        assert all(value in CONDITIONAL[name] for name, value in values.items())
        is_good = values["kind"] == "soft" and int(values["count"]) > 5
        trials.append(Trial(number, values, TrialState.COMPLETE, float(is_good)))
    assert {trial.values["kind"] for trial in trials} == {"soft", "hard"}
    assert {type(trial.values.get("count", 1)) for trial in trials} == {int}
    # A Gaussian process models the parameters that all trials have.
    if sampler.identity["name"] == "tpe":
        assert sum(trial.objective or 0.0 for trial in trials[15:]) >= 6
    if sampler.identity["name"] == "gp":
        assert sum(trial.values["kind"] == "soft" for trial in trials[15:]) >= 7


@pytest.mark.parametrize(
    ("sampler", "prior_count"),
    [(TpeSampler(), 10), (RandomSampler(), 30), (QmcSampler(), 30)],
    ids=["tpe", "random", "qmc"],
)
def test_priors_are_those_of_random_values(sampler: Sampler, prior_count: int) -> None:
    space: dict[str, AnySpace] = {"alpha": Space(0.5, 0.99, prior=Prior(0.01))}
    values, trials = [], list[Trial]()
    for number in range(30):
        value = float(
            sampler.propose(Request(space, {"alpha": 0.6}, 1000, number, trials))["alpha"]
        )
        values.append(value)
        # The model learns that values far from the prior are better.
        trials.append(Trial(number, {"alpha": value}, TrialState.COMPLETE, abs(value - 0.6)))
    # Five standard deviations.
    assert all(abs(value - 0.6) < 5 * 0.01 * 0.49 for value in values[:prior_count])
    assert all(abs(value - 0.6) < 5 * 0.01 * 0.49 for value in values) is (prior_count == 30)


@pytest.mark.slow
def test_the_driver_does_not_import_torch_for_a_gaussian_process() -> None:
    code = """
import sys
from orchestrator.sweeping.samplers import GpSampler, RandomSampler, Request
from orchestrator.sweeping.trials import Trial, TrialState
from trainables.run.parameters import Space
space = {"alpha": Space(0.5, 0.99)}
points = [RandomSampler().propose(Request(space, None, 0, number, [])) for number in range(12)]
trials = [
    Trial(number, point, TrialState.COMPLETE, point["alpha"]) for number, point in enumerate(points)
]
assert GpSampler().propose(Request(space, None, 0, 12, trials))["alpha"] > 0.9
assert "torch" not in sys.modules
"""
    finished = subprocess.run(
        [sys.executable, "-W", "error", "-c", code], capture_output=True, text=True, check=False
    )
    assert (finished.returncode, finished.stderr) == (0, "")


def test_a_process_that_ends_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    failing = [sys.executable, "-c", "import sys; sys.exit('no such library')"]
    monkeypatch.setattr(gp_process, "module_command", lambda _module: failing)
    process = GpProcess()
    with pytest.raises(NalError) as raised:
        process.propose(request([]))
    assert str(raised.value) == (
        "the process that proposes trials has ended (no such library): type the same command "
        "again, or choose another search.sampler"
    )
