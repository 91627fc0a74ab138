from __future__ import annotations

import json
import math
import pickle
from typing import Any

import pytest

from trainables.errors import FieldError
from trainables.run.identity import identity_of
from trainables.run.parameters import (
    AnySpace,
    ChoiceSpace,
    FrozenMap,
    Parameter,
    Prior,
    Space,
    Value,
    active_spaces,
    complete_parameters,
    condition_order,
    space_from_json,
)

RATE = Parameter("rate", default=0.5, low=0, high=1, low_open=True, help="")
COUNT = Parameter("count", default=3, low=1, high=9, high_open=True, help="")
SWITCH = Parameter("switch", default=False, help="")
WORD = Parameter("word", default="log", choices=("log", "power"), help="")
WIDTHS = Parameter("widths", default=(8, 8), low=1, help="")
ALL = (RATE, COUNT, SWITCH, WORD, WIDTHS)


@pytest.mark.parametrize(
    ("parameter", "raw", "value"),
    [
        (RATE, 1, 1.0),
        (RATE, 1e-9, 1e-9),
        (COUNT, 1, 1),
        (COUNT, 8.0, 8),
        (SWITCH, True, True),
        (WORD, "power", "power"),
        (WIDTHS, [16, 4.0], (16, 4)),
    ],
)
def test_values_come_back_in_the_type_of_the_default(
    parameter: Parameter, raw: object, value: object
) -> None:
    converted = parameter.check(raw)
    assert converted == value
    assert type(converted) is type(parameter.default)


@pytest.mark.parametrize(
    ("parameter", "bad"),
    [
        *((RATE, bad) for bad in (0, 1.01, math.nan, math.inf, True, "0.5", None)),
        *((COUNT, bad) for bad in (0, 9, 2.5, True, "2", [2])),
        *((SWITCH, bad) for bad in (0, 1, "true", None)),
        *((WORD, bad) for bad in ("exp", "", 1, None)),
        *((WIDTHS, bad) for bad in ([], 8, "88", [8, 0], [8, 1.5], [True], None)),
    ],
)
def test_invalid_values_are_refused(parameter: Parameter, bad: object) -> None:
    with pytest.raises(FieldError) as caught:
        parameter.check(bad)
    assert caught.value.field == parameter.name
    assert str(caught.value) == f"{parameter.name} must be {parameter.allowed}, got {bad!r}"


def test_description_of_allowed_values() -> None:
    assert [parameter.allowed for parameter in ALL] == [
        "a number above 0 and at most 1",
        "an integer at least 1 and below 9",
        "true or false",
        "one of log, power",
        "a list of integers at least 1",
    ]


def test_completing_adds_defaults_and_refuses_unknown_names() -> None:
    values = complete_parameters("method x", ALL, {"count": 2.0, "rate": 1})

    assert dict(values) == {
        "rate": 1.0,
        "count": 2,
        "switch": False,
        "word": "log",
        "widths": (8, 8),
    }
    assert list(values) == sorted(values)
    with pytest.raises(
        FieldError, match=r"^method x has no parameter 'rat': did you mean 'rate'\?"
    ):
        complete_parameters("method x", ALL, {"rat": 1})
    with pytest.raises(FieldError, match=r"^method ce has no parameter 'rate': remove the setting"):
        complete_parameters("method ce", (), {"rate": 1})


def test_frozen_maps_are_values() -> None:
    first, second = FrozenMap({"a": 1, "b": (2, 3)}), FrozenMap({"b": (2, 3), "a": 1})

    assert first == second == pickle.loads(pickle.dumps(first))  # noqa: S301 - written just before
    assert len({first, second}) == 1
    assert first.number("a") == 1.0
    with pytest.raises(TypeError, match="b is not a number"):
        first.number("b")
    with pytest.raises(TypeError, match="item assignment"):
        first["a"] = 2  # type: ignore[index]


def test_position_of_a_value_in_a_space() -> None:
    assert Space(0.5, 0.99).position(0.745) == pytest.approx(0.5)
    assert Space(0.1, 10, log=True).position(1) == pytest.approx(0.5)
    assert Space(0.1, 10, log=True).position(0.1) == 0


@pytest.mark.parametrize(
    ("low", "high", "log", "field"),
    [
        (1, 1, False, "high"),
        (2, 1, False, "high"),
        (math.nan, 1, False, "high"),
        (0, 1, True, "low"),
    ],
)
def test_invalid_spaces_are_refused(low: float, high: float, log: bool, field: str) -> None:  # noqa: FBT001
    with pytest.raises(FieldError) as caught:
        Space(low, high, log=log)
    assert caught.value.field == field


