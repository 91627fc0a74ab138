from __future__ import annotations

from collections import Counter
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import optuna
import pytest
from factories import make_spec
from plans import searches_of

from orchestrator.sweeping.samplers import (
    GridSampler,
    QmcSampler,
    RandomSampler,
    Request,
    TpeSampler,
)
from orchestrator.sweeping.search import Search, SearchRules, search_digest
from orchestrator.sweeping.search_storage import NO_PATIENCE
from orchestrator.sweeping.trials import Trial, TrialState
from trainables.errors import NalError
from trainables.run.parameters import Space

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from orchestrator.planning.plan import Values

SPACE = {"lambda": Space(0.05, 20, log=True), "alpha": Space(0.5, 0.99)}
MEAN: dict[str, str | int] = {"protocol": "held-out-mean", "window": 3}
REFERENCE: Values = {"lambda": 0.5, "alpha": 0.9}
RULES = SearchRules(SPACE, TpeSampler(), seeds=(1000,), lag=4, reference=REFERENCE)


def open_search(home: Path, trials: int = 4, digest: str = "d" * 64, **rules: Any) -> Search:
    """Open a search as a new process would."""
    return Search.open(
        searches_of(home), digest, replace(RULES, **rules), trials, patience=NO_PATIENCE
    )


def in_memory(trials: int, **rules: Any) -> Search:
    """Create a search without a database on disk."""
    storage = optuna.storages.InMemoryStorage()
    return Search.open(storage, "d" * 64, replace(RULES, **rules), trials, NO_PATIENCE)


def ended(trial: Trial) -> Trial:
    """Return a trial with its result: most trials are complete, every fifth has failed."""
    if trial.number % 5 == 3:
        return replace(trial, state=TrialState.FAILED)
    objective = 1 - (float(trial.values["alpha"]) - 0.8) ** 2
    return replace(trial, state=TrialState.COMPLETE, objective=objective)


def complete(search: Search, trial: Trial, objective: float = 0.5) -> None:
    search.end(replace(trial, state=TrialState.COMPLETE, objective=objective), ["run"])


def complete_trials(search: Search) -> list[Values]:
    """Complete all trials, one after the other, and return their values."""
    values: list[Values] = []
    while (trial := search.next_trial()) is not None:
        values.append(trial.values)
        complete(search, trial, float(trial.values["alpha"]))
    return values


def started(search: Search) -> Trial:
    trial = search.next_trial()
    assert trial is not None
    return trial


def state_counts(search: Search) -> Counter[str]:
    return Counter(trial.state.name for trial in search.study.trials)


def test_the_first_trial_is_the_reference(tmp_path: Path) -> None:
    values = complete_trials(open_search(tmp_path))
    assert values[0] == REFERENCE
    assert len(values) == 4
    assert REFERENCE not in values[1:]


def test_without_a_reference_the_sampler_chooses_the_first_trial() -> None:
    values = complete_trials(in_memory(4, reference=None))
    assert len(values) == 4
    assert REFERENCE not in values


def test_values_lie_in_the_space_and_have_four_digits() -> None:
    for values in complete_trials(in_memory(30)):
        for name, value in values.items():
            assert value in SPACE[name]
            assert value == float(f"{value:.4g}")


def run_out_of_order(search: Search, order: Sequence[int], slots: int) -> dict[int, Trial]:
    """Carry out a search whose trials end in another order than they started in.

    Args:
        search: the search.
        order: which of the open trials ends next; used again and again.
        slots: number of trials at a time.
    """
    open_trials: list[Trial] = []
    step = 0
    while True:
        while len(open_trials) < slots and (trial := search.next_trial()) is not None:
            open_trials.append(trial)
        if not open_trials:
            return search.trials
        trial = open_trials.pop(order[step % len(order)] % len(open_trials))
        search.end(ended(trial), ["run"])
        step += 1


ORDERS = ([0], [-1], [1, 0, 3, 2, 2], [2, 0, 1])


