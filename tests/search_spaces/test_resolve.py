"""Resolution: published values, presets, recipes, overrides and their precedence."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from search_spaces.loader import Change, load_study, parse_set_flag
from search_spaces.resolve import matched_recipe, reference_of, resolve
from search_spaces.schema import Phase
from trainables.datasets import SOURCES
from trainables.datasets.digits import Digits
from trainables.errors import FieldError, StudyError
from trainables.methods import method_of
from trainables.methods.published import EpochSelection
from trainables.run.schedules import ConstantSchedule, CosineRestarts, MultiStep

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from search_spaces.loader import LoadedStudy
    from search_spaces.schema import Study


PLC = "recipes.plc={selection: epoch chosen by clean validation, hold_out: 0.2}"


def load(name: str, *sets: str) -> LoadedStudy:
    return load_study(name, [parse_set_flag(text) for text in sets])


def study_with(name: str, *sets: str) -> Study:
    return load(name, *sets).study


# --- values


def test_hyperparameters_are_complete_and_replaced_by_tuned_ones(
    write_study: Callable[..., Path],
) -> None:
    study = load_study(str(write_study())).study
    assert resolve(study, "ce", "symmetric-0.4").hyperparameters == {}
    assert resolve(study, "nal", "symmetric-0.4").hyperparameters == {
        "lambda": 0.5,
        "alpha": 0.9,
        "first_target_epoch": 10,
        "target_interval": 1,
        "clamps": False,
        "delta": 0.0,
        "beta": 0.0,
    }
    resolved = resolve(study, "nal", "symmetric-0.4")
    tuned = resolved.with_values({"lambda": 3, "alpha": 0.7}).hyperparameters
    assert (tuned["lambda"], tuned["alpha"], tuned["first_target_epoch"]) == (3.0, 0.7, 10)
    assert isinstance(tuned["lambda"], float)
    with pytest.raises(FieldError, match="did you mean 'alpha'"):
        resolved.with_values({"alfa": 0.7})
    with pytest.raises(FieldError, match="unknown method 'nall'"):
        resolve(study, "nall", "symmetric-0.4")


def test_an_untuned_method_has_the_values_of_the_reference(
    write_study: Callable[..., Path],
) -> None:
    path = write_study("tune: [nal]", "tune: []")
    path.write_text(path.read_text().replace("lambda: 0.5", "lambda: 7"))
    study = load_study(str(path)).study
    assert resolve(study, "nal", "symmetric-0.4").hyperparameters["lambda"] == 7.0


def test_reference(write_study: Callable[..., Path]) -> None:
    study = load_study(str(write_study())).study
    assert dict(reference_of(study, "nal") or {}) == {"lambda": 0.5, "alpha": 0.9}
    assert reference_of(study, "ce") is None


@pytest.mark.parametrize(
    ("hold_out", "fraction", "splits"), [("true", 0.3, ("val", "test")), ("false", 0.0, ("test",))]
)
def test_the_test_split_is_evaluated_in_confirm_only(
    write_study: Callable[..., Path], hold_out: str, fraction: float, splits: tuple[str, ...]
) -> None:
    study = load_study(str(write_study("hold_out: true", f"hold_out: {hold_out}"))).study
    resolved = resolve(study, "nal", "symmetric-0.4")
    for phase in (Phase.SEARCH, Phase.SELECT):
        assert resolved.hold_out(phase) == 0.3
        assert resolved.evaluated_splits(phase) == ("val",)
    assert resolved.hold_out(Phase.CONFIRM) == fraction
    assert resolved.evaluated_splits(Phase.CONFIRM) == splits


def test_published_values_apply_if_the_study_sets_none() -> None:
    loaded = load("cifar100", "methods=[sce, elr, nal]")
    values = resolve(loaded.study, "sce", "symmetric-0.2").hyperparameters
    assert values == {"a": 6.0, "b": 0.1}
    assert resolve(loaded.study, "elr", "symmetric-0.2").hyperparameters["lambda"] == 7.0
    assert loaded.sources["hyperparameters.sce.a"] == (
        "YisenWang/symmetric_cross_entropy_for_noisy_labels"
    )
    assert load("digits", "methods=[sce]", "tune=[]").sources["hyperparameters.sce.a"] == (
        "default of method sce"
    )


def test_values_of_the_study_precede_published_ones() -> None:
    loaded = load("cifar10", "hyperparameters.elr.lambda=9")
    assert resolve(loaded.study, "elr", "symmetric-0.2").hyperparameters["lambda"] == 9.0
    assert loaded.sources["hyperparameters.elr.lambda"] == "set by --set hyperparameters.elr.lambda"


def test_values_that_differ_between_scenarios_are_exported_as_overrides() -> None:
    loaded = load("cifar10")
    first = {
        name: resolve(loaded.study, "selc", name).hyperparameters["first_target_epoch"]
        for name in loaded.study.scenarios
    }
    assert list(first.values()) == [41, 31, 31, 41, 41]
    assert loaded.sources["overrides.1.hyperparameters.selc.first_target_epoch"] == "MacLLL/SELC"
    narrowed = load_study("cifar10", [Change("scenarios", ["symmetric-0.4"], "--scenario")])
    assert (
        resolve(narrowed.study, "selc", "symmetric-0.4").hyperparameters["first_target_epoch"] == 31
    )
    assert narrowed.resolved_values["overrides"] == []


def test_published_values_that_cover_the_space_are_the_reference() -> None:
    loaded = load("cifar100", "tune=[nal, sce]")
    assert dict(reference_of(loaded.study, "sce") or {}) == {"a": 6.0, "b": 0.1}
    assert "YisenWang" in loaded.sources["reference.sce.a"]
    assert reference_of(study_with("digits", "methods=[sce]", "tune=[sce]"), "sce") is None


# --- presets


def test_the_official_preset_is_exported_as_values() -> None:
    sets = ("first_target_epoch=null", "target_interval=null", "preset=official")
    loaded = load("cifar100", *(f"hyperparameters.nal.{text}" for text in sets))
    values = resolve(loaded.study, "nal", "symmetric-0.4").hyperparameters
    assert (values["first_target_epoch"], values["target_interval"]) == (60, 10)
    assert values["clamps"] is True
    text = "preset official: public code, train_cifar.py and loss.py"
    assert loaded.sources["hyperparameters.nal.first_target_epoch"] == text
    assert "preset" not in loaded.resolved_values["hyperparameters"]["nal"]


def test_values_of_the_study_precede_those_of_its_preset() -> None:
    study = study_with("cifar10", "hyperparameters.nal.preset=official")
    values = resolve(study, "nal", "symmetric-0.4").hyperparameters
    assert (values["first_target_epoch"], values["clamps"]) == (60, True)
    own = "hyperparameters.nal={preset: official, target_interval: 5, first_target_epoch: 50}"
    values = resolve(study_with("cifar10", own), "nal", "symmetric-0.4").hyperparameters
    assert (values["first_target_epoch"], values["target_interval"]) == (50, 5)


def test_the_papers_preset_is_algorithm_1() -> None:
    sets = ("first_target_epoch=null", "target_interval=null", "preset=paper")
    study = study_with("cifar10", *(f"hyperparameters.nal.{text}" for text in sets))
    values = resolve(study, "nal", "symmetric-0.4").hyperparameters
    assert (values["first_target_epoch"], values["target_interval"]) == (1, 1)


@pytest.mark.parametrize("name", ["cifar10", "clothing1m", "animal10n"])
def test_a_preset_that_a_flag_names_replaces_the_values_of_the_file(name: str) -> None:
    loaded = load(name, "hyperparameters.nal.preset=paper")
    values = resolve(loaded.study, "nal", loaded.study.scenarios[0]).hyperparameters

    assert (values["first_target_epoch"], values["target_interval"]) == (1, 1)
    assert (values["clamps"], values["delta"], values["beta"]) == (False, 0, 0)
    key = "hyperparameters.nal.first_target_epoch"
    assert loaded.sources[key] == "preset paper: paper, Algorithm 1"


def test_a_preset_of_an_extending_file_replaces_the_values_of_the_extended_file(
    tmp_path: Path,
) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text(
        "extends: cifar10\nhyperparameters:\n  nal: {preset: paper, target_interval: 5}\n"
    )
    loaded = load_study(str(path))
    values = resolve(loaded.study, "nal", "symmetric-0.4").sourced_hyperparameters

    assert values["first_target_epoch"].value == 1
    assert values["target_interval"].value == 5
    text = f"{path}:3; preset paper has 1"
    assert loaded.source_of(values["target_interval"]) == text
    assert loaded.sources["hyperparameters.nal.target_interval"] == text


@pytest.mark.parametrize("order", [1, -1])
def test_flags_beside_a_preset_hold_in_either_order(order: int) -> None:
    sets = ("hyperparameters.nal.target_interval=5", "hyperparameters.nal.preset=paper")
    loaded = load("cifar10", *sets[::order])
    values = resolve(loaded.study, "nal", "symmetric-0.4").hyperparameters

    assert (values["first_target_epoch"], values["target_interval"]) == (1, 5)
    assert loaded.sources["hyperparameters.nal.target_interval"] == (
        "set by --set hyperparameters.nal.target_interval; preset paper has 1"
    )


def test_an_override_that_contradicts_a_preset_is_marked() -> None:
    override = (
        "overrides=[{scenario: symmetric-0.2, hyperparameters: {nal: {clamps: true}}, source: me}]"
    )
    loaded = load("cifar10", "hyperparameters.nal.preset=paper", override)
    values = resolve(loaded.study, "nal", "symmetric-0.2").sourced_hyperparameters

    assert loaded.source_of(values["clamps"]) == "me; preset paper has false"
    text = loaded.sources["overrides.0.hyperparameters.nal.clamps"]
    assert text == "me; preset paper has false"
    assert [key for key, text in loaded.sources.items() if "; preset" in text] == [
        "overrides.0.hyperparameters.nal.clamps"
    ]


@pytest.mark.parametrize(
    ("method", "preset", "preset_beta"),
    [
        ("nal", "paper", "0.0"),
        ("nal", "official", "0.0"),
        ("nal-no-attention", "official", "0.0"),
        ("nal-rnal", "official", "0.1"),
    ],
)
def test_a_weight_of_the_reverse_term_beside_a_preset_is_marked(
    method: str, preset: str, preset_beta: str
) -> None:
    key = f"hyperparameters.{method}.beta"
    preset_change = f"hyperparameters.{method}.preset={preset}"
    loaded = load("cifar10", f"methods=[{method}]", "tune=[]", preset_change, f"{key}=0.3")
    assert loaded.sources[key] == f"set by --set {key}; preset {preset} has {preset_beta}"


def test_the_paper_preset_leaves_the_weight_of_the_reverse_term_open_for_rnal() -> None:
    key = "hyperparameters.nal-rnal.beta"
    preset_change = "hyperparameters.nal-rnal.preset=paper"
    changes = ("methods=[nal-rnal]", "tune=[]", preset_change)
    assert load("cifar10", *changes).sources[key] == "default of method nal-rnal"


def test_a_preset_on_top_of_an_ablation() -> None:
    study = study_with(
        "cifar10", "methods=[nal-rnal]", "tune=[]", "hyperparameters.nal-rnal.preset=official"
    )
    values = resolve(study, "nal-rnal", "symmetric-0.2").hyperparameters
    assert (values["first_target_epoch"], values["clamps"], values["beta"]) == (60, True, 0.1)


# --- recipes


def test_a_published_recipe() -> None:
    study = study_with("cifar10", "recipes.elr=published")
    training = resolve(study, "elr", "symmetric-0.2").training
    recipe = resolve(study, "elr", "symmetric-0.2").recipe
    assert (recipe.epochs, recipe.batch_size, recipe.schedule) == (
        150,
        128,
        CosineRestarts(10, 1e-3),
    )
    assert recipe.mean == matched_recipe(study).mean
    assert (training.hold_out, training.selection, training.kind) == (
        0.1,
        EpochSelection.NOISY,
        "published",
    )
    assert resolve(study, "gce", "symmetric-0.2").recipe == matched_recipe(study)
    assert resolve(study, "elr", "symmetric-0.2").hold_out(Phase.CONFIRM) == 0.1
    assert resolve(study, "elr", "symmetric-0.2").evaluated_splits(Phase.CONFIRM) == ("val", "test")
    assert resolve(study, "gce", "symmetric-0.2").evaluated_splits(Phase.CONFIRM) == ("test",)


def test_a_rule_that_needs_clean_validation() -> None:
    study = study_with("cifar10", "methods=[plc]", "tune=[]", "recipes.plc=published")
    assert resolve(study, "plc", "symmetric-0.2").evaluated_splits(Phase.CONFIRM) == (
        "val",
        "clean_val",
        "test",
    )
    assert resolve(study, "plc", "symmetric-0.2").recipe.nesterov


def test_stages_have_their_own_published_recipes() -> None:
    study = study_with("cifar10", "methods=[joint]", "tune=[]", "recipes.joint=published")
    second = resolve(study, "joint", "symmetric-0.2").recipe
    first = resolve(study, "joint", "symmetric-0.2").stages["labels"].recipe
    assert (second.epochs, second.schedule) == (120, MultiStep((40, 80)))
    assert (first.epochs, first.learning_rate, first.schedule) == (200, 0.08, ConstantSchedule())
    matched = study_with("cifar10", "methods=[joint]", "tune=[]")
    assert resolve(matched, "joint", "symmetric-0.2").stages["labels"].recipe == matched_recipe(
        matched
    )


def test_a_recipe_written_by_the_study() -> None:
    study = study_with("digits", "recipes.ce={recipe: {epochs: 20, window: 5}, hold_out: 0.2}")
    recipe = resolve(study, "ce", "symmetric-0.4").recipe
    assert (recipe.epochs, recipe.window) == (20, 5)
    assert recipe.learning_rate == matched_recipe(study).learning_rate
    assert resolve(study, "ce", "symmetric-0.4").hold_out(Phase.CONFIRM) == 0.2


def test_epochs_scale_published_recipes_and_values() -> None:
    loaded = load("cifar10", "recipes.elr=published").with_epochs(50)
    assert (
        resolve(loaded.study, "elr", "symmetric-0.2").recipe.epochs == 15 + 1
    )  # whole cycles of 2
    assert resolve(loaded.study, "selc", "symmetric-0.2").hyperparameters["first_target_epoch"] == 4


# --- overrides


def test_a_scenario_overrides_the_recipe(write_study: Callable[..., Path]) -> None:
    extra = (
        "overrides:\n"
        "  - scenario: symm*\n"
        "    recipe: {epochs: 30}\n"
        "    hyperparameters: {nal: {first_target_epoch: 5}}\n"
        "    source: a letter\n"
        "select:\n"
    )
    loaded = load_study(str(write_study("select:\n", extra)))
    study = loaded.study
    assert resolve(study, "nal", "symmetric-0.4").recipe.epochs == 30
    assert (
        resolve(study, "nal", "symmetric-0.4").recipe.learning_rate
        == matched_recipe(study).learning_rate
    )
    assert resolve(study, "nal", "clean").recipe.epochs == 60
    assert resolve(study, "nal", "symmetric-0.4").hyperparameters["first_target_epoch"] == 5
    assert resolve(study, "nal", "clean").hyperparameters["first_target_epoch"] == 10
    assert loaded.sources["overrides.0.recipe.epochs"] == "a letter"
    assert loaded.sources["overrides.0.recipe.batch_size"] == "as in the study"
    short = loaded.with_epochs(20).study
    assert resolve(short, "nal", "symmetric-0.4").recipe.epochs == 10


def test_a_pattern_that_matches_no_scenario_has_no_effect() -> None:
    symmetric = study_with("cifar10", "scenarios=[symmetric-0.2, symmetric-0.4]")
    assert matched_recipe(symmetric, "symmetric-0.4") == matched_recipe(symmetric)


@pytest.mark.parametrize("name", ["cifar10", "cifar100", "digits-methods"])
def test_an_exported_study_loads_as_the_same_study(name: str, tmp_path: Path) -> None:
    loaded = load(name, "recipes.elr=published") if name == "cifar10" else load(name)
    path = tmp_path / f"my-{name}.yaml"
    path.write_text(loaded.to_yaml())
    again = load_study(str(path))
    assert again.resolved_values == loaded.resolved_values
    assert dict(again.sources) == dict(loaded.sources)


# --- searched recipe values


def test_values_of_the_recipe_can_be_searched() -> None:
    study = study_with("digits-methods")
    assert set(study.space_of("ce")) == {"learning_rate", "weight_decay"}
    resolved = resolve(study, "ce", "symmetric-0.4").with_values({"learning_rate": 0.01})
    recipe = resolved.recipe
    assert (recipe.learning_rate, recipe.weight_decay) == (0.01, 5e-4)
    assert resolved.hyperparameters == {}
    assert study.tune == ("ce", "nal")


# --- faults


@pytest.mark.parametrize(
    ("name", "sets", "message"),
    [
        (
            "cifar10",
            "hyperparameters.nal.preset=offical",
            "method nal has no preset 'offical': did you mean 'official'? known: official, paper",
        ),
        (
            "cifar10",
            "hyperparameters.gce.preset=official",
            "method gce has no preset 'official': this method has no presets",
        ),
        (
            "digits",
            "hyperparameters.nal.preset=official",
            "preset official of nal has no values for dataset digits, only for cifar10*, ",
        ),
        ("cifar10", "hyperparameters.nal.clamp=true", "method nal has no parameter 'clamp': did"),
        ("cifar10", "recipes.gce=publisched", "must be matched, published or a mapping, got 'pub"),
        ("cifar10", "recipes.ce=published", "no recipe of ce is published for cifar10 with symm"),
        (
            "digits-methods",
            "recipes.elr=published",
            "no recipe of elr is published for digits with symmetric-0.4, only for cifar10 with as",
        ),
        ("cifar10", "recipes.nal=published", "a tuned method must have the recipe 'matched'"),
        ("cifar10", "recipes.foo=published", "unknown method 'foo'"),
        (
            "digits",
            "recipes.ce={selection: epoch chosen by noisy validation}",
            "must be above 0, since the recipe reports the epoch chosen by noisy validation",
        ),
        (
            "digits",
            "recipes.ce={selection: epoch chosen by test accuracy, hold_out: 0.1}",
            "no choice may depend on the test split",
        ),
        ("digits", "overrides=[{scenario: symetric-0.4}]", "unknown scenario 'symetric-0.4'"),
        ("digits", "overrides=[{recipe: {epochs: 3}}]", "must be a mapping with the key scenario"),
        ("digits", "overrides=[{scenario: clean, recipes: x, foo: 1}]", "unknown key 'foo'"),
        (
            "digits",
            "search.space.nal.target_interval={low: 1, high: 3}",
            "target_interval is also fixed, by hyperparameters.nal.target_interval: remove one; "
            "where the value is inherited, null removes it",
        ),
        ("digits", "search.space.ce.learning_rate={low: 0, high: 3}", "must be a number above 0"),
        ("digits", "hyperparameters.nal.lambda=0", "lambda must be a number above 0, got 0"),
        ("digits", "hyperparameters.nal.alpha=1", "alpha must be a number at least 0 and below 1"),
        ("digits", "diagnostics.every=-1", "must be greater than or equal to 0, got -1"),
        ("digits", "tune=[gce]", "'gce' is not among the methods of the study"),
        ("digits-methods", "tune=[forward-true]", "method forward-true has no search space"),
        (
            "digits-methods",
            "hyperparameters.dac.warm_up_epochs=60",
            "warm_up_epochs is 60 of 60 epochs, but at least one epoch must follow: ",
        ),
    ],
)
def test_faults_are_one_line_that_names_the_flag(name: str, sets: str, message: str) -> None:
    with pytest.raises(StudyError) as error_info:
        load(name, sets)
    text = str(error_info.value)
    assert text.startswith(f"--set {sets.partition('=')[0]}: "), text
    assert message in text
    assert "\n" not in text


@pytest.mark.parametrize(
    ("sets", "message"),
    [
        ((), "methods: method forward-true needs true labels, but dataset digits has none: leave"),
        (
            ("methods=[plc]", "tune=[]", PLC),
            "recipes.plc: this recipe reports the epoch chosen by clean validation, but dataset "
            "digits has no",
        ),
    ],
)
def test_methods_and_rules_without_the_true_labels_they_need_are_refused(
    sets: tuple[str, ...], message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    class NoisyDigits(Digits):
        has_true_labels = False

    monkeypatch.setitem(SOURCES, "digits", NoisyDigits())
    with pytest.raises(StudyError) as error_info:
        load("digits-methods", *sets)
    assert message in str(error_info.value)


def test_a_published_rule_that_uses_the_test_split_is_refused(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    kind = method_of("selc")
    tested = [entry for entry in kind.published_recipes if entry.selection is EpochSelection.TEST]
    assert [entry.dataset for entry in tested] == ["clothing1m"]
    monkeypatch.setattr(kind, "published_recipes", tuple(_on_digits(entry) for entry in tested))
    with pytest.raises(StudyError) as error_info:
        load("digits-methods", "recipes.selc=published")
    assert str(error_info.value) == (
        "--set recipes.selc: the published recipe of selc on digits takes the epoch with the best "
        "test accuracy, but no choice may depend on the test split: use matched"
    )


def _on_digits(published: object) -> object:
    return replace(published, dataset="digits")  # type: ignore[type-var]


# --- layers and sources


def test_the_first_layer_that_sets_a_value_takes_precedence() -> None:
    sets = ("reference=null", "tune=[]", "hyperparameters.nal={preset: official, alpha: 0.7}")
    override = (
        "overrides=[{scenario: symmetric-0.2, hyperparameters: {nal: {alpha: 0.6}}, source: me}]"
    )
    loaded = load("cifar10", *sets, override)
    overridden, other = (
        resolve(loaded.study, "nal", name).sourced_hyperparameters
        for name in ("symmetric-0.2", "symmetric-0.4")
    )
    alphas = [values["alpha"] for values in (overridden, other)]
    assert [(alpha.value, alpha.layer) for alpha in alphas] == [
        (0.6, "override"),
        (0.7, "fixed"),
    ]
    assert overridden["alpha"].key_path == ("overrides", 0, "hyperparameters", "nal", "alpha")
    assert {name: value.layer for name, value in other.items()} == {
        "lambda": "default",
        "alpha": "fixed",
        "first_target_epoch": "preset",
        "target_interval": "preset",
        "clamps": "preset",
        "delta": "preset",
        "beta": "preset",
    }
    assert loaded.source_of(overridden["alpha"]) == "me"
    assert loaded.source_of(other["alpha"]) == "set by --set hyperparameters.nal"
    assert loaded.source_of(other["lambda"]) == "default of method nal"
    assert loaded.source_of(other["clamps"]).startswith("preset official: public code")


def test_the_source_of_a_scaled_value_names_the_original_value() -> None:
    short = load("cifar10").with_epochs(50)
    values = resolve(short.study, "selc", "symmetric-0.4").sourced_hyperparameters
    assert short.source_of(values["first_target_epoch"]) == (
        "scaled by --epochs from 31 (MacLLL/SELC)"
    )


def test_a_study_is_resolved_once() -> None:
    loaded = load("cifar10")
    cell = resolve(loaded.study, "nal", "symmetric-0.4")
    assert resolve(loaded.study, "nal", "symmetric-0.4") is cell
    other = resolve(load("cifar10").study, "nal", "symmetric-0.4")
    assert other is not cell
    assert other == cell
