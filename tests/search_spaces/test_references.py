"""References of a study to files of the user's and to entry points, in all keys that allow them."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import pytest
from outside_code import (
    FILES,
    LOSS,
    NOISE,
    STUDY,
    code_file,
    install_package,
    name_in,
    side_effect,
    write_files,
)

from orchestrator.commands.studies import show
from orchestrator.flags import StudyFlags
from search_spaces.identity import study_code_hashes, study_identity
from search_spaces.loader import LoadedStudy, load_study, parse_set_flag
from search_spaces.resolve import resolve
from trainables.errors import CodeError, NalError, StudyError
from trainables.extensions import CodeFile, loaded_files
from trainables.run.identity import digest_of
from trainables.run.parameters import Space

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.usefixtures("no_code_loaded")

LOSS_NAME = name_in(LOSS, "LabelSmoothing")
FLIP = name_in(NOISE, "PairFlip-0.3")
BLOBS = name_in(FILES["my_data.py"], "Blobs")
LENET = name_in(FILES["my_net.py"], "LeNet")

SMALL = """\
title: label smoothing
dataset: digits
backbone: {name: mlp, hidden: [16]}
scenarios: [symmetric-0.4, my_noise.py:PairFlip-0.3]
recipe: {epochs: 60, batch_size: 64, learning_rate: 0.05, window: 10}
methods: [ce, my_loss.py:LabelSmoothing]
search: {trials: 4, seeds: [1000], hold_out: 0.3}
select: {seeds: [2000]}
confirm: {seeds: [0, 1]}
"""


def allowed(_file: CodeFile) -> bool:
    return True


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Folder with the user's files and with their study."""
    return write_files(tmp_path / "mine").parent


def load(folder: Path, text: str = SMALL, *sets: str) -> LoadedStudy:
    """Load a study from a folder, with all of its code allowed."""
    path = folder / "study.yaml"
    path.write_text(text)
    return load_study(str(path), [parse_set_flag(item) for item in sets], allowed)


def message_of(folder: Path, text: str, *sets: str) -> str:
    """Return the one line with which a study is refused, without the path of the study."""
    with pytest.raises(NalError) as fault:
        load(folder, text, *sets)
    message = str(fault.value)
    assert "\n" not in message
    assert "@" not in message
    return message.removeprefix(f"{folder}/")


def sweep_digest(loaded: LoadedStudy) -> str:
    return digest_of(study_identity(loaded.study))


# Positions


def test_every_kind_is_named_by_its_file(folder: Path) -> None:
    study = load(folder, STUDY).study
    assert (study.dataset, study.backbone.name) == (BLOBS, LENET)
    assert study.scenarios == (FLIP, "clean")
    assert study.methods == ("ce", LOSS_NAME)
    assert study.tune == (LOSS_NAME,)
    assert study.search.scenario == FLIP
    assert resolve(study, LOSS_NAME, FLIP).recipe.epochs == 5
    assert resolve(study, LOSS_NAME, "clean").recipe.epochs == 4
    assert study_code_hashes(study) == {
        name: code_file(FILES[file]).sha256
        for file, name in (
            ("my_data.py", BLOBS),
            ("my_net.py", LENET),
            ("my_loss.py", LOSS_NAME),
            ("my_noise.py", FLIP),
        )
    }
    assert study_identity(study)["code"] == study_code_hashes(study)


def test_sections_by_method(folder: Path) -> None:
    text = SMALL + (
        "hyperparameters: {my_loss.py:LabelSmoothing: {smoothing: 0.2}}\n"
        "recipes: {my_loss.py:LabelSmoothing: {recipe: {learning_rate: 0.01}}}\n"
        "vary: {my_loss.py:LabelSmoothing: {smoothing: [0.3, 0.4]}}\n"
        "overrides:\n"
        "  - scenario: symmetric-*\n"
        "    hyperparameters: {my_loss.py:LabelSmoothing: {smoothing: 0.5}}\n"
        "    recipes: {my_loss.py:LabelSmoothing: matched}\n"
    )
    study = load(folder, text).study
    flip = resolve(study, LOSS_NAME, FLIP)
    symmetric = resolve(study, LOSS_NAME, "symmetric-0.4")
    assert (flip.hyperparameters["smoothing"], flip.recipe.learning_rate) == (0.2, 0.01)
    assert (symmetric.hyperparameters["smoothing"], symmetric.recipe.learning_rate) == (0.5, 0.05)
    assert study.vary == {LOSS_NAME: {"smoothing": (0.3, 0.4)}}


