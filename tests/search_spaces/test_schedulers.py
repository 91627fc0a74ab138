"""Schedulers in studies: what they derive, and what is refused before anything is trained."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from search_spaces.identity import study_identity
from search_spaces.loader import LoadedStudy, load_study, parse_set_flag
from search_spaces.rungs import grace_on, rungs_on, stopping_identity
from trainables.errors import StudyError

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

ASHA = "search.scheduler=asha"


def load(name: str, *sets: str) -> LoadedStudy:
    return load_study(name, [parse_set_flag(text) for text in sets])


def rungs(name: str, *sets: str, epochs: int | None = None) -> tuple[int, ...]:
    loaded = load(name, *sets)
    study = (loaded if epochs is None else loaded.with_epochs(epochs)).study
    (scenario,) = study.search_scenarios
    return rungs_on(study, study.tune[0], scenario)


def fault(name: str, *sets: str) -> str:
    with pytest.raises(StudyError) as error_info:
        load(name, *sets)
    assert "\n" not in str(error_info.value)
    return str(error_info.value)


def test_no_study_stops_trials_unless_it_says_so() -> None:
    study = load("digits").study
    assert study.search.scheduler.kind == "none"
    assert stopping_identity(study, "nal", "symmetric-0.4") == {}
    assert study_identity(study) == study_identity(load("digits", "search.scheduler=none").study)


def test_the_first_rung_averages_only_epochs_after_the_first_target_epoch() -> None:
    # 60 epochs, the first target in epoch 10, means over 10 epochs
    assert rungs("digits", ASHA) == (20,)
    assert rungs("digits", ASHA, "recipe.window=3") == (13, 39)
    assert rungs("digits", ASHA, "hyperparameters.nal.first_target_epoch=1") == (11, 33)
    assert rungs("digits", "search.scheduler={kind: hyperband, factor: 2}") == (20, 40)


def test_a_stated_grace_period_may_be_as_short_as_the_first_target_epoch_allows() -> None:
    assert rungs("digits", "search.scheduler={kind: asha, grace: 11, factor: 2}") == (11, 22, 44)
    assert fault("digits", "search.scheduler={kind: asha, grace: 10}") == (
        "--set search.scheduler: search.scheduler.grace: 10 is too short: first_target_epoch of "
        "nal on symmetric-0.4 is 10, and until that epoch has ended the searched values cannot "
        "show in full: set 20, or leave grace out"
    )


@pytest.mark.parametrize(
    ("sets", "message"),
    [
        (
            ("search.scheduler=ahsa",),
            "--set search.scheduler: unknown scheduler 'ahsa': did you mean 'asha'? known: asha, "
            "hyperband, none, wilcoxon",
        ),
        (
            ("search.scheduler={grace: 20}",),
            "--set search.scheduler: search.scheduler.kind: is missing: known: asha, hyperband, "
            "none, wilcoxon",
        ),
        (
            ("search.scheduler=[asha]",),
            "--set search.scheduler: must be a name such as asha, or a mapping like {kind: asha, "
            "grace: 20}, got ['asha']",
        ),
        (
            ("search.scheduler={kind: asha, grase: 20}",),
            "--set search.scheduler: search.scheduler.grase: scheduler asha has no parameter "
            "'grase': did you mean 'grace'? known: factor, grace",
        ),
        (
            ("search.scheduler={kind: asha, factor: 1}",),
            "--set search.scheduler: search.scheduler.factor: factor must be an integer at least 2 "
            "and at most 100, got 1",
        ),
        (
            ("search.scheduler={kind: asha, grace: 60}",),
            "--set search.scheduler: search.scheduler.grace: 60 leaves nothing to stop, since a "
            "run on symmetric-0.4 has 60 epochs: set 20, or leave grace out",
        ),
        (
            ("search.scheduler={kind: asha, grace: 8}", "hyperparameters.nal.first_target_epoch=2"),
            "--set search.scheduler: search.scheduler.grace: 8 is shorter than recipe.window, the "
            "10 epochs whose mean accuracy is compared: set 12, or leave grace out",
        ),
        (
            (ASHA, "hyperparameters.nal.first_target_epoch=55"),
            "--set search.scheduler: asha finds no epoch after which runs of nal on symmetric-0.4 "
            "could be compared: they have 60 epochs, first_target_epoch is 55, and the mean over "
            "the last 10 epochs is compared: train for more epochs, or use none",
        ),
        (
            ("search.scheduler=wilcoxon",),
            "--set search.scheduler: wilcoxon compares trials on the same seeds, and with "
            "threshold 0.1 it needs 5 of them before it can leave one out: search.seeds has 1",
        ),
    ],
)
def test_what_cannot_be_carried_out_is_refused_in_one_line(
    sets: tuple[str, ...], message: str
) -> None:
    assert fault("digits", *sets) == message


def test_a_refusal_names_the_line_of_the_study(write_study: Callable[..., Path]) -> None:
    scheduler = "scenario: symmetric-0.4\n  scheduler:\n    kind: asha\n    grace: 4"
    path = write_study("scenario: symmetric-0.4", scheduler)
    assert fault(str(path)).startswith(f"{path}:27: search.scheduler.grace: 4 is too short: ")


def test_trials_are_compared_where_their_accuracy_is_evaluated() -> None:
    for evaluate_every, expected in ((1, (13, 39)), (5, (15, 45)), (7, (14, 42))):
        sets = ("recipe.window=3", f"recipe.evaluate_every={evaluate_every}")
        assert rungs("digits", ASHA, *sets) == expected
    assert fault("digits", "search.scheduler={kind: asha, grace: 17}", *sets) == (
        "--set search.scheduler: search.scheduler.grace: the mean after epoch 17 would be over no "
        "epoch, since only those divisible by 7 are evaluated (recipe.evaluate_every): set 14, or "
        "leave grace out"
    )


CYCLES = "recipe.schedule={kind: cosine-restarts, period: 12}"


def test_rungs_are_ends_of_cycles_where_these_are_compared() -> None:
    assert rungs("digits", ASHA, CYCLES) == (12, 36)
    # three ends are averaged: those of epochs 24, 36 and 48
    assert rungs("digits", ASHA, CYCLES, "hyperparameters.nal.first_target_epoch=12") == (48,)
    assert fault("digits", "search.scheduler={kind: asha, grace: 20}", CYCLES) == (
        "--set search.scheduler: search.scheduler.grace: 20 is no end of a cycle of the learning "
        "rate, which has 12 epochs on symmetric-0.4, and trials are compared at such ends: set 12, "
        "or leave grace out"
    )


def test_a_grace_period_is_scaled_with_the_length_of_training(
    write_study: Callable[..., Path],
) -> None:
    scheduler = "scenario: symmetric-0.4\n  scheduler: {kind: asha, grace: 15}"
    path = str(write_study("scenario: symmetric-0.4", scheduler))
    assert rungs(path) == (15, 45)
    assert rungs(path, epochs=120) == (30, 90)
    assert rungs(path, epochs=12) == (3, 9)
    assert rungs(path, epochs=3) == (2,)
    with pytest.raises(StudyError, match="--epochs: asha finds no epoch after which runs of nal"):
        load(path).with_epochs(2)
    with pytest.raises(StudyError, match="--epochs: 15 leaves nothing to stop"):
        load(path, "search.scheduler.grace=15").with_epochs(12)


def test_what_show_prints_loads_as_the_same_study(tmp_path: Path) -> None:
    for sets in ((), (ASHA,), ("search.scheduler={kind: hyperband, factor: 2}",)):
        loaded = load("digits", *sets)
        path = tmp_path / "my-digits.yaml"
        path.write_text(loaded.to_yaml())
        assert study_identity(load(str(path)).study) == study_identity(loaded.study)
        assert load(str(path)).resolved_values == loaded.resolved_values


def test_the_rule_enters_the_identity_with_its_grace_period() -> None:
    def identity(*sets: str) -> object:
        return study_identity(load("digits", *sets).study)

    default = identity(ASHA)
    assert identity("search.scheduler={kind: asha, grace: 20, factor: 3}") == default
    others = ["none", "hyperband", "{kind: asha, grace: 21}", "{kind: asha, factor: 2}"]
    assert all(identity(f"search.scheduler={other}") != default for other in others)
    assert identity(ASHA, "tune=[]") == identity("tune=[]")


def test_every_search_of_a_study_has_a_grace_period_of_its_own() -> None:
    study = load("cifar10", ASHA, "search.scope=scenario").study
    graces = {name: grace_on(study, "nal", name) for name in study.search_scenarios}
    assert len(graces) == len(study.scenarios)
    assert min(graces.values()) > 60


@pytest.mark.parametrize("space", ["{low: 5, high: 25}", "{choices: [10, 25, 5]}"])
def test_a_searched_first_target_epoch_counts_with_its_largest_value(space: str) -> None:
    sets = (
        "hyperparameters.nal.first_target_epoch=null",
        "reference.nal.first_target_epoch=10",
        f"search.space.nal.first_target_epoch={space}",
    )
    assert rungs("digits", ASHA, *sets) == (35,)
    assert "first_target_epoch of nal on symmetric-0.4 is 25" in fault(
        "digits", "search.scheduler={kind: asha, grace: 20}", *sets
    )