@pytest.mark.parametrize(
    "sampler", [TpeSampler(), RandomSampler(), QmcSampler()], ids=lambda each: each.identity["name"]
)
def test_neither_the_order_of_results_nor_the_slots_change_a_search(sampler: Any) -> None:
    rules = {"sampler": sampler, "lag": 3}
    expected = run_out_of_order(in_memory(24, **rules), [0], slots=1)
    assert len({str(trial.values) for trial in expected.values()}) == 24
    for slots in (1, 2, 3, 8):
        for order in ORDERS:
            assert run_out_of_order(in_memory(24, **rules), order, slots) == expected


def test_a_trial_waits_for_the_results_that_its_values_depend_on() -> None:
    search = in_memory(8, lag=3)
    first, second, third = (started(search) for _ in range(3))
    assert search.next_trial() is None
    complete(search, third)
    complete(search, second)
    assert search.next_trial() is None
    complete(search, first)
    assert [started(search).number for _ in range(3)] == [3, 4, 5]
    assert search.next_trial() is None


class RecordingSampler(RandomSampler):
    """A sampler that records the requests."""

    def __init__(self) -> None:
        self.requests: list[Request] = []

    def propose(self, request: Request) -> Values:
        self.requests.append(request)
        return super().propose(request)


@pytest.mark.parametrize("slots", [1, 4])
def test_a_proposal_knows_the_results_up_to_the_lag_and_counts_later_ones_as_pending(
    slots: int,
) -> None:
    history = [Trial(0, {"lambda": 9.0, "alpha": 0.6}, TrialState.COMPLETE, 0.4)]
    sampler = RecordingSampler()
    trials = run_out_of_order(in_memory(20, sampler=sampler, history=history), [1, 0], slots)
    request = sampler.requests[-1]
    assert (request.seed, request.number) == (1000, 18)  # the reference is not proposed
    earlier, known, pending = request.trials[:1], request.trials[1:17], request.trials[17:]
    assert earlier == history
    assert known == [trials[number] for number in range(16)]
    assert {trial.state for trial in known} == {TrialState.COMPLETE, TrialState.FAILED}
    assert pending == [Trial(number, trials[number].values) for number in (16, 17, 18)]
    assert {trial.state for trial in pending} == {TrialState.RUNNING}


def test_the_lag_is_part_of_what_is_proposed() -> None:
    few, many = (complete_trials(in_memory(24, lag=lag)) for lag in (1, 8))
    assert few[:10] == many[:10]  # random, in both
    assert few[11:] != many[11:]


def test_the_number_of_trials_is_a_target(tmp_path: Path) -> None:
    first = complete_trials(open_search(tmp_path, trials=3))
    again = open_search(tmp_path, trials=3)
    assert again.next_trial() is None
    assert again.done
    more = open_search(tmp_path, trials=5)
    assert not more.done
    second = complete_trials(more)
    assert len(second) == 2
    assert [trial.values for trial in more.completed_trials] == first + second
    assert first + second == complete_trials(in_memory(5))
    assert len(open_search(tmp_path, trials=2).completed_trials) == 2


def test_the_seed_determines_the_values() -> None:
    first, second = (complete_trials(in_memory(4)) for _ in range(2))
    other = complete_trials(in_memory(4, seeds=(1001,)))
    assert first == second
    assert other[1:] != first[1:]


def test_a_trial_that_was_left_open_is_started_again_with_its_values(tmp_path: Path) -> None:
    interrupted = open_search(tmp_path, trials=6)
    first, lost = started(interrupted), [started(interrupted), started(interrupted)]
    complete(interrupted, first)
    search = open_search(tmp_path, trials=6)
    assert [started(search), started(search)] == lost
    assert started(search).number == 3
    assert state_counts(search) == {"COMPLETE": 1, "RUNNING": 3}