def test_sections_of_a_search(folder: Path) -> None:
    text = SMALL.replace(
        "search: {",
        "tune: [my_loss.py:LabelSmoothing]\n"
        "reference: {my_loss.py:LabelSmoothing: {smoothing: 0.2}}\n"
        "search: {scenario: my_noise.py:PairFlip-0.3, "
        "space: {my_loss.py:LabelSmoothing: {smoothing: {low: 0.1, high: 0.5}}}, ",
    )
    study = load(folder, text).study
    assert study.reference == {LOSS_NAME: {"smoothing": 0.2}}
    assert study.space_of(LOSS_NAME) == {"smoothing": Space(0.1, 0.5)}
    assert study.search_scenarios == {FLIP: study.scenarios}


def test_the_backbone_of_a_posterior(folder: Path) -> None:
    text = SMALL.replace("symmetric-0.4", "pmd-1-0.35") + (
        "posterior: {backbone: {name: my_net.py:LeNet, width: 4}}\n"
    )
    study = load(folder, text).study
    assert study.posterior.backbone is not None
    assert study.posterior.backbone.name == LENET
    assert set(study_code_hashes(study)) == {LENET, LOSS_NAME, FLIP}


@pytest.mark.parametrize(
    ("pattern", "epochs"),
    [
        ("my_noise.py:PairFlip-*", 7),
        ("my_noise.py:PairFlip-0.3", 7),
        ("'*'", 7),
        ("my_noise.py:PairFlip-0.4*", 60),
        ("symmetric-*", 60),
    ],
)
def test_patterns_of_scenarios(folder: Path, pattern: str, epochs: int) -> None:
    recipe = "recipe: {epochs: 7, window: 2}"
    text = SMALL + f"overrides:\n  - scenario: {pattern}\n    {recipe}\n"
    assert resolve(load(folder, text).study, LOSS_NAME, FLIP).recipe.epochs == epochs


