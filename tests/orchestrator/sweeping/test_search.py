from __future__ import annotations

from collections import Counter
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import optuna
import pytest
from factories import make_spec
from optuna.trial import TrialState
from plans import searches_of

from orchestrator.sweeping.search import (
    SAMPLER_SETTINGS,
    Search,
    round_values,
    search_digest,
)
from orchestrator.sweeping.search_storage import NO_PATIENCE
from trainables.errors import NalError
from trainables.run.parameters import ChoiceSpace, Space

if TYPE_CHECKING:
    from pathlib import Path

    from orchestrator.planning.plan import Values
    from trainables.run.parameters import AnySpace

SPACE = {"lambda": Space(0.05, 20, log=True), "alpha": Space(0.5, 0.99)}
MEAN: dict[str, str | int] = {"protocol": "held-out-mean", "window": 3}
REFERENCE = {"lambda": 0.5, "alpha": 0.9}


def open_search(home: Path, trials: int = 4, **changes: Any) -> Search:
    """Open a search as a new process would."""
    value_of = changes.pop("value_of", lambda _values: None)
    arguments: dict[str, Any] = {
        "seed": 1000,
        "first_values": REFERENCE,
        "digest": "d" * 64,
        "patience": NO_PATIENCE,
        **changes,
    }
    search = Search.open(searches_of(home), space=SPACE, n_trials=trials, **arguments)
    search.resume(value_of)
    return search


def complete_trials(search: Search) -> list[Values]:
    proposals = []
    while search.remaining_trial_count:
        proposal = search.ask()
        proposals.append(proposal.values)
        search.tell(proposal, float(proposal.values["alpha"]), "run")
    return proposals


def state_counts(search: Search) -> Counter[str]:
    return Counter(trial.state.name for trial in search.study.trials)


def test_the_first_trial_is_the_reference(tmp_path: Path) -> None:
    proposals = complete_trials(open_search(tmp_path))
    assert proposals[0] == REFERENCE
    assert len(proposals) == 4
    assert REFERENCE not in proposals[1:]


def test_without_a_reference_the_sampler_chooses_the_first_trial(tmp_path: Path) -> None:
    proposals = complete_trials(open_search(tmp_path, first_values=None))
    assert len(proposals) == 4
    assert REFERENCE not in proposals


def test_proposals_lie_in_the_space_and_have_four_digits(tmp_path: Path) -> None:
    for values in complete_trials(open_search(tmp_path, trials=12)):
        for name, value in values.items():
            assert value in SPACE[name]
            assert value == float(f"{value:.4g}")


def test_rounding_keeps_small_numbers() -> None:
    assert round_values({"lambda": 0.000123456, "alpha": 0.98766}) == {
        "lambda": 0.0001235,
        "alpha": 0.9877,
    }


def test_the_number_of_trials_is_a_target(tmp_path: Path) -> None:
    first = complete_trials(open_search(tmp_path, trials=3))
    again = open_search(tmp_path, trials=3)
    assert again.done
    assert again.remaining_trial_count == 0
    more = open_search(tmp_path, trials=5)
    assert not more.done
    assert more.remaining_trial_count == 2
    second = complete_trials(more)
    assert len(second) == 2
    assert [values for values, _ in more.completed_trials()] == first + second
    assert all(values not in first for values in second)


def test_each_start_samples_other_values(tmp_path: Path) -> None:
    proposals = [
        tuple(complete_trials(open_search(tmp_path, trials=n))[-1].items()) for n in (2, 3, 4, 5)
    ]
    assert len(set(proposals)) == 4


def test_the_seed_determines_the_proposals(tmp_path: Path) -> None:
    homes = [tmp_path / name for name in "abc"]
    for home in homes:
        home.mkdir()
    first, second = (complete_trials(open_search(home, trials=4)) for home in homes[:2])
    other = complete_trials(open_search(homes[2], trials=4, seed=1001))
    assert first == second
    assert other[1:] != first[1:]


def test_a_running_trial_whose_run_has_ended_becomes_complete(tmp_path: Path) -> None:
    interrupted = open_search(tmp_path)
    first, second = interrupted.ask(), interrupted.ask()
    ended = {tuple(second.values.values()): 0.75}
    search = open_search(tmp_path, value_of=lambda values: ended.get(tuple(values.values())))
    assert search.completed_trials() == [(second.values, 0.75)]
    assert state_counts(search) == {"RUNNING": 1, "COMPLETE": 1}
    assert search.remaining_trial_count == 3
    assert search.ask().values == first.values == REFERENCE


def test_values_of_an_unfinished_trial_are_proposed_again(tmp_path: Path) -> None:
    interrupted = open_search(tmp_path)
    done = interrupted.ask()
    interrupted.tell(done, 0.6, "run")
    lost = [interrupted.ask().values, interrupted.ask().values]
    search = open_search(tmp_path)
    assert search.remaining_trial_count == 3
    assert [search.ask().values, search.ask().values] == lost
    assert search.ask().values not in [done.values, *lost]
    assert search.remaining_trial_count == 0


def test_an_interruption_before_sampling_keeps_the_queued_values(tmp_path: Path) -> None:
    open_search(tmp_path).study.ask()  # removes the reference from the queue, but samples no value
    search = open_search(tmp_path)
    proposals = complete_trials(search)
    assert proposals[0] == REFERENCE
    assert len(proposals) == 4
    assert state_counts(search) == {"COMPLETE": 4}


def test_repeated_interruptions_keep_the_number_of_trials(tmp_path: Path) -> None:
    lost = None
    for _ in range(3):
        search = open_search(tmp_path)
        proposal = search.ask()
        assert lost in {None, tuple(proposal.values.items())}
        search.tell(proposal, 0.5, "run")
        lost = tuple(search.ask().values.items())
    complete_trials(open_search(tmp_path))
    assert state_counts(open_search(tmp_path)) == {"COMPLETE": 4}


