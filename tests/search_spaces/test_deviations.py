"""Deviations of studies and presets, and the conditions under which they hold."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from search_spaces.common_deviations import COMMON_DEVIATIONS
from search_spaces.deviations import applicable_deviations, check_deviations
from search_spaces.loader import LoadedStudy, load_study, parse_set_flag
from trainables.errors import StudyError

if TYPE_CHECKING:
    from search_spaces.fields import Deviation

OFFICIAL, PAPER = "hyperparameters.nal.preset=official", "hyperparameters.nal.preset=paper"
NO_CLAMPS = "NAL's loss has no clamps, unlike the public code"
CLAMPS = "NAL's loss has the clamps of the public code, which eq. 3 lacks"
REVERSE_TERM = "NAL's loss has a reverse term, which eq. 3 lacks"
TARGETS = "NAL's targets are updated from first_target_epoch on"
PUBLIC_TARGETS = "NAL's public code updates the targets from epoch"
CONVENTION = "symmetric-RATE flips to other classes only"
CLASS_RATE = "the rate of asymmetric-RATE holds exactly in each class"
SINGLE_DRAW = "every seed draws noisy labels of its own"
ATTENTION = "the attention branch is one linear layer"
NOISE = [CONVENTION, CLASS_RATE, SINGLE_DRAW]


def load(name: str, *sets: str) -> LoadedStudy:
    return load_study(name, [parse_set_flag(text) for text in sets])


def texts(name: str, *sets: str) -> tuple[str, ...]:
    return applicable_deviations(load(name, *sets).study)


def holding(name: str, *sets: str) -> list[str]:
    """Return which of the deviations above hold, each as often as it is printed."""
    known = (TARGETS, PUBLIC_TARGETS, NO_CLAMPS, CLAMPS, REVERSE_TERM, *NOISE, ATTENTION)
    return [start for start in known for text in texts(name, *sets) if text.startswith(start)]


@pytest.mark.parametrize(
    ("name", "sets", "expected"),
    [
        ("cifar10", (), [TARGETS, NO_CLAMPS, *NOISE]),
        ("cifar10", (OFFICIAL,), [TARGETS, CLAMPS, *NOISE]),
        ("cifar10", (PAPER,), [PUBLIC_TARGETS, NO_CLAMPS, *NOISE]),
        ("cifar10", ("scenarios=[symmetric-incl-0.4]",), [TARGETS, NO_CLAMPS, SINGLE_DRAW]),
        ("cifar10", ("scenarios=[symmetric-official-0.4]", OFFICIAL), [TARGETS, CLAMPS]),
        ("cifar10", ("scenarios=[asymmetric-official-0.4]", OFFICIAL), [TARGETS, CLAMPS]),
        ("cifar10", ("fixed_seeds.noise=3", OFFICIAL), [TARGETS, CLAMPS, CONVENTION, CLASS_RATE]),
        ("cifar10", ("scenarios=[asymmetric-0.4]",), [TARGETS, NO_CLAMPS, CLASS_RATE, SINGLE_DRAW]),
        ("cifar10", ("methods=[ce]", "tune=[]"), NOISE),
        ("cifar10", ("deviations=[]",), [TARGETS, NO_CLAMPS, *NOISE]),
        (
            "cifar10",
            (
                "reference.nal={lambda: 0.5, alpha: 0.9, clamps: false}",
                "search.space.nal.clamps={choices: [false, true]}",
            ),
            [TARGETS, *NOISE],
        ),
        (
            "cifar10",
            ("hyperparameters.nal.beta=0.1", "scenarios=[symmetric-official-0.4]"),
            [TARGETS, NO_CLAMPS, REVERSE_TERM],
        ),
        ("cifar100", (OFFICIAL,), [TARGETS, CLAMPS, *NOISE]),
        ("animal10n", (), [TARGETS, NO_CLAMPS, ATTENTION]),
        ("animal10n", (PAPER,), [PUBLIC_TARGETS, NO_CLAMPS, ATTENTION]),
        ("animal10n", (OFFICIAL, "backbone.attention=mlp"), [TARGETS, CLAMPS]),
        ("clothing1m", (), [TARGETS, NO_CLAMPS, REVERSE_TERM]),
        (
            "webvision",
            ("hyperparameters.nal.first_target_epoch=150", "hyperparameters.nal.beta=0.2"),
            [TARGETS, PUBLIC_TARGETS, NO_CLAMPS, REVERSE_TERM],
        ),
        ("digits", ("hyperparameters.nal.first_target_epoch=1",), [NO_CLAMPS]),
    ],
)
def test_deviations_hold_only_where_their_condition_does(
    name: str, sets: tuple[str, ...], expected: list[str]
) -> None:
    assert holding(name, *sets) == expected


@pytest.mark.parametrize(
    ("methods", "values", "expected"),
    [
        ("nal-rnal", "{nal-rnal: {clamps: true, first_target_epoch: 9}}", [TARGETS, CLAMPS]),
        ("nal-rnal", "{nal-rnal: {preset: paper}}", [NO_CLAMPS]),
        ("nal-no-targets", "{nal-no-targets: {beta: 0.1}}", [NO_CLAMPS, REVERSE_TERM]),
        (
            "nal, nal-no-attention",
            "{nal: {preset: paper, clamps: true, first_target_epoch: 60, target_interval: 10}}",
            [TARGETS, NO_CLAMPS, CLAMPS],
        ),
    ],
)
def test_conditions_read_the_values_of_every_ablation(
    methods: str, values: str, expected: list[str]
) -> None:
    sets = ("scenarios=[symmetric-official-0.4]", "hyperparameters=null", "reference=null")
    assert (
        holding("cifar10-ablation", *sets, f"methods=[{methods}]", f"hyperparameters={values}")
        == expected
    )


PMD_SENTENCES = {
    "multiplied": "the level of pmd-TYPE-RATE is reached by multiplying",
    "rows": "the paper's rows for CE, SCE, LRT and PLC under PMD noise",
    "images": "the network behind PMD noise is trained on all 50,000 images",
    "epochs": "the network behind PMD noise is trained for 35 epochs",
    "read": "the probabilities behind PMD noise are taken",
    "statistics": "the network behind PMD noise sees images",
    "no recipe": "neither the paper nor its public code has a recipe for NAL on PMD noise",
    "recipe": "NAL's recipe is that of the authors' SELC code",
    "target epochs": "the epochs of NAL's targets are those of its public code for symmetric",
    "network": "PreActResNet34 is a pre-activation ResNet-34 here",
    "momentum": "momentum goes on from epoch to epoch",
}
COMMON_PMD = {"rows", "images", "read", "no recipe"}
OWN_PMD = {"recipe", "target epochs", "network", "momentum"}


@pytest.mark.parametrize(
    ("name", "sets", "expected"),
    [
        ("cifar10-pmd", (), {"multiplied", *COMMON_PMD, *OWN_PMD}),
        ("cifar10-pmd", ("scenarios=[pmd-keep-1-0.35]",), {*COMMON_PMD, *OWN_PMD}),
        ("cifar10-pmd", ("scenarios=[symmetric-0.4]",), {"network"}),
        (
            "cifar10-pmd",
            ("backbone.name=preact18", "recipe.reset_optimizer=true", PAPER, "subset=100"),
            {"multiplied", "recipe", *COMMON_PMD} - {"images"},
        ),
        ("cifar10", ("scenarios=[pmd-1-0.35]",), {"multiplied", *COMMON_PMD}),
        (
            "cifar10",
            ("scenarios=[pmd-1-0.35]", "methods=[ce]", "tune=[]"),
            {"multiplied", *COMMON_PMD} - {"no recipe"},
        ),
        (
            "cifar100-pmd",
            (),
            {"multiplied", "epochs", "statistics", *COMMON_PMD, *OWN_PMD},
        ),
        (
            "cifar100",
            ("scenarios=[pmd-2-0.35]", "posterior.recipe.epochs=10"),
            {"multiplied", "statistics", *COMMON_PMD},
        ),
        (
            "cifar100",
            ("scenarios=[pmd-2-0.35]",),  # 35 epochs in PLC's code too
            {"multiplied", "statistics", *COMMON_PMD},
        ),
        ("cifar10", (), set()),
    ],
)
def test_the_sentences_on_pmd_noise_follow_the_scenario(
    name: str, sets: tuple[str, ...], expected: set[str]
) -> None:
    scenario = [
        one.replace("scenarios=[", "search.scenario=").rstrip("]")
        for one in sets
        if one.startswith("scenarios")
    ]
    held = texts(name, *sets, *scenario)
    assert {
        key for key, start in PMD_SENTENCES.items() if any(one.startswith(start) for one in held)
    } == expected


@pytest.mark.parametrize(
    ("scenario", "start"),
    [
        ("symmetric-0.4", CONVENTION),
        ("symmetric-each-0.4", "symmetric-each-RATE flips each label by chance, to other classes"),
        ("symmetric-incl-each-0.4", "symmetric-incl-each-RATE flips each label by chance"),
        ("asymmetric-0.4", CLASS_RATE),
        ("asymmetric-each-0.4", "asymmetric-each-RATE flips each label of a class"),
        ("asymmetric-superclass-0.4", "the rate of asymmetric-superclass-RATE holds exactly"),
        ("asymmetric-superclass-0.4", "asymmetric-superclass-RATE flips to the next class"),
        ("asymmetric-superclass-each-0.4", "asymmetric-superclass-RATE flips to the next class"),
        ("asymmetric-superclass-each-0.4", "asymmetric-superclass-each-RATE flips each label"),
    ],
)
def test_each_convention_of_label_noise_has_its_sentence(scenario: str, start: str) -> None:
    held = texts("cifar100", f"scenarios=[{scenario}]", f"search.scenario={scenario}")
    assert [text for text in held if text.startswith(start)]
    assert (CONVENTION in str(held)) is (scenario == "symmetric-0.4")
    assert (CLASS_RATE in str(held)) is (scenario == "asymmetric-0.4")


@pytest.mark.parametrize(
    ("name", "part", "change"),
    [
        ("clothing1m", "128,000", "subset=1400"),
        ("clothing1m", "from scratch", "backbone={name: resnet50, weights: /w.pt}"),
        ("clothing1m", "as in the public code; the paper calls", "hyperparameters.nal.beta=0"),
        ("cifar10-small", "10,000", "subset=5000"),
        ("cifar10-small", "ResNet-20", "backbone={name: resnet34}"),
        ("cifar10-small", "60 epochs", "recipe.epochs=70"),
        ("cifar10n", "human-*", "scenarios=[symmetric-0.4]"),
        ("cifar10n", "epochs of NAL's targets are those", PAPER),
        ("cifar100n", "epochs of NAL's targets are those", PAPER),
        ("cifar10-ablation", "default of the class", "hyperparameters.nal-rnal.beta=0.2"),
        ("cifar10-ablation", "attention branch out", "methods=[nal, nal-rnal]"),
    ],
)
def test_a_changed_value_ends_the_sentence_that_names_it(name: str, part: str, change: str) -> None:
    assert part in " ".join(texts(name))
    scenario = ("search.scenario=symmetric-0.4",) if change.startswith("scenarios") else ()
    assert part not in " ".join(texts(name, change, *scenario))


@pytest.mark.parametrize(
    ("condition", "holds"),
    [
        ("{recipe.epochs: 300}", True),  # of the override for asymmetric-*
        ("{recipe.epochs: 300, scenario: symmetric-0.2}", False),
        ("{recipe.epochs: 300, scenario: asymmetric-*}", True),
        ("{methods: gce}", True),
        ("{methods: plc}", False),
        ("{method: gce, hyperparameters.*.q: 0.7}", True),
        ("{method: ce, hyperparameters.*.q: 0.7}", False),
        ("{hyperparameters.*.q: 0.7}", True),
        ("{posterior.recipe.epochs: 25}", True),
        ("{dataset: cifar*, backbone.name: resnet34}", True),
        ("{confirm.hold_out: true}", False),
        ("{subset: null}", True),
        ("{hyperparameters.plc.delta: 0.3}", False),  # PLC is not among the methods
    ],
)
def test_conditions_compare_values_of_the_study(condition: str, *, holds: bool) -> None:
    study = load("cifar10", f"deviations=[{{text: one, when: {condition}}}]").study
    assert ("one" in applicable_deviations(study)) is holds


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
            "{text: a, when: {hyperparameters.*.clamp: 3}}",
            r"deviations\.0\.when: unknown key 'hyperparameters.\*.clamp': did you mean 'clamps'",
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
    assert NO_CLAMPS not in loaded.resolved_values["deviations"]


def test_a_deviation_is_no_scaled_value() -> None:
    """Scaling can end a deviation: here the targets are updated from the first epoch on."""
    study = load("digits")
    scaled = study.with_epochs(6)

    assert any(text.startswith(TARGETS) for text in applicable_deviations(study.study))
    assert not any(text.startswith(TARGETS) for text in applicable_deviations(scaled.study))
    assert "hyperparameters.nal.first_target_epoch" in [v.key for v in scaled.scaled_values]
    assert not any(value.key.startswith("deviations") for value in scaled.scaled_values)


@pytest.mark.parametrize("deviation", COMMON_DEVIATIONS)
def test_conditions_of_common_deviations_name_keys_of_a_study(deviation: Deviation) -> None:
    study = load("digits").study
    check_deviations(study.model_copy(update={"deviations": (deviation,)}))