def test_any_interruption_leads_to_the_same_search(tmp_path: Path) -> None:
    undisturbed = in_memory(14)
    while (trial := undisturbed.next_trial()) is not None:
        complete(undisturbed, trial, float(trial.values["alpha"]))
    # Each process ends the last of its three trials only.
    for _ in range(14):
        search = open_search(tmp_path, trials=14)
        trials = [trial for _ in range(3) if (trial := search.next_trial()) is not None]
        complete(search, trials[-1], float(trials[-1].values["alpha"]))
    assert open_search(tmp_path, trials=14).trials == undisturbed.trials


def test_a_failed_trial_counts_in_this_process_and_is_tried_again_in_the_next(
    tmp_path: Path,
) -> None:
    search = open_search(tmp_path, trials=2)
    failed = started(search)
    search.end(replace(failed, state=TrialState.FAILED))
    complete(search, started(search))
    assert search.next_trial() is None
    assert search.done
    assert [trial.number for trial in search.completed_trials] == [1]
    assert state_counts(search) == {"FAIL": 1, "COMPLETE": 1}
    again = open_search(tmp_path, trials=2)
    assert not again.done
    assert started(again) == failed
    assert again.next_trial() is None
    complete(again, failed)
    assert again.done
    assert state_counts(again) == {"FAIL": 1, "COMPLETE": 2}
    third = open_search(tmp_path, trials=2)
    assert third.next_trial() is None
    assert [trial.number for trial in third.completed_trials] == [0, 1]


def test_a_trial_that_is_tried_again_ends_before_later_ones_are_proposed(tmp_path: Path) -> None:
    search = open_search(tmp_path, trials=8, lag=2)
    for _ in range(3):
        trial = started(search)
        state = TrialState.FAILED if trial.number == 1 else TrialState.COMPLETE
        search.end(replace(trial, state=state, objective=0.5 if trial.number != 1 else None))
    again = open_search(tmp_path, trials=8, lag=2)
    failed = started(again)
    assert failed.number == 1
    assert again.next_trial() is None
    complete(again, failed)
    assert started(again).number == 3


def test_a_trial_that_was_left_open_waits_for_a_trial_that_is_tried_again(tmp_path: Path) -> None:
    search = open_search(tmp_path, trials=5, lag=2)
    for number in range(3):
        trial = started(search)
        state = TrialState.FAILED if number == 1 else TrialState.COMPLETE
        search.end(replace(trial, state=state, objective=None if number == 1 else 0.5))
    left_open = started(search)
    again = open_search(tmp_path, trials=5, lag=2)
    failed = started(again)
    assert (failed.number, left_open.number) == (1, 3)
    assert again.next_trial() is None
    complete(again, failed)
    assert started(again) == left_open
    assert all(trial.state is TrialState.COMPLETE for trial in again.trials_before(3))


def test_a_stopped_trial_has_the_objective_of_its_last_step(tmp_path: Path) -> None:
    search = open_search(tmp_path, trials=2)
    trial = replace(
        started(search), state=TrialState.STOPPED, objective=0.4, steps={2: 0.3, 4: 0.4}
    )
    search.end(trial, ["run"])
    assert search.completed_trials == []
    again = open_search(tmp_path, trials=2)
    assert again.trials == {0: trial}
    assert started(again).number == 1


def test_a_trial_stores_its_number_and_the_digests_of_its_runs(tmp_path: Path) -> None:
    search = open_search(tmp_path, trials=1)
    search.end(replace(started(search), state=TrialState.COMPLETE, objective=0.5), ["abc", "def"])
    (trial,) = search.study.trials
    assert trial.user_attrs == {"number": 0, "digests": ["abc", "def"]}
    assert trial.params == REFERENCE


def test_trials_of_other_programs_are_left_out(tmp_path: Path) -> None:
    search = open_search(tmp_path, trials=2)
    search.study.enqueue_trial({"lambda": 1.0})
    search.study.ask()
    assert open_search(tmp_path, trials=2).trials == {}


