"""The protocol that chooses hyperparameters: its source, its identity and what is refused."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from search_spaces.identity import study_identity
from search_spaces.loader import LoadedStudy, load_study, parse_set_flag
from search_spaces.resolve import protocol_on, resolve
from trainables.errors import StudyError
from trainables.run.protocols import HeldOutCycleEnds, HeldOutMean

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

ENDS = "search.protocol=held-out-cycle-ends"
RESTARTS = "recipe.schedule={kind: cosine-restarts, period: 10}"


def load(name: str, *sets: str) -> LoadedStudy:
    return load_study(name, [parse_set_flag(text) for text in sets])


@pytest.mark.parametrize(
    ("name", "sets", "key", "source"),
    [
        ("digits", (), "held-out-mean", "by the schedule"),
        ("digits", (RESTARTS,), "held-out-cycle-ends", "by the schedule"),
        ("cifar10", (), "held-out-cycle-ends", "by the schedule"),
        ("cifar10-pmd", (), "held-out-mean", "by the schedule"),
        ("cifar10", ("search.protocol=held-out-mean",), "held-out-mean", "set by --set"),
    ],
)
def test_the_resolved_protocol_has_a_source(
    name: str, sets: tuple[str, ...], key: str, source: str
) -> None:
    loaded = load(name, *sets)
    assert loaded.resolved_values["search"]["protocol"] == key
    assert loaded.resolved_values["search"]["cycles"] == 3
    assert loaded.sources["search.protocol"].startswith(source)


def test_a_written_out_study_with_restarts_loads_as_the_same(tmp_path: Path) -> None:
    loaded = load("digits", RESTARTS, "search.cycles=2")
    path = tmp_path / "again.yaml"
    path.write_text(loaded.to_yaml())
    again = load(str(path))
    assert (again.resolved_values, again.sources) == (loaded.resolved_values, loaded.sources)
    assert study_identity(again.study) == study_identity(loaded.study)


def test_the_key_stays_open_where_scenarios_differ(write_study: Callable[..., Path]) -> None:
    override = (
        "overrides=[{scenario: clean, recipe: {schedule: {kind: cosine-restarts, period: 20}}}]"
    )
    loaded = load(str(write_study()), override)
    assert loaded.resolved_values["search"]["protocol"] is None
    assert protocol_on(loaded.study, "symmetric-0.4") == HeldOutMean(10)
    assert protocol_on(loaded.study, "clean") == HeldOutCycleEnds(3)


def test_only_cycle_ends_enter_the_identity(write_study: Callable[..., Path]) -> None:
    path = str(write_study())
    cell = study_identity(load(path, RESTARTS).study)["methods"]["nal"]["clean"]
    assert cell["protocol"] == {"protocol": "held-out-cycle-ends", "cycles": 3}
    usual = load(path).study
    assert "protocol" not in study_identity(usual)["methods"]["nal"]["clean"]
    assert not {"protocol", "cycles"} & study_identity(usual)["search"].keys()
    same = load(path, "search.protocol=held-out-mean").study
    assert study_identity(same) == study_identity(usual)


def test_another_recipe_is_read_by_its_own_schedule() -> None:
    only = ("scenarios=[symmetric-0.4]", "recipes.elr=published", "tune=[nal]")
    study = load("cifar10", *only, "search.protocol=held-out-mean").study
    assert resolve(study, "nal", "symmetric-0.4").protocol == HeldOutMean(10)
    assert resolve(study, "elr", "symmetric-0.4").protocol == HeldOutCycleEnds(3)


REFUSALS = [
    (
        (ENDS,),
        "--set search.protocol: held-out-cycle-ends needs a learning rate that restarts, but the "
        "schedule on symmetric-0.4 is constant: use held-out-mean",
    ),
    (
        (ENDS, "recipe.schedule={kind: cosine-restarts, period: 100}"),
        "--set search.protocol: held-out-cycle-ends needs a whole cycle of 100 epochs, but a "
        "run on symmetric-0.4 has only 60 epochs: use held-out-mean",
    ),
    (
        (RESTARTS, "recipe.window=1", "recipe.evaluate_every=20"),
        "--set recipe.evaluate_every: evaluate_every 20 skips cycle ends whose accuracy "
        "chooses hyperparameters (epochs 50): use a divisor of 10, or "
        "search.protocol=held-out-mean",
    ),
    (
        ("search.cycles=5",),
        "--set search.cycles: 5 has no effect, since no scenario has the protocol "
        "held-out-cycle-ends: leave it out, or choose a schedule that restarts",
    ),
    (("search.cycles=0",), "--set search.cycles: must be greater than or equal to 1, got 0"),
]


@pytest.mark.parametrize(("sets", "message"), REFUSALS)
def test_refusals(write_study: Callable[..., Path], sets: tuple[str, ...], message: str) -> None:
    with pytest.raises(StudyError) as refused:
        load(str(write_study()), *sets)
    assert str(refused.value) == message


def test_an_unknown_protocol_is_refused(write_study: Callable[..., Path]) -> None:
    with pytest.raises(StudyError, match="'held-out-mean' or 'held-out-cycle-ends'"):
        load(str(write_study()), "search.protocol=best-epoch")


def test_a_refusal_names_the_override_that_skips_cycle_ends(
    write_study: Callable[..., Path],
) -> None:
    override = "overrides=[{scenario: clean, recipe: {evaluate_every: 7, window: 1}}]"
    with pytest.raises(StudyError) as refused:
        load(str(write_study()), RESTARTS, override)
    assert (
        "evaluate_every 7 skips cycle ends whose accuracy chooses hyperparameters (epochs 40, 50)"
        in str(refused.value)
    )
    mean = load(str(write_study()), RESTARTS, override, "search.protocol=held-out-mean").study
    assert protocol_on(mean, "clean") == HeldOutMean(1)