def test_a_failed_trial_counts_in_this_sweep_only(tmp_path: Path) -> None:
    search = open_search(tmp_path, trials=2)
    search.fail(search.ask())
    assert search.remaining_trial_count == 1
    search.tell(search.ask(), 0.5, "run")
    assert search.done
    assert state_counts(search) == {"FAIL": 1, "COMPLETE": 1}
    assert open_search(tmp_path, trials=2).remaining_trial_count == 1


def test_a_complete_trial_stores_the_digest_of_its_run(tmp_path: Path) -> None:
    search = open_search(tmp_path, trials=1)
    search.tell(search.ask(), 0.5, "abc")
    (trial,) = search.study.trials
    assert trial.user_attrs == {"digest": "abc"}
    assert trial.state is TrialState.COMPLETE


def test_the_study_is_named_by_the_digest(tmp_path: Path) -> None:
    complete_trials(open_search(tmp_path, digest="1" * 64))
    other = open_search(tmp_path, digest="2" * 64)
    assert other.remaining_trial_count == 4
    assert sorted(optuna.get_all_study_names(searches_of(tmp_path))) == ["1" * 64, "2" * 64]


def test_searched_values_do_not_enter_the_digest() -> None:
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
def test_all_other_settings_enter_the_digest(
    changes: dict[str, Any], space: dict[str, Space], protocol: dict[str, str | int]
) -> None:
    usual = search_digest(make_spec(), SPACE, MEAN)
    assert search_digest(make_spec(**changes), space, protocol) != usual


def test_a_searched_value_of_the_recipe_does_not_enter_the_digest() -> None:
    space = {"learning_rate": Space(0.01, 1, log=True)}
    recipes = (replace(make_spec().recipe, learning_rate=rate) for rate in (0.01, 1.0))
    one, two = (search_digest(make_spec(recipe=recipe), space, MEAN) for recipe in recipes)
    assert one == two


def test_a_search_refuses_trials_on_other_labels(tmp_path: Path) -> None:
    open_search(tmp_path).check_labels("a" * 64)
    again = open_search(tmp_path)
    again.check_labels("a" * 64)
    with pytest.raises(NalError) as info:
        again.check_labels("b" * 64)
    assert str(info.value) == (
        "the earlier trials of search dddddddddddd were trained on noisy labels with SHA-256 "
        "aaaaaaaaaaaa, but a new trial on labels with SHA-256 bbbbbbbbbbbb, so their objectives "
        "are not comparable: choose another home folder with --home to start a new search"
    )


def test_the_reference_is_not_rounded_and_values_stay_in_the_space(tmp_path: Path) -> None:
    exact = {"lambda": 0.123456, "alpha": 0.987654}
    search = open_search(tmp_path, first_values=exact)
    assert search.ask().values == exact
    search.space = {"lambda": SPACE["lambda"], "alpha": Space(0.5, 0.99999)}
    assert search.values_of({"lambda": 1.0, "alpha": 0.999985}) == {"lambda": 1.0, "alpha": 0.99999}


def test_the_settings_of_the_sampler_name_a_search(monkeypatch: pytest.MonkeyPatch) -> None:
    assert SAMPLER_SETTINGS == {"name": "tpe", "multivariate": True, "constant_liar": True}
    usual = search_digest(make_spec(), SPACE, MEAN)
    monkeypatch.setitem(SAMPLER_SETTINGS, "multivariate", "independent")
    assert search_digest(make_spec(), SPACE, MEAN) != usual


def test_the_sampler_has_these_settings(tmp_path: Path) -> None:
    sampler = open_search(tmp_path).study.sampler
    assert isinstance(sampler, optuna.samplers.TPESampler)
    assert (sampler._multivariate, sampler._constant_liar) == (True, True)


CONDITIONAL: dict[str, AnySpace] = {
    "alpha": Space(0.5, 0.98765),
    "kind": ChoiceSpace(("hard", "soft")),
    "interval": Space(1, 9, integer=True, when={"kind": ("soft",)}),
    "rate": ChoiceSpace((0.123456, 1.0)),
}


def open_conditional(home: Path, trials: int, value_of: Any = None) -> Search:
    search = Search.open(
        searches_of(home),
        space=CONDITIONAL,
        n_trials=trials,
        seed=1000,
        first_values={"alpha": 0.9, "kind": "hard", "rate": 1.0},
        digest="c" * 64,
        patience=NO_PATIENCE,
    )
    search.resume(value_of or (lambda _values: None))
    return search


def test_proposals_have_the_parameters_whose_conditions_are_met(tmp_path: Path) -> None:
    proposals = complete_trials(open_conditional(tmp_path, trials=16))
    assert proposals[0] == {"alpha": 0.9, "kind": "hard", "rate": 1.0}
    for values in proposals:
        assert ("interval" in values) == (values["kind"] == "soft")
        assert type(values.get("interval", 1)) is int
        assert values["rate"] in (0.123456, 1.0)  # choices are not rounded
        assert values["alpha"] == float(f"{values['alpha']:.4g}")
    assert {values["kind"] for values in proposals} == {"hard", "soft"}


def test_trials_with_conditions_are_completed_after_an_interruption(tmp_path: Path) -> None:
    interrupted = open_conditional(tmp_path, trials=12)
    proposals = [interrupted.ask().values for _ in range(12)]
    again = open_conditional(tmp_path, trials=12, value_of=lambda values: float(values["alpha"]))
    assert again.done
    assert [values for values, _ in again.completed_trials()] == proposals
    assert {len(values) for values in proposals} == {3, 4}
