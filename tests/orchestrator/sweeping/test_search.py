from __future__ import annotations

from collections import Counter
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import optuna
import pytest
from factories import make_spec
from optuna.trial import TrialState
from plans import searches_of

from orchestrator.sweeping.search import Search, rounded, search_digest
from trainables.errors import NalError
from trainables.run.parameters import Space

if TYPE_CHECKING:
    from pathlib import Path

SPACE = {"lambda": Space(0.05, 20, log=True), "alpha": Space(0.5, 0.99)}
MEAN: dict[str, str | int] = {"protocol": "held-out-mean", "window": 3}
REFERENCE = {"lambda": 0.5, "alpha": 0.9}


def opened(home: Path, trials: int = 4, **changes: Any) -> Search:
    """Open the search as a new process would."""
    value_of = changes.pop("value_of", lambda _values: None)
    given: dict[str, Any] = {"seed": 1000, "first": REFERENCE, "digest": "d" * 64, **changes}
    search = Search.open(searches_of(home), space=SPACE, trials=trials, **given)
    search.resume(value_of)
    return search


def carry_on(search: Search) -> list[dict[str, float]]:
    tried = []
    while search.wanted:
        proposal = search.ask()
        tried.append(proposal.values)
        search.tell(proposal, proposal.values["alpha"], "run")
    return tried


def states(search: Search) -> Counter[str]:
    return Counter(trial.state.name for trial in search.study.trials)


def test_the_first_trial_is_the_reference(tmp_path: Path) -> None:
    tried = carry_on(opened(tmp_path))
    assert tried[0] == REFERENCE
    assert len(tried) == 4
    assert REFERENCE not in tried[1:]


def test_without_a_reference_the_sampler_begins(tmp_path: Path) -> None:
    tried = carry_on(opened(tmp_path, first=None))
    assert len(tried) == 4
    assert REFERENCE not in tried


def test_proposals_lie_in_the_space_and_have_four_digits(tmp_path: Path) -> None:
    for values in carry_on(opened(tmp_path, trials=12)):
        for name, value in values.items():
            assert SPACE[name].low <= value <= SPACE[name].high
            assert value == float(f"{value:.4g}")


def test_rounding_keeps_small_numbers() -> None:
    assert rounded({"lambda": 0.000123456, "alpha": 0.98766}) == {
        "lambda": 0.0001235,
        "alpha": 0.9877,
    }


def test_the_number_of_trials_is_a_target(tmp_path: Path) -> None:
    first = carry_on(opened(tmp_path, trials=3))
    again = opened(tmp_path, trials=3)
    assert again.done
    assert again.wanted == 0
    more = opened(tmp_path, trials=5)
    assert not more.done
    assert more.wanted == 2
    second = carry_on(more)
    assert len(second) == 2
    assert [values for values, _ in more.completed()] == first + second
    assert all(values not in first for values in second)


def test_each_start_draws_anew(tmp_path: Path) -> None:
    tried = [tuple(carry_on(opened(tmp_path, trials=n))[-1].items()) for n in (2, 3, 4, 5)]
    assert len(set(tried)) == 4


def test_one_seed_gives_one_search(tmp_path: Path) -> None:
    homes = [tmp_path / name for name in "abc"]
    for home in homes:
        home.mkdir()
    first, second = (carry_on(opened(home, trials=4)) for home in homes[:2])
    other = carry_on(opened(homes[2], trials=4, seed=1001))
    assert first == second
    assert other[1:] != first[1:]


def test_a_running_trial_whose_run_has_ended_is_told(tmp_path: Path) -> None:
    dead = opened(tmp_path)
    first, second = dead.ask(), dead.ask()
    ended = {tuple(second.values.values()): 0.75}
    search = opened(tmp_path, value_of=lambda values: ended.get(tuple(values.values())))
    assert search.completed() == [(second.values, 0.75)]
    assert states(search) == {"FAIL": 1, "COMPLETE": 1, "WAITING": 1}
    assert search.wanted == 3
    assert search.ask().values == first.values == REFERENCE


def test_values_of_an_unfinished_trial_come_out_next(tmp_path: Path) -> None:
    dead = opened(tmp_path)
    done = dead.ask()
    dead.tell(done, 0.6, "run")
    lost = [dead.ask().values, dead.ask().values]
    search = opened(tmp_path)
    assert search.wanted == 3
    assert [search.ask().values, search.ask().values] == lost
    assert search.ask().values not in [done.values, *lost]
    assert search.wanted == 0


def test_a_trial_that_died_before_it_had_values_loses_nothing(tmp_path: Path) -> None:
    opened(tmp_path).study.ask()  # took the reference from the queue, but drew no value
    search = opened(tmp_path)
    tried = carry_on(search)
    assert tried[0] == REFERENCE
    assert len(tried) == 4
    assert states(search) == {"FAIL": 1, "COMPLETE": 4}


