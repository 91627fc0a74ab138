"""Deviations of studies and presets, and the conditions under which they hold."""

from __future__ import annotations

import pytest

from search_spaces.deviations import applicable_deviations
from search_spaces.loader import LoadedStudy, load_study, parse_set_flag
from trainables.errors import StudyError

OFFICIAL, PAPER = "hyperparameters.nal.preset=official", "hyperparameters.nal.preset=paper"
CLAMPS = "NAL's loss is eq. 3, without the clamps of the public code"
TARGETS = "NAL's targets are updated from first_target_epoch on"
CONVENTION = "symmetric-RATE flips to other classes only"
CLASS_RATE = "the rate of asymmetric-RATE holds exactly in each class"
SINGLE_DRAW = "every seed draws noisy labels of its own"
ATTENTION = "the attention branch is one linear layer"


def load(name: str, *sets: str) -> LoadedStudy:
    return load_study(name, [parse_set_flag(text) for text in sets])


def holding(name: str, *sets: str) -> list[str]:
    """Return which of the deviations above hold, each as often as it is printed."""
    texts = applicable_deviations(load(name, *sets).study)
    known = (CLAMPS, TARGETS, CONVENTION, CLASS_RATE, SINGLE_DRAW, ATTENTION)
    return [start for start in known for text in texts if text.startswith(start)]


@pytest.mark.parametrize(
    ("name", "sets", "expected"),
    [
        ("cifar10", (), [CLAMPS, TARGETS, CONVENTION, CLASS_RATE, SINGLE_DRAW]),
        ("cifar10", (OFFICIAL,), [TARGETS, CONVENTION, CLASS_RATE, SINGLE_DRAW]),
        ("cifar10", (PAPER,), [CLAMPS, CONVENTION, CLASS_RATE, SINGLE_DRAW]),
        ("cifar10", ("scenarios=[symmetric-incl-0.4]",), [CLAMPS, TARGETS, SINGLE_DRAW]),
        ("cifar10", ("scenarios=[symmetric-official-0.4]", OFFICIAL), [TARGETS]),
        ("cifar10", ("scenarios=[asymmetric-official-0.4]", OFFICIAL), [TARGETS]),
        ("cifar10", ("fixed_seeds.noise=3", OFFICIAL), [TARGETS, CONVENTION, CLASS_RATE]),
        ("cifar10", ("scenarios=[asymmetric-0.4]",), [CLAMPS, TARGETS, CLASS_RATE, SINGLE_DRAW]),
        ("cifar10", ("methods=[ce]", "tune=[]"), [CONVENTION, CLASS_RATE, SINGLE_DRAW]),
        ("cifar100", (OFFICIAL,), [TARGETS, CONVENTION, CLASS_RATE, SINGLE_DRAW]),
        ("animal10n", (), [CLAMPS, ATTENTION]),
        ("animal10n", (OFFICIAL, "backbone.attention=mlp"), []),
    ],
)
def test_deviations_hold_only_where_their_condition_does(
    name: str, sets: tuple[str, ...], expected: list[str]
) -> None:
    assert holding(name, *sets) == expected


@pytest.mark.parametrize(
    ("name", "sets", "expected"),
    [
        ("cifar10", (OFFICIAL,), [CONVENTION, CLASS_RATE, SINGLE_DRAW]),
        ("cifar10", (OFFICIAL, "scenarios=[symmetric-official-0.4]"), []),
        ("cifar10", (PAPER,), []),
        ("animal10n", (OFFICIAL,), [ATTENTION]),
    ],
)
def test_a_preset_names_what_it_leaves_out(
    name: str, sets: tuple[str, ...], expected: list[str]
) -> None:
    assert holding(name, "deviations=[]", *sets) == expected


def test_the_preset_of_an_override_names_what_it_leaves_out_on_its_scenario() -> None:
    override = (
        "overrides=[{scenario: SCENARIO, hyperparameters: {nal: {preset: official}}, source: me}]"
    )
    sets = ("deviations=[]", "scenarios=[symmetric-0.2, asymmetric-0.4]")
    assert holding("cifar10", *sets, override.replace("SCENARIO", "asymmetric-0.4")) == [
        CLASS_RATE,
        SINGLE_DRAW,
    ]
    assert holding("cifar10", *sets, override.replace("SCENARIO", "symmetric-0.2")) == [
        CONVENTION,
        SINGLE_DRAW,
    ]


@pytest.mark.parametrize(
    ("condition", "holds"),
    [
        ("{recipe.epochs: 300}", True),  # of the override for asymmetric-*
        ("{recipe.epochs: 300, scenario: symmetric-0.2}", False),
        ("{recipe.epochs: 300, scenario: asymmetric-*}", True),
        ("{methods: gce}", True),
        ("{methods: plc}", False),
        ("{dataset: cifar*, backbone.name: resnet34}", True),
        ("{confirm.hold_out: true}", False),
        ("{subset: null}", True),
        ("{hyperparameters.plc.delta: 0.3}", False),  # PLC is not among the methods
    ],
)
def test_conditions_compare_values_of_the_study(condition: str, *, holds: bool) -> None:
    study = load("cifar10", f"deviations=[{{text: one, when: {condition}}}]").study
    assert applicable_deviations(study) == (("one",) if holds else ())


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        ("5", r"must be a text or a mapping like \{text: .*, got 5"),
        ("{when: {methods: nal}}", r"deviations\.0\.text: must be a text that says what deviates"),
        ("{text: a, if: {}}", r"deviations\.0\.if: unknown key 'if': known: text, unless, when"),
        (
            "{text: a, unless: 3}",
            r"deviations\.0\.unless: must be a mapping like \{hyperparameters",
        ),
        (
            "{text: a, when: {recipes_: 3}}",
            r"deviations\.0\.when: unknown key 'recipes_': did you mean 'recipes'\?",
        ),
        (
            "{text: a, when: {hyperparameters.nal.clamp: 3}}",
            r"deviations\.0\.when: unknown key 'hyperparameters.nal.clamp': did you mean 'clamps'",
        ),
        (
            "{text: a, when: {hyperparameters.nall.clamps: 3}}",
            r"deviations\.0\.when\.nall: unknown method 'nall': did you mean 'nal'",
        ),
    ],
)
def test_a_faulty_deviation_is_refused(entry: str, message: str) -> None:
    with pytest.raises(StudyError, match=f"^--set deviations: {message}"):
        load("cifar10", f"deviations=[{entry}]")


def test_the_export_has_the_deviations_that_hold() -> None:
    loaded = load("cifar10", OFFICIAL)

    assert loaded.resolved_values["deviations"] == list(applicable_deviations(loaded.study))
    assert CLAMPS not in loaded.resolved_values["deviations"]


def test_a_deviation_is_no_scaled_value() -> None:
    """Scaling can end a deviation: here the targets are updated from the first epoch on."""
    study = load("digits")
    scaled = study.with_epochs(6)

    assert any(text.startswith(TARGETS) for text in applicable_deviations(study.study))
    assert not any(text.startswith(TARGETS) for text in applicable_deviations(scaled.study))
    assert "hyperparameters.nal.first_target_epoch" in [v.key for v in scaled.scaled_values]
    assert not any(value.key.startswith("deviations") for value in scaled.scaled_values)