def test_flags_name_files(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = folder / "study.yaml"
    path.write_text(SMALL)
    monkeypatch.chdir(folder.parent)
    study_flags = StudyFlags(
        study=str(path),
        methods=("my_loss.py:LabelSmoothing",),
        scenarios=("my_noise.py:PairFlip-0.2",),
        sets=(
            "hyperparameters.my_loss.py:LabelSmoothing.smoothing=0.3",
            "backbone={name: my_net.py:LeNet}",
        ),
        allow_code=True,
    )
    loaded = study_flags.load()
    assert loaded.study.methods == (LOSS_NAME,)
    assert loaded.study.scenarios == (name_in(NOISE, "PairFlip-0.2"),)
    assert loaded.study.backbone.name == LENET
    resolved = resolve(loaded.study, LOSS_NAME, loaded.study.scenarios[0])
    value = resolved.sourced_hyperparameters["smoothing"]
    assert value.value == 0.3
    flag = "--set hyperparameters.my_loss.py:LabelSmoothing.smoothing"
    assert loaded.source_of(value) == f"set by {flag}"


def test_a_fixed_hyperparameter_is_no_longer_searched(folder: Path) -> None:
    text = STUDY.replace(
        "space: null", "space: {my_loss.py:LabelSmoothing: {smoothing: {low: 0.1, high: 0.5}}}"
    )
    loaded = load(folder, text, "hyperparameters.my_loss.py:LabelSmoothing.smoothing=0.3")
    assert loaded.study.tune == ()


def test_a_shipped_study_takes_files_from_the_working_directory(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(folder)
    loaded = load_study(
        "digits", [parse_set_flag("methods=[ce, my_loss.py:LabelSmoothing]")], allowed
    )
    assert loaded.study.methods == ("ce", LOSS_NAME)


def test_names_of_entry_points(site: Path, tmp_path: Path) -> None:
    modules = {f"my_package/{name}": content for name, content in FILES.items()}
    install_package(
        site,
        {"my_package/__init__.py": "", **modules},
        {
            "method smooth": "my_package.my_loss:LabelSmoothing",
            "method ce": "my_package.my_loss:LabelSmoothing",
            "backbone lenet": "my_package.my_net:LeNet",
            "noise pair": "my_package.my_noise:PairFlip",
            "dataset blobs": "my_package.my_data:Blobs",
        },
    )
    text = (
        STUDY.replace("my_data.py:Blobs", "blobs")
        .replace("my_net.py:LeNet", "lenet")
        .replace("my_noise.py:PairFlip", "pair")
        .replace("my_loss.py:LabelSmoothing", "smooth")
    )
    loaded = load(tmp_path, text)
    study = loaded.study
    assert [name.partition("@")[0] for name in study.methods] == ["ce", "LabelSmoothing"]
    assert "@" not in study.methods[0]
    assert resolve(study, study.methods[1], study.scenarios[0]).recipe.epochs == 5
    assert loaded.extensions.files == {}
    assert len(set(study_code_hashes(study).values())) == 1
    again = load(tmp_path, loaded.to_yaml())
    assert (again.resolved_values, again.with_references()) == (
        loaded.resolved_values,
        loaded.with_references(),
    )
    assert "methods: [ce, smooth]\n" in loaded.to_yaml()


# Writing out

FULL = SMALL.replace(
    "search: {",
    "tune: [my_loss.py:LabelSmoothing]\n"
    "reference: {my_loss.py:LabelSmoothing: {smoothing: 0.2}}\n"
    "search: {scenario: my_noise.py:PairFlip-0.3, "
    "space: {my_loss.py:LabelSmoothing: {smoothing: {low: 0.1, high: 0.5}}}, ",
) + (
    "overrides:\n"
    "  - scenario: my_noise.py:PairFlip-*\n"
    "    recipe: {epochs: 70}\n"
    "    recipes: {ce: {recipe: {learning_rate: 0.01}}}\n"
    "sources:\n"
    "  reference.my_loss.py:LabelSmoothing: somebody's guess\n"
    "  search.space.my_loss.py:LabelSmoothing.smoothing: mine\n"
)


@pytest.mark.parametrize("text", [SMALL, STUDY, FULL], ids=["small", "everything", "search"])
def test_a_written_out_study_is_the_same_study(folder: Path, text: str) -> None:
    loaded = load(folder, text)
    written = loaded.to_yaml()
    assert "@" not in written
    again = load(folder, written)
    assert again.resolved_values == loaded.resolved_values
    assert again.with_references() == loaded.with_references()
    assert again.to_yaml() == written
    assert sweep_digest(again) == sweep_digest(loaded)
    assert again.extensions.files == loaded.extensions.files


def test_sources_name_methods_by_their_files(folder: Path) -> None:
    _, sources = load(folder, FULL).with_references()
    assert sources["reference.my_loss.py:LabelSmoothing.smoothing"] == "somebody's guess"
    assert sources["search.space.my_loss.py:LabelSmoothing.smoothing.low"] == "mine"
    _, sources = load(folder).with_references()
    assert sources["hyperparameters.my_loss.py:LabelSmoothing.smoothing"] == (
        "default of method my_loss.py:LabelSmoothing"
    )


def test_the_place_of_the_files_is_no_part_of_the_sweep(folder: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    (other / "code").mkdir(parents=True)
    (other / "code" / "loss.py").write_text(LOSS)
    (other / "my_noise.py").write_text(NOISE)
    text = SMALL.replace("my_loss.py:", "code/loss.py:")
    moved = load(other, text)
    assert sweep_digest(moved) == sweep_digest(load(folder))
    assert moved.extensions.files == {"code/loss.py": LOSS, "my_noise.py": NOISE}
    (other / "code" / "loss.py").write_text(LOSS + "# changed\n")
    assert sweep_digest(load(other, text)) != sweep_digest(moved)


# Faults

HYPER = "hyperparameters: {my_loss.py:LabelSmoothing: {"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            SMALL.replace("my_loss.py:", "my_los.py:"),
            "study.yaml:6: the file my_los.py does not exist in the study's folder {folder}",
        ),
        (
            SMALL.replace("LabelSmoothing", "Smoothing"),
            "study.yaml:6: {folder}/my_loss.py: there is no class Smoothing: write "
            "`class Smoothing(Method)`",
        ),
        (
            SMALL.replace("LabelSmoothing", "LabelSmoothing-0.3"),
            "study.yaml:6: 'my_loss.py:LabelSmoothing-0.3': write FILE.py:CLASS, without further "
            "text",
        ),
        (
            SMALL.replace("digits", "my_loss.py:LabelSmoothing"),
            "study.yaml:2: {folder}/my_loss.py: LabelSmoothing is not a subclass of Source: write "
            "`class LabelSmoothing(Source)`",
        ),
        (
            SMALL + HYPER + "smoothing: 3}}\n",
            "study.yaml:10: hyperparameters.my_loss.py:LabelSmoothing.smoothing: smoothing must be "
            "a number at least 0 and at most 1, got 3",
        ),
        (
            SMALL + HYPER + "smothing: 0.3}}\n",
            "study.yaml:10: hyperparameters.my_loss.py:LabelSmoothing.smothing: method "
            "my_loss.py:LabelSmoothing has no parameter 'smothing': did you mean 'smoothing'? "
            "known: smoothing",
        ),
        (
            SMALL.replace("[ce, my", "[ce, my_loss.py:LabelSmoothing, my"),
            "study.yaml:6: methods: my_loss.py:LabelSmoothing is given twice: remove one",
        ),
        (
            SMALL.replace("PairFlip-0.3", "PairFlip-1.3"),
            "study.yaml:4: scenarios: scenario 'PairFlip-1.3': the rate must be above 0 and below "
            "1, got '1.3'",
        ),
        (
            SMALL.replace("PairFlip-0.3", "PairFlip-0.3+symmetric-0.2"),
            "study.yaml:4: scenarios: PairFlip has no scenario 'PairFlip-0.3+symmetric-0.2': "
            "did you mean 'PairFlip-RATE'? known: PairFlip-RATE",
        ),
        (
            SMALL.replace("my_noise.py:PairFlip-0.3", "pmd-1-0.35+my_noise.py:PairFlip-0.3"),
            "study.yaml:4: the file pmd-1-0.35+my_noise.py does not exist in the study's folder "
            "{folder}",
        ),
        (
            SMALL + "overrides:\n  - scenario: my_noise.py:PairFlip-0.4\n    recipe: {epochs: 5}\n",
            "study.yaml:11: overrides.0.scenario: 'my_noise.py:PairFlip-0.4' is not among "
            "the scenarios of the study: did you mean 'my_noise.py:PairFlip-0.3'?",
        ),
        (
            SMALL + "overrides:\n  - scenario: my_noise.py:PairFlop-*\n    recipe: {epochs: 5}\n",
            "study.yaml:11: {folder}/my_noise.py: there is no class PairFlop: write "
            "`class PairFlop(Noise)`",
        ),
        (
            SMALL + "sources: {hyperparameters.my_loss.py:LabelSmothing.smoothing: mine}\n",
            "study.yaml:10: sources: the study has no key "
            "'hyperparameters.my_loss.py:LabelSmothing.smoothing'",
        ),
    ],
)
def test_faults_show_the_reference(folder: Path, text: str, message: str) -> None:
    assert message_of(folder, text).startswith(message.format(folder=folder))