def test_killed_again_and_again_it_ends_with_the_same_number(tmp_path: Path) -> None:
    lost = None
    for _ in range(3):
        search = opened(tmp_path)
        search.tell(search.ask(), 0.5, "run")
        values = search.ask().values
        assert values != lost
        lost = values
    carry_on(opened(tmp_path))
    assert states(opened(tmp_path)) == {"COMPLETE": 4, "FAIL": 3}


def test_a_proposal_that_is_given_up_counts_in_this_sweep_only(tmp_path: Path) -> None:
    search = opened(tmp_path, trials=2)
    search.give_up(search.ask())
    assert search.wanted == 1
    search.tell(search.ask(), 0.5, "run")
    assert search.done
    assert states(search) == {"FAIL": 1, "COMPLETE": 1}
    assert opened(tmp_path, trials=2).wanted == 1


def test_a_told_trial_names_its_run(tmp_path: Path) -> None:
    search = opened(tmp_path, trials=1)
    search.tell(search.ask(), 0.5, "abc")
    (trial,) = search.study.trials
    assert trial.user_attrs == {"digest": "abc"}
    assert trial.state is TrialState.COMPLETE


def test_the_search_lives_under_its_digest(tmp_path: Path) -> None:
    carry_on(opened(tmp_path, digest="1" * 64))
    other = opened(tmp_path, digest="2" * 64)
    assert other.wanted == 4
    assert sorted(optuna.get_all_study_names(searches_of(tmp_path))) == ["1" * 64, "2" * 64]


def test_tuned_values_do_not_name_a_search() -> None:
    low, high = ({"lambda": value, "alpha": value} for value in (0.6, 0.9))
    one, two = (search_digest(make_spec(values=v), SPACE, MEAN) for v in (low, high))
    assert one == two
    assert len(one) == 64


@pytest.mark.parametrize(
    ("changes", "space", "protocol"),
    [
        ({"values": {"first_target_epoch": 2}}, SPACE, MEAN),
        ({"seed": 1}, SPACE, MEAN),
        ({"scenario": "symmetric-0.2"}, SPACE, MEAN),
        ({"epochs": 7}, SPACE, MEAN),
        ({"subset": 50}, SPACE, MEAN),
        ({"data": "0" * 64}, SPACE, MEAN),
        ({"hold_out": 0.2}, SPACE, MEAN),
        ({"revision": 99}, SPACE, MEAN),
        ({}, {**SPACE, "lambda": Space(0.05, 10, log=True)}, MEAN),
        ({}, {**SPACE, "lambda": Space(0.05, 20)}, MEAN),
        ({}, {"lambda": SPACE["lambda"]}, MEAN),
        ({}, SPACE, {**MEAN, "window": 2}),
        ({}, SPACE, {**MEAN, "protocol": "held-out-cycle-ends"}),
    ],
)
def test_anything_else_does(
    changes: dict[str, Any], space: dict[str, Space], protocol: dict[str, str | int]
) -> None:
    usual = search_digest(make_spec(), SPACE, MEAN)
    assert search_digest(make_spec(**changes), space, protocol) != usual


def test_a_searched_value_of_the_recipe_does_not_name_a_search() -> None:
    space = {"learning_rate": Space(0.01, 1, log=True)}
    recipes = (replace(make_spec().recipe, learning_rate=rate) for rate in (0.01, 1.0))
    one, two = (search_digest(make_spec(recipe=recipe), space, MEAN) for recipe in recipes)
    assert one == two


def test_a_search_refuses_trials_on_other_labels(tmp_path: Path) -> None:
    opened(tmp_path).require_labels("a" * 64)
    again = opened(tmp_path)
    again.require_labels("a" * 64)
    with pytest.raises(NalError) as refused:
        again.require_labels("b" * 64)
    assert str(refused.value) == (
        "search dddddddddddd was made on noisy labels aaaaaaaaaaaa, and a trial has seen "
        "bbbbbbbbbbbb: values on different labels are not compared; choose another folder with "
        "--home"
    )


def test_the_reference_is_tried_as_it_is_and_no_value_leaves_the_space(tmp_path: Path) -> None:
    exact = {"lambda": 0.123456, "alpha": 0.987654}
    search = opened(tmp_path, first=exact)
    assert search.ask().values == exact
    search.space = {"lambda": SPACE["lambda"], "alpha": Space(0.5, 0.99999)}
    assert search.values_of({"lambda": 1.0, "alpha": 0.999985}) == {"lambda": 1.0, "alpha": 0.99999}