def test_the_study_is_named_by_the_digest(tmp_path: Path) -> None:
    complete_trials(open_search(tmp_path, digest="1" * 64))
    other = open_search(tmp_path, digest="2" * 64)
    assert other.trials == {}
    assert sorted(optuna.get_all_study_names(searches_of(tmp_path))) == ["1" * 64, "2" * 64]


def test_searched_values_do_not_enter_the_digest() -> None:
    low, high = ({"lambda": value, "alpha": value} for value in (0.6, 0.9))
    one, two = (search_digest(make_spec(values=values), RULES, MEAN) for values in (low, high))
    assert one == two
    assert len(one) == 64


@pytest.mark.parametrize(
    ("changes", "rules", "protocol"),
    [
        ({"values": {"first_target_epoch": 2}}, {}, MEAN),
        ({"seed": 1}, {}, MEAN),
        ({"scenario": "symmetric-0.2"}, {}, MEAN),
        ({"epochs": 7}, {}, MEAN),
        ({"subset": 50}, {}, MEAN),
        ({"data": "0" * 64}, {}, MEAN),
        ({"hold_out": 0.2}, {}, MEAN),
        ({"revision": 99}, {}, MEAN),
        ({}, {"spaces": {**SPACE, "lambda": Space(0.05, 10, log=True)}}, MEAN),
        ({}, {"spaces": {**SPACE, "lambda": Space(0.05, 20)}}, MEAN),
        ({}, {"spaces": {"lambda": SPACE["lambda"]}}, MEAN),
        ({}, {"sampler": RandomSampler()}, MEAN),
        ({}, {"sampler": GridSampler([REFERENCE])}, MEAN),
        ({}, {"sampler": GridSampler([{"lambda": 1.0, "alpha": 0.9}])}, MEAN),
        ({}, {"seeds": (1000, 1001)}, MEAN),
        ({}, {"lag": 5}, MEAN),
        ({}, {"reference": None}, MEAN),
        ({}, {"history": [Trial(0, REFERENCE, TrialState.COMPLETE, 0.5)]}, MEAN),
        ({}, {}, {**MEAN, "window": 2}),
        ({}, {}, {**MEAN, "protocol": "held-out-cycle-ends"}),
    ],
)
def test_all_other_settings_enter_the_digest(
    changes: dict[str, Any], rules: dict[str, Any], protocol: dict[str, str | int]
) -> None:
    usual = search_digest(make_spec(), RULES, MEAN)
    assert search_digest(make_spec(**changes), replace(RULES, **rules), protocol) != usual


def test_a_searched_value_of_the_recipe_does_not_enter_the_digest() -> None:
    rules = replace(RULES, spaces={"learning_rate": Space(0.01, 1, log=True)})
    recipes = (replace(make_spec().recipe, learning_rate=rate) for rate in (0.01, 1.0))
    one, two = (search_digest(make_spec(recipe=recipe), rules, MEAN) for recipe in recipes)
    assert one == two


def test_a_search_refuses_trials_on_other_labels(tmp_path: Path) -> None:
    search = open_search(tmp_path)
    search.check_labels(1000, "a" * 64)
    search.check_labels(1001, "c" * 64)
    again = open_search(tmp_path)
    again.check_labels(1000, "a" * 64)
    again.check_labels(1001, "c" * 64)
    with pytest.raises(NalError) as info:
        again.check_labels(1000, "b" * 64)
    assert str(info.value) == (
        "the earlier trials of search dddddddddddd were trained on noisy labels with SHA-256 "
        "aaaaaaaaaaaa, but a new trial on labels with SHA-256 bbbbbbbbbbbb, so their objectives "
        "are not comparable: choose another home folder with --home to start a new search"
    )


def test_the_reference_is_not_rounded() -> None:
    exact: Values = {"lambda": 0.123456, "alpha": 0.987654}
    assert started(in_memory(1, reference=exact)).values == exact
    grid = GridSampler([{"lambda": 0.1235, "alpha": 0.9877}])
    assert complete_trials(in_memory(2, reference=exact, sampler=grid)) == [exact, exact]