def test_faults_of_flags_show_the_reference(folder: Path) -> None:
    key = "hyperparameters.my_loss.py:LabelSmoothing.smoothing"
    assert message_of(folder, SMALL, f"{key}=3") == (
        f"--set {key}: smoothing must be a number at least 0 and at most 1, got 3"
    )
    assert message_of(folder, SMALL, "methods=[my_los.py:LabelSmoothing]") == (
        f"--set methods: the file my_los.py does not exist in the study's folder {folder}"
    )


def test_a_fault_inside_a_file_has_its_line_and_that_of_the_study(folder: Path) -> None:
    (folder / "my_loss.py").write_text("import my_helper\n" + LOSS)
    assert message_of(folder, SMALL).startswith(
        f"study.yaml:6: {folder}/my_loss.py:1: 'my_helper' is not an installed package, "
    )


def test_equal_files_are_one_method(folder: Path) -> None:
    (folder / "copy.py").write_text(LOSS)
    both = SMALL.replace("[ce, ", "[copy.py:LabelSmoothing, ")
    assert message_of(folder, both) == (
        "study.yaml:6: methods: my_loss.py:LabelSmoothing is given twice: remove one"
    )
    text = SMALL + (
        "hyperparameters:\n"
        "  my_loss.py:LabelSmoothing: {smoothing: 0.2}\n"
        "  copy.py:LabelSmoothing: {smoothing: 0.3}\n"
    )
    assert message_of(folder, text) == (
        "study.yaml:12: hyperparameters.copy.py:LabelSmoothing is given twice, since "
        "my_loss.py:LabelSmoothing has the same content: remove one"
    )
    text = SMALL + "hyperparameters: {copy.py:LabelSmoothing: {smoothing: 0.2}}\n"
    study = load(folder, text).study
    assert resolve(study, LOSS_NAME, FLIP).hyperparameters["smoothing"] == 0.2


