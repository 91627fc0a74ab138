"""Loading: files that extend files, changes made by flags, and the source of each value."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from search_spaces.loader import Change, load_study, parse_set_flag
from search_spaces.resolve import matched_recipe, reference_of, resolve
from trainables.errors import FieldError, StudyError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence


def fault(study: Path | str, changes: Sequence[Change] = ()) -> str:
    with pytest.raises(StudyError) as error_info:
        load_study(str(study), changes)
    assert "\n" not in str(error_info.value)
    return str(error_info.value)


def write_beside(path: Path, name: str, text: str) -> Path:
    other = path.with_name(name)
    other.write_text(text)
    return other


# --- files


def test_unknown_studies_name_the_nearest(tmp_path: Path) -> None:
    assert fault("cifar1").startswith("unknown study 'cifar1': did you mean 'cifar10'? known: ")
    missing = tmp_path / "digit.yaml"
    assert fault(missing).startswith(
        f"the study file '{missing}' does not exist: correct the path, or name a shipped study: "
        "did you mean 'd"
    )
    assert "cannot read" in fault(f"{tmp_path}/")


def test_files_that_are_not_studies(tmp_path: Path) -> None:
    path = write_beside(tmp_path / "x", "odd.yaml", "")
    assert fault(path).startswith(f"{path}: not a study, since the file is empty")
    path.write_text("- a\n- b\n")
    assert fault(path).startswith(f"{path}: not a study, since the file is not a mapping")
    path.write_text("title: x\nrecipe: [1\n")
    assert fault(path).startswith(f"{path}:2: not valid YAML: ")
    path.write_bytes(b"title: x\ndataset: \xff\xfe\n")
    assert fault(path) == f"{path}:2: not UTF-8: save the file as UTF-8"
    path.write_text("title: a\ndataset: digits\ntitle: b\n")
    assert fault(path) == f"{path}:3: title: this key is already set in line 1: remove one"


def test_a_file_named_like_a_shipped_study_is_refused_unless_it_is_a_copy(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shipped = Path(__file__).parents[2] / "search_spaces" / "digits.yaml"
    assert load_study(str(shipped)).name == "digits"
    copy = tmp_path / "digits.yaml"
    copy.write_text("# a comment\n" + shipped.read_text())
    assert load_study(str(copy), [Change("search.trials", 3, "--trials")]).name == "digits"
    copy.write_text("extends: digits\ntitle: mine\n")
    assert fault(copy) == (
        f"{copy}: the name 'digits' belongs to a study that comes with this program, and its "
        "sweeps and reports are recorded by that name: rename the file, for example to "
        "my-digits.yaml"
    )
    monkeypatch.chdir(tmp_path)  # where the file's path is the label of the shipped study
    assert fault("digits.yaml").startswith("digits.yaml: the name 'digits' belongs to a study that")
    copy.rename(tmp_path / "my-digits.yaml")
    assert load_study(str(tmp_path / "my-digits.yaml")).study.title == "mine"


def test_a_path_is_relative_to_the_working_directory(
    write_study: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write_study()
    monkeypatch.chdir(path.parent)
    assert load_study("small.yaml").name == "small"
    assert load_study("./small.yaml").resolved_values == load_study(str(path)).resolved_values


# --- extends


def test_a_study_extends_another_by_name_and_by_relative_path(
    write_study: Callable[..., Path],
) -> None:
    path = write_beside(write_study(), "mine.yaml", "extends: small.yaml\nrecipe: {epochs: 20}\n")
    loaded = load_study(str(path))
    assert loaded.name == "mine"
    assert matched_recipe(loaded.study).epochs == 20
    assert matched_recipe(loaded.study).batch_size == 64
    assert loaded.study.title == "a small study"
    path.write_text("extends: digits\ntitle: longer\nconfirm: {seeds: [7]}\n")
    study = load_study(str(path)).study
    assert (study.title, study.confirm.seeds, study.confirm.hold_out) == ("longer", (7,), True)


def test_faults_name_the_file_that_set_the_value(write_study: Callable[..., Path]) -> None:
    small = write_study("  batch_size: 64", "  batch_size: 0")
    path = write_beside(small, "mine.yaml", "title: mine\nextends: small.yaml\n")
    assert fault(path).startswith(f"{path}:2: extends: {small}:9: recipe.batch_size: ")
    path.write_text("extends: small.yaml\nrecipe:\n  batch_size: 8\n  epochs: -1\n")
    assert fault(path).startswith(f"{path}:4: recipe.epochs: ")


def test_faults_of_inherited_values_name_the_own_file_and_the_one_that_set_them(
    tmp_path: Path,
) -> None:
    path = write_beside(tmp_path / "x", "mine.yaml", "extends: digits\nrecipe: {epochs: 3}\n")
    key = r"hyperparameters\.nal\.first_target_epoch"
    assert re.match(rf"{path}:1: extends: digits\.yaml:\d+: {key}: .* is 10, after", fault(path))

    path.write_text("extends: cifar100n\nmethods: [ce, nal]\nrecipe: {epochs: 3, window: 1}\n")
    assert re.match(rf"{path}:1: extends: cifar10\.yaml:\d+: {key}: .* is 60, after", fault(path))


def test_null_removes_an_inherited_key(write_study: Callable[..., Path]) -> None:
    text = "extends: small.yaml\nhyperparameters: {nal: null}\nrecipe: {window: null}\n"
    study = load_study(str(write_beside(write_study(), "mine.yaml", text))).study
    assert resolve(study, "nal", "symmetric-0.4").hyperparameters["first_target_epoch"] == 1
    assert matched_recipe(study).window == 10


def test_null_removes_the_search_and_the_words_about_it(tmp_path: Path) -> None:
    path = tmp_path / "none.yaml"
    path.write_text("extends: digits\ntitle: no search\ntune: null\nselect: null\nsearch: null\n")
    loaded = load_study(str(path))
    assert loaded.study.search_scenarios == {}
    assert loaded.study.search.hold_out == 0.1
    assert loaded.sources["search.hold_out"] == "default of the schema"
    assert loaded.sources["select.seeds"] == "default of the schema"
    assert loaded.with_epochs(3).study.search_scenarios == {}


def test_a_schedule_of_another_kind_inherits_nothing(write_study: Callable[..., Path]) -> None:
    small = write_study("    kind: constant", "    kind: cosine-restarts\n    period: 5")
    text = "extends: small.yaml\nrecipe:\n  schedule: {kind: multistep, milestones: [3, 5]}\n"
    study = load_study(str(write_beside(small, "mine.yaml", text))).study
    assert matched_recipe(study).schedule.rate(1.0, 6) == pytest.approx(0.01)


def test_faults_of_extends(write_study: Callable[..., Path]) -> None:
    small = write_study()
    path = write_beside(small, "mine.yaml", "title: x\nextends: cifar1\n")
    assert fault(path).startswith(f"{path}:2: extends: unknown study 'cifar1': did you mean")
    path.write_text("extends: [digits]\n")
    assert fault(path).startswith(f"{path}:1: extends: must be the name or path")
    path.write_text("extends: mine.yaml\n")
    assert "extend each other in a circle" in fault(path)
    other = write_beside(small, "other.yaml", "extends: ../other/../mine.yaml\n")
    (small.parent / "other").mkdir()
    path.write_text("extends: other.yaml\n")
    assert str(other) in fault(path)


# --- flags


@pytest.mark.parametrize(
    ("text", "path", "value"),
    [
        ("recipe.epochs=5", "recipe.epochs", 5),
        ("recipe.weight_decay=1e-3", "recipe.weight_decay", 0.001),
        ("confirm.seeds=[1, 2]", "confirm.seeds", [1, 2]),
        ("title=a=b", "title", "a=b"),
        ("subset=", "subset", None),
        (" search.scope = scenario ", "search.scope", "scenario"),
    ],
)
def test_set_reads_yaml(text: str, path: str, value: object) -> None:
    assert parse_set_flag(text) == Change(path, value, f"--set {path}")


@pytest.mark.parametrize("text", ["recipe.epochs", "=5", ".=5", "a..b=5", ""])
def test_set_requires_key_and_value(text: str) -> None:
    with pytest.raises(StudyError, match=r"^--set: write KEY=VALUE, as in --set recipe.epochs=5"):
        parse_set_flag(text)


def test_set_with_broken_yaml() -> None:
    with pytest.raises(StudyError, match=r"^--set confirm.seeds: not valid YAML: "):
        parse_set_flag("confirm.seeds=[1, 2")


def test_changes_are_applied_in_order() -> None:
    changes = [Change("search.trials", 5, "--trials"), parse_set_flag("search.trials=7")]
    loaded = load_study("digits", changes)
    assert loaded.study.search.trials == 7
    assert loaded.sources["search.trials"] == "set by --set search.trials"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            Change("search.trials", 0, "--trials"),
            "--trials: must be greater than or equal to 1, got 0",
        ),
        (Change("subset", 5000, "--subset"), "--subset: must be from 1 to 1437, "),
        (Change("confirm.seeds", [0, 0], "--seeds"), "--seeds: 0 is given twice: remove one"),
        (Change("methods", ["nall"], "--methods"), "--methods: unknown method 'nall': did you"),
        (Change("scenarios", ["x"], "--scenario"), "--scenario: unknown scenario 'x': known: "),
        (
            parse_set_flag("recipe.epoch=5"),
            "--set recipe.epoch: unknown key 'epoch': did you mean 'ep",
        ),
        (
            parse_set_flag("epochs=5"),
            "--set epochs: unknown key 'epochs': did you mean 'recipe.epochs'",
        ),
        (
            parse_set_flag("recipe.epochs.x=5"),
            "--set recipe.epochs.x: recipe.epochs: must be an integer",
        ),
        (
            parse_set_flag("recipe.schedule.kind=multistep"),
            "--set recipe.schedule.kind: recipe.schedule.milestones: is missing",
        ),
        (parse_set_flag("hyperparameters.nal=[1]"), "--set hyperparameters.nal: must be a mapping"),
        (
            parse_set_flag("extends=cifar10"),
            "--set extends: 'extends' can only be set in a study file",
        ),
        (
            parse_set_flag("sources.subset=x"),
            "--set sources.subset: 'sources' can only be set in a",
        ),
    ],
)
def test_faults_of_flags_name_the_flag(change: Change, message: str) -> None:
    assert fault("digits", [change]).startswith(message)


def test_a_value_of_a_file_that_a_flag_makes_invalid_names_the_file(
    write_study: Callable[..., Path],
) -> None:
    path = write_study()
    assert fault(path, [parse_set_flag("recipe.epochs=5")]) == (
        f"{path}:18: hyperparameters.nal.first_target_epoch: first_target_epoch is 10, after the "
        "last epoch (5): choose an epoch from 1 to 5"
    )


def test_narrowing_methods_and_scenarios_narrows_the_search() -> None:
    loaded = load_study("digits", [Change("methods", ["ce"], "--methods")])
    assert loaded.study.tune == ()
    assert loaded.sources["tune"] == "set by --methods"
    loaded = load_study("cifar10", [Change("scenarios", ["symmetric-0.8"], "--scenario")])
    assert loaded.study.search_scenarios == {"symmetric-0.8": ("symmetric-0.8",)}
    selection = ["symmetric-0.2", "symmetric-0.4"]
    loaded = load_study("cifar10", [Change("scenarios", selection, "--scenario")])
    assert loaded.study.search.scenario == "symmetric-0.4"
    assert loaded.sources["search.scenario"] == load_study("cifar10").sources["search.scenario"]


def test_narrowing_methods_narrows_the_varied_values() -> None:
    study = load_study("cifar10-sensitivity", [Change("methods", ["ce"], "--methods")]).study
    assert study.vary == {}
    study = load_study("cifar10-sensitivity", [Change("methods", ["ce", "nal"], "--methods")]).study
    assert list(study.vary) == ["nal"]
    changes = [Change("methods", ["ce"], "--methods"), parse_set_flag("vary.nal.lambda=[1, 2]")]
    assert "vary.nal: 'nal' is not among the methods" in fault("cifar10-sensitivity", changes)


def test_a_study_that_selects_scenarios_and_methods_narrows_the_inherited_search(
    tmp_path: Path,
) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text("extends: cifar10\nscenarios: [file-mine]\nmethods: [ce, elr]\n")
    loaded = load_study(str(path))
    assert loaded.study.search.scenario == "file-mine"
    assert loaded.sources["search.scenario"] == f"{path}:2"
    assert loaded.study.tune == ()
    assert loaded.sources["tune"] == f"{path}:3"
    path.write_text("extends: cifar10\nscenarios: [clean]\nsearch: {scenario: symmetric-0.4}\n")
    assert fault(path).startswith(f"{path}:3: search.scenario: 'symmetric-0.4' is not among")
    path.write_text("extends: cifar10-sensitivity\nmethods: [ce]\nvary: {nal: {lambda: [1, 2]}}\n")
    assert "vary.nal: 'nal' is not among the methods" in fault(path)


def test_a_flag_that_sets_the_searched_scenario_is_not_adapted() -> None:
    changes = [
        Change("scenarios", ["clean"], "--scenario"),
        parse_set_flag("search.scenario=symmetric-0.4"),
    ]
    assert fault("digits", changes).startswith(
        "--set search.scenario: 'symmetric-0.4' is not among"
    )


def test_a_fixed_hyperparameter_is_not_searched() -> None:
    study = load_study("digits", [parse_set_flag("hyperparameters.nal.alpha=0.8")]).study
    assert list(study.space_of("nal")) == ["lambda"]
    assert dict(reference_of(study, "nal") or {}) == {"lambda": 0.5}
    assert resolve(study, "nal", "symmetric-0.4").hyperparameters["alpha"] == 0.8

    values = {"lambda": 3, "alpha": 0.8}
    sets = [parse_set_flag(f"hyperparameters.nal.{name}={value}") for name, value in values.items()]
    study = load_study("digits", sets).study
    assert study.search_scenarios == {}
    assert resolve(study, "nal", "symmetric-0.4").hyperparameters["lambda"] == 3.0


# --- sources


def test_each_value_has_a_source(write_study: Callable[..., Path]) -> None:
    path = write_study(
        "title: a small study",
        "title: a small study\nsources: {recipe: a book, recipe.epochs: a letter, subset: a wish}",
    )
    loaded = load_study(str(path), [Change("recipe.window", 5, "--window")])
    assert {key: loaded.sources[key] for key in loaded.sources if key.startswith("recipe.")} == {
        "recipe.epochs": "a letter",
        "recipe.batch_size": "a book",
        "recipe.learning_rate": "a book",
        "recipe.drop_last": "default of the schema",
        "recipe.crop_size": "default of the schema",
        "recipe.crop_padding": "default of the schema",
        "recipe.optimizer": "default of the schema",
        "recipe.momentum": "default of the schema",
        "recipe.weight_decay": "default of the schema",
        "recipe.nesterov": "default of the schema",
        "recipe.reset_optimizer": "default of the schema",
        "recipe.max_gradient_norm": "default of the schema",
        "recipe.schedule.kind": "a book",
        "recipe.augmentation": "default of the schema",
        "recipe.mean": "default of the schema",
        "recipe.std": "default of the schema",
        "recipe.window": "set by --window",
        "recipe.evaluate_every": "default of the schema",
        "recipe.precision": "default of the schema",
        "recipe.tf32": "default of the schema",
    }
    assert loaded.sources["subset"] == "a wish"
    assert loaded.sources["dataset"] == f"{path}:3"
    assert loaded.sources["hyperparameters.nal.target_interval"] == "default of method nal"
    assert loaded.sources["search.space.nal.alpha.log"] == "default of the schema"


def test_defaults_of_method_and_backbone_are_named(write_study: Callable[..., Path]) -> None:
    path = write_study("  hidden: [16]\n", "")
    path.write_text(path.read_text().partition("  space:")[0])
    sources = load_study(str(path)).sources
    assert sources["backbone.hidden"] == "default of backbone mlp"
    assert sources["search.space.nal.lambda.low"] == "default of method nal"


def test_a_source_does_not_cover_values_changed_by_an_extending_file(
    write_study: Callable[..., Path],
) -> None:
    small = write_study("title: a small study", "title: a small study\nsources: {recipe: a book}")
    path = write_beside(small, "mine.yaml", "extends: small.yaml\nrecipe: {epochs: 20}\n")
    sources = load_study(str(path)).sources
    assert sources["recipe.epochs"] == f"{path}:2"
    assert sources["recipe.batch_size"] == "inherited from small: a book"
    path.write_text("extends: small.yaml\nrecipe: {epochs: 20}\nsources: {recipe.epochs: mine}\n")
    assert load_study(str(path)).sources["recipe.epochs"] == "mine"


def test_deviations_are_those_of_a_dataset(tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text("extends: digits\ntitle: mine\n")
    inherited = load_study("digits").study.deviations
    assert load_study(str(path)).study.deviations == inherited
    conditional = tuple(one for one in inherited if one.when or one.unless)
    assert 0 < len(conditional) < len(inherited)
    assert load_study(str(path), [parse_set_flag("dataset=npz")]).study.deviations == conditional
    path.write_text("extends: digits\ntitle: mine\ndataset: npz\n")
    assert load_study(str(path)).study.deviations == conditional
    path.write_text("extends: digits\ntitle: mine\ndataset: npz\ndeviations: [mine]\n")
    assert [str(one.text) for one in load_study(str(path)).study.deviations] == ["mine"]


@pytest.mark.parametrize(
    ("sources", "part"),
    [
        ("{recipe.epoch: x}", "the study has no key 'recipe.epoch': did you mean 'recipe.epochs'?"),
        ("{recipe.epochs: 3}", "the source of recipe.epochs must be a text, got 3"),
        ("[a]", "must be a mapping from dotted keys to texts"),
    ],
)
def test_faults_of_sources(write_study: Callable[..., Path], sources: str, part: str) -> None:
    path = write_study("dataset: digits", f"sources: {sources}\ndataset: digits")
    message = fault(path)
    assert message.startswith(f"{path}:2: sources: ")
    assert part in message


# --- loaded studies


def test_to_yaml_loads_as_the_same_study(write_study: Callable[..., Path]) -> None:
    loaded = load_study(str(write_study()), [Change("search.trials", 9, "--trials")])
    again = load_study(str(write_beside(write_study(), "again.yaml", loaded.to_yaml())))
    assert again.resolved_values == loaded.resolved_values
    assert again.sources == loaded.sources
    assert again.to_yaml() == loaded.to_yaml()


def test_faults_found_after_loading_name_their_line(write_study: Callable[..., Path]) -> None:
    path = write_study("dataset: digits", "dataset: digits\nsubset: 100")
    error = load_study(str(path)).to_study_error(FieldError("subset", "only 90 samples are there"))
    assert str(error) == f"{path}:3: subset: only 90 samples are there"
    changed = load_study(str(path), [Change("subset", 100, "--subset")])
    assert str(changed.to_study_error(FieldError("subset", "too many"))) == "--subset: too many"


def test_loading_imports_neither_torch_nor_other_engines() -> None:
    code = (
        "import sys; from search_spaces.loader import load_study; load_study('cifar100');"
        "heavy = ('torch', 'torchvision', 'ray', 'mlflow', 'optuna', 'sklearn', 'pandas');"
        "print([name for name in heavy if name in sys.modules])"
    )
    root = Path(__file__).parents[2]
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=root
    )
    assert done.stdout.strip() == "[]"