def test_a_space_has_values_of_the_parameters_type() -> None:
    count = Parameter("n", default=2, low=1, help="a count", space=Space(1, 3))
    assert count.space == Space(1, 3, integer=True)
    assert [type(end) for end in (count.space.ends if count.space else ())] == [int, int]
    rate = Parameter("rate", default=0.5, help="a rate")
    choices = rate.fit_space(ChoiceSpace((1, 0.5)))
    assert [type(end) for end in choices.ends] == [float, float]


@pytest.mark.parametrize(
    ("default", "space", "field", "message"),
    [
        (2, Space(1, 2.5), "high", "n must be an integer, got 2.5"),
        (True, Space(0, 1), "low", "n must be true or false, which is no interval: "),
        (
            "soft",
            Space(0, 1),
            "low",
            "n must be one of soft, hard, which is no interval: ",
        ),
        ("soft", ChoiceSpace(("soft", "firm")), "choices.1", "one of soft, hard, got 'firm'"),
        ((1, 2), ChoiceSpace((1, 2)), "", "n is a list, which cannot be searched"),
    ],
)
def test_spaces_that_do_not_fit_a_parameter(
    default: Value, space: AnySpace, field: str, message: str
) -> None:
    choices = ("soft", "hard") if isinstance(default, str) else ()
    with pytest.raises(FieldError) as caught:
        Parameter("n", default=default, help="a parameter", choices=choices, space=space)
    assert caught.value.field == field
    assert message in str(caught.value)


def test_values_that_a_space_contains() -> None:
    assert 0.5 in Space(0.5, 0.99)
    assert all(value not in Space(0.5, 1) for value in (0.499, True, "0.6"))
    assert 2 in Space(1, 3, integer=True)
    assert 2.5 not in Space(1, 3, integer=True)
    assert True in ChoiceSpace((True, False))
    assert 1 not in ChoiceSpace((True, False))


def test_distances_in_a_space() -> None:
    assert Space(0.1, 10, log=True).distance(1.0, 10.0) == pytest.approx(0.5)
    assert Space(1, 5, integer=True).distance(5, 2) == pytest.approx(0.75)
    assert ChoiceSpace(("soft", "hard")).distance("soft", "hard") == 1
    assert ChoiceSpace(("soft", "hard")).distance("soft", "soft") == 0


CONDITIONAL: dict[str, AnySpace] = {
    "third": Space(0, 1, when={"second": (2,)}),
    "second": Space(1, 4, integer=True, when={"first": ("a", "b")}),
    "first": ChoiceSpace(("a", "b", "c")),
}


def test_conditions_are_lists_of_values() -> None:
    when: Any = {"second": 2, "first": ["a", "b"]}
    assert Space(0, 1, when=when).when == {"second": (2,), "first": ("a", "b")}
    assert Space(0, 1, when={}).when is None


def test_parameters_follow_those_that_their_conditions_name() -> None:
    assert condition_order(CONDITIONAL) == ["first", "second", "third"]
    assert condition_order({"b": Space(0, 1), "a": Space(0, 1)}) == ["b", "a"]


@pytest.mark.parametrize(
    ("values", "names"),
    [
        ({"first": "a", "second": 2, "third": 0.5}, ["third", "second", "first"]),
        ({"first": "b", "second": 3, "third": 0.5}, ["second", "first"]),
        # The condition of `third` names a parameter that is not active itself.
        ({"first": "c", "second": 2, "third": 0.5}, ["first"]),
        ({"first": "a"}, ["second", "first"]),
        ({}, ["first"]),
    ],
)
def test_active_spaces(values: dict[str, Value], names: list[str]) -> None:
    assert list(active_spaces(CONDITIONAL, values)) == names


@pytest.mark.parametrize(
    "space",
    [
        Space(0.05, 20, log=True),
        Space(1, 9, integer=True, when={"kind": ("a", "b"), "flag": (True,)}),
        Space(0.5, 0.99, prior=Prior(0.2)),
        ChoiceSpace(("a", "b"), when={"flag": (False,)}),
    ],
)
def test_spaces_are_stored_as_json(space: AnySpace) -> None:
    assert space_from_json(json.loads(json.dumps(identity_of(space)))) == space


def test_the_identity_of_a_space_has_only_what_is_set() -> None:
    assert identity_of(Space(0.05, 20, log=True)) == {"low": 0.05, "high": 20.0, "log": True}
    assert identity_of(Space(1, 9, integer=True, prior=Prior(1))) == {
        "low": 1,
        "high": 9,
        "log": False,
        "integer": True,
        "prior": {"width": 1.0},
    }
    assert identity_of(ChoiceSpace((True, False), when={"n": (2,)})) == {
        "choices": [True, False],
        "when": {"n": [2]},
    }