# Locations of files


def test_files_lie_below_the_folder_of_the_study(folder: Path, tmp_path: Path) -> None:
    outside = tmp_path / "outside.py"
    marker = tmp_path / "marker"
    outside.write_text(LOSS + side_effect(marker))
    (folder / "link.py").symlink_to(outside)
    (folder / "linked").symlink_to(tmp_path)
    for path in ("../outside.py", str(outside), "link.py", "linked/outside.py"):
        assert message_of(folder, SMALL.replace("my_loss.py:", f"{path}:")) == (
            f"study.yaml:6: {path} leads to {outside}, outside the study's folder {folder}: copy "
            "the file there"
        )
    assert not marker.exists()
    assert loaded_files() != ()  # of the study's other file


@pytest.mark.parametrize(
    "path", ["./my_loss.py", "sub/../my_loss.py", "../mine/my_loss.py", "link.py", "sub/link.py"]
)
def test_paths_that_stay_below(folder: Path, path: str) -> None:
    (folder / "sub").mkdir()
    (folder / "sub" / "link.py").symlink_to("../my_loss.py")
    (folder / "link.py").symlink_to(folder / "my_loss.py")
    loaded = load(folder, SMALL.replace("my_loss.py:", f"{path}:"))
    assert loaded.study.methods == ("ce", LOSS_NAME)
    assert "my_loss.py" in loaded.extensions.files
    assert sweep_digest(load(folder, loaded.to_yaml())) == sweep_digest(loaded)


def test_an_absolute_path_below_the_folder(folder: Path) -> None:
    loaded = load(folder, SMALL.replace("my_loss.py:", f"{folder}/my_loss.py:"))
    assert loaded.with_references()[0]["methods"] == ["ce", "my_loss.py:LabelSmoothing"]


@pytest.mark.parametrize("kind", ["pipe", "folder", "circle", "null"])
def test_what_is_no_file_is_refused(folder: Path, kind: str) -> None:
    path = folder / "odd.py"
    if kind == "pipe":
        os.mkfifo(path)
    elif kind == "folder":
        path.mkdir()
    elif kind == "circle":
        path.symlink_to(path)
    name = '"odd\\0.py:X"' if kind == "null" else "odd.py:X"
    message = message_of(folder, SMALL.replace("my_loss.py:LabelSmoothing", name))
    assert message.startswith("study.yaml:6: ")


def test_a_file_name_has_one_dot(folder: Path) -> None:
    (folder / "my.loss.py").write_text(LOSS)
    assert message_of(folder, SMALL.replace("my_loss.py:", "my.loss.py:")) == (
        "study.yaml:6: 'my.loss.py': rename the file or folder so that the path has no dot except "
        "in '.py'"
    )


# Permission


