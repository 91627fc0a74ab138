from __future__ import annotations

import math
import pickle

import pytest

from trainables.errors import FieldError
from trainables.run.parameters import FrozenMap, Parameter, Space, complete_parameters

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


def test_only_real_numbers_have_a_search_space() -> None:
    message = (
        "^parameter n has a search space, so its default must be a real number such as 2.0, got 2$"
    )
    with pytest.raises(ValueError, match=message):
        Parameter("n", default=2, help="a count", space=Space(1, 3))
