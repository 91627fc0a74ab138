"""Search spaces of integers and choices, their conditions and priors, in studies."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from search_spaces.loader import LoadedStudy, load_study, parse_set_flag
from search_spaces.resolve import reference_of, resolve
from trainables.errors import StudyError
from trainables.run.parameters import ChoiceSpace, Prior, Space

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

SPACES = """\
      lambda: {low: 0.05, high: 20, log: true, prior: {width: 0.2}}
      alpha: {low: 0.5, high: 0.99}
      clamps: {choices: [false, true]}
      target_interval: {low: 1, high: 6, when: {clamps: false}}
      delta: {low: 0, high: 0.5, when: {target_interval: [4, 6]}}
"""
DELTA = "  nal: {first_target_epoch: 12, delta: 0.2}\n"
REFERENCE = "    alpha: 0.9\n    clamps: false\n    target_interval: 1\n"


@pytest.fixture
def path(write_study: Callable[..., Path]) -> Path:
    """Path of a study with five searched hyperparameters, of which two have conditions."""
    path = write_study("  nal:\n    first_target_epoch: 10\n", DELTA)
    text = path.read_text().replace("    alpha: 0.9\n", REFERENCE)
    before, _, after = text.partition("      lambda: {low")
    path.write_text(before + SPACES + after[after.index("select:") :])
    return path


def load(path: Path, *sets: str) -> LoadedStudy:
    return load_study(str(path), [parse_set_flag(text) for text in sets])


def fault(path: Path, *sets: str) -> str:
    with pytest.raises(StudyError) as caught:
        load(path, *sets)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_spaces_have_the_types_of_their_parameters(path: Path) -> None:
    assert load(path).study.space_of("nal") == {
        "lambda": Space(0.05, 20, log=True, prior=Prior(0.2)),
        "alpha": Space(0.5, 0.99),
        "clamps": ChoiceSpace((False, True)),
        "target_interval": Space(1, 6, integer=True, when={"clamps": (False,)}),
        "delta": Space(0, 0.5, when={"target_interval": (4, 6)}),
    }


def test_a_parameter_that_is_not_searched_has_the_fixed_value(path: Path) -> None:
    study = load(path).study
    values = resolve(study, "nal", "clean").with_values({"clamps": True, "lambda": 2.0})
    assert values.hyperparameters.items() >= {"clamps": True, "delta": 0.2}.items()
    assert dict(reference_of(study, "nal") or {}) == {
        "lambda": 0.5,
        "alpha": 0.9,
        "clamps": False,
        "target_interval": 1,
    }


def test_a_study_that_was_written_out_is_the_same(path: Path, tmp_path: Path) -> None:
    loaded = load(path)
    copy = tmp_path / "copy.yaml"
    copy.write_text(loaded.to_yaml())
    again = load_study(str(copy))
    assert again.resolved_values == loaded.resolved_values
    assert again.study.space_of("nal") == loaded.study.space_of("nal")
    assert loaded.resolved_values["search"]["space"]["nal"] == {
        "lambda": {"low": 0.05, "high": 20.0, "log": True, "prior": {"width": 0.2}},
        "alpha": {"low": 0.5, "high": 0.99, "log": False},
        "clamps": {"choices": [False, True]},
        "target_interval": {"low": 1, "high": 6, "log": False, "when": {"clamps": [False]}},
        "delta": {"low": 0.0, "high": 0.5, "log": False, "when": {"target_interval": [4, 6]}},
    }
    assert loaded.resolved_values["hyperparameters"]["nal"]["delta"] == 0.2


@pytest.mark.parametrize(
    ("value", "names"),
    [
        ("clamps=true", ["lambda", "alpha"]),
        ("clamps=false", ["lambda", "alpha", "target_interval", "delta"]),
        ("target_interval=1", ["lambda", "alpha", "clamps"]),
    ],
)
def test_a_flag_that_fixes_a_parameter_decides_the_conditions_on_it(
    path: Path, value: str, names: list[str]
) -> None:
    study = load(path, f"hyperparameters.nal.{value}").study
    assert list(study.space_of("nal")) == names
    assert resolve(study, "nal", "clean").hyperparameters["delta"] == 0.2
    in_reference = {*names, "target_interval"} - {"delta"} if "delta" in names else set(names)
    assert set(reference_of(study, "nal") or ()) == in_reference


def test_a_met_condition_is_no_condition(path: Path) -> None:
    study = load(path, "hyperparameters.nal.target_interval=4", "reference.nal.delta=0.1").study
    assert study.space_of("nal")["delta"] == Space(0, 0.5)
    assert dict(reference_of(study, "nal") or {})["delta"] == 0.1


def test_spaces_and_conditions_that_count_epochs_are_scaled(path: Path) -> None:
    loaded = load(path).with_epochs(30)
    spaces = loaded.study.space_of("nal")
    assert spaces["target_interval"] == Space(1, 3, integer=True, when={"clamps": (False,)})
    assert spaces["delta"] == Space(0, 0.5, when={"target_interval": (2, 3)})
    assert spaces["lambda"] == Space(0.05, 20, log=True, prior=Prior(0.2))
    assert "nal.target_interval.high 6 -> 3" in map(str, loaded.scaled_values)
    assert loaded.sources["search.space.nal.target_interval.high"].startswith(
        "scaled by --epochs from 6 ("
    )
    # Another length is that of the study itself, not of the scaled one.
    assert loaded.with_epochs(120).study.space_of("nal")["target_interval"].ends == (2, 12)


def test_a_space_that_a_flag_sets_is_not_scaled(path: Path) -> None:
    loaded = load(path, "search.space.nal.target_interval.high=8").with_epochs(30)
    assert loaded.study.space_of("nal")["target_interval"].ends == (1, 8)


def test_a_space_that_is_too_short_for_a_length_is_refused(path: Path) -> None:
    with pytest.raises(StudyError) as caught:
        load(path).with_epochs(6)
    assert str(caught.value) == (
        "--epochs: the search space [1, 6] of target_interval has no two values at this length: "
        "set hyperparameters.nal.target_interval, or train longer"
    )


@pytest.mark.parametrize(
    ("flag", "message"),
    [
        (
            "reference.nal.clamps=true",
            "reference.nal.target_interval: target_interval is not searched at the other values "
            "of the reference, by search.space.nal.target_interval.when: remove it here",
        ),
        (
            "reference.nal.target_interval=null",
            "search.space.nal.target_interval: target_interval is searched, but reference.nal "
            "lacks it: add reference.nal.target_interval",
        ),
        (
            "reference.nal.target_interval=7",
            "reference.nal.target_interval: 7 is outside the searched range [1, 6]: widen "
            "search.space.nal.target_interval",
        ),
        (
            "search.space.nal.delta.prior.width=0.1",
            "search.space.nal.delta.prior: a prior lies around the reference value, of which there "
            "is none for delta: set reference.nal.delta, or remove the prior",
        ),
        (
            "search.space.nal.clamps.choices=[true, 3]",
            "search.space.nal.clamps.choices: clamps must be true or false, got 3",
        ),
        (
            "search.space.nal.clamps=null",
            "search.space.nal.target_interval.when.clamps: target_interval depends on clamps, "
            "which is not searched",
        ),
        (
            "search.space.nal.target_interval.high=1",
            "search.space.nal.target_interval.high: high must be above low (1), got 1",
        ),
        (
            "search.space.nal.lambda.low=0",
            "search.space.nal.lambda.low: low must be above 0 if log is true, got 0",
        ),
    ],
)
def test_faults_of_spaces_are_one_line(path: Path, flag: str, message: str) -> None:
    assert message in fault(path, flag)


def test_both_ends_of_integers_are_accepted_by_the_method(path: Path) -> None:
    path.write_text(path.read_text().replace("first_target_epoch: 12, ", ""))
    space = "search.space.nal.first_target_epoch={low: 1, high: 61}"
    assert fault(path, space, "reference.nal.first_target_epoch=1") == (
        "--set search.space.nal.first_target_epoch: first_target_epoch is 61, after the last "
        "epoch (60): choose an epoch from 1 to 60"
    )
    # With clamps, the first of these epochs must be a multiple of the interval.
    assert "not a multiple of target_interval (7)" in fault(
        path,
        "search.space.nal.target_interval={low: 1, high: 7, when: {clamps: true}}",
        "reference.nal.target_interval=null",
        "hyperparameters.nal.first_target_epoch=10",
    )


def test_a_prior_needs_a_reference(write_study: Callable[..., Path]) -> None:
    path = write_study("reference:\n  nal:\n    lambda: 0.5\n    alpha: 0.9\n", "")
    path.write_text(path.read_text().replace("high: 20, ", "high: 20, prior: {width: 1}, "))
    assert fault(path).endswith(
        "search.space.nal.lambda.prior: a prior lies around the reference value, of which there is "
        "none for lambda: set reference.nal.lambda, or remove the prior"
    )