def test_a_file_that_is_not_allowed_is_not_executed(folder: Path, tmp_path: Path) -> None:
    marker = tmp_path / "marker"
    for name in ("my_loss.py", "my_noise.py"):
        (folder / name).write_text(FILES[name] + side_effect(marker, name))
    path = folder / "study.yaml"
    path.write_text(SMALL)
    shown: list[str] = []

    def only_noise(file: CodeFile) -> bool:
        shown.append(file.path)
        return file.path.endswith("my_noise.py")

    with pytest.raises(CodeError) as fault:
        load_study(str(path), (), only_noise)
    sha256 = code_file((folder / "my_loss.py").read_bytes()).sha256
    assert str(fault.value) == (
        f"{path}:6: the code in {folder}/my_loss.py (SHA-256 {sha256}) would be executed, but has "
        "not been allowed: read the file, then add --allow-code"
    )
    assert shown == [f"{folder}/my_noise.py", f"{folder}/my_loss.py"]
    assert marker.read_text() == "my_noise.py "


def test_nothing_is_allowed_unless_somebody_decides(folder: Path) -> None:
    with pytest.raises(CodeError, match="add --allow-code"):
        load_study(str(folder / "mine.yaml"))
    assert loaded_files() == ()


def test_a_study_is_asked_for_each_file_once(folder: Path) -> None:
    shown: list[str] = []

    def count(file: CodeFile) -> bool:
        shown.append(file.path.rpartition("/")[2])
        return True

    for _ in range(2):
        load_study(str(folder / "mine.yaml"), (), count)
    assert sorted(shown) == sorted(FILES)


def test_a_name_with_a_hash_is_not_enough(folder: Path) -> None:
    """A name from a record does not bring its source along."""
    text = SMALL.replace("my_loss.py:LabelSmoothing", f"'{LOSS_NAME}'")
    path = folder / "study.yaml"
    path.write_text(text)
    with pytest.raises(StudyError, match="is not available here"):
        load_study(str(path), (), allowed)


def test_studies_without_code_are_as_before() -> None:
    loaded: Any = load_study("digits")
    assert "code" not in study_identity(loaded.study)
    assert loaded.extensions.files == {}


# Files of a study that is extended


def extend(folder: Path, text: str) -> LoadedStudy:
    """Load a study in another folder that extends `study.yaml` of the first."""
    (folder / "study.yaml").write_text(SMALL)
    child = folder.parent / "child" / "child.yaml"
    child.parent.mkdir(exist_ok=True)
    child.write_text(f"extends: ../{folder.name}/study.yaml\n{text}")
    return load_study(str(child), (), allowed)


def test_each_study_names_the_files_of_its_own_folder(folder: Path) -> None:
    loaded = extend(folder, "hyperparameters: {my_loss.py:LabelSmoothing: {smoothing: 0.3}}\n")
    assert loaded.study.methods == ("ce", LOSS_NAME)
    assert loaded.study.hyperparameters[LOSS_NAME].values["smoothing"] == 0.3


def test_one_path_cannot_be_two_files(folder: Path) -> None:
    other = folder.parent / "child" / "my_loss.py"
    other.parent.mkdir()
    other.write_text(LOSS + "#\n")
    with pytest.raises(CodeError) as fault:
        extend(folder, "methods: [ce, my_loss.py:LabelSmoothing]\n")
    assert str(fault.value).endswith(
        f"my_loss.py refers to two different files, {folder}/my_loss.py and {other}: "
        "rename one of them"
    )


def test_the_folder_of_a_linked_study_is_that_of_the_file(folder: Path, tmp_path: Path) -> None:
    (folder / "study.yaml").write_text(SMALL)
    link = tmp_path / "links" / "study.yaml"
    link.parent.mkdir()
    link.symlink_to(folder / "study.yaml")
    assert load_study(str(link), (), allowed).study.methods == ("ce", LOSS_NAME)


def test_a_reference_that_cannot_be_printed_is_refused(folder: Path) -> None:
    text = SMALL.replace("my_loss.py:L", '"m\\e[8m.py:L').replace("Smoothing]", 'Smoothing"]')
    assert message_of(folder, text) == (
        "study.yaml:6: a text contains the control character U+001B: remove it"
    )


def test_a_file_name_with_brackets_is_shown_whole(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (folder / "my[bold].py").write_text(LOSS)
    study = folder / "study.yaml"
    study.write_text(SMALL.replace("my_loss.py", '"my[bold].py').replace("hing]", 'hing"]'))
    show(StudyFlags(str(study), allow_code=True), as_yaml=False)
    assert "my[bold].py" in capsys.readouterr().out
