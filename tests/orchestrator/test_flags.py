from __future__ import annotations

import shlex
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from orchestrator.cli import app
from orchestrator.commands import noise as noise_command
from orchestrator.commands import sweep as sweep_command
from orchestrator.flags import Locations, StudyFlags, command_line, flags_of
from orchestrator.home import DEFAULT_HOME
from search_spaces.resolve import matched_recipe, resolve
from trainables.errors import StudyError, UserError


def parsed_flags(monkeypatch: pytest.MonkeyPatch, command: str) -> tuple[StudyFlags, Locations]:
    """Return the flags that the command line passes to a command."""
    calls: list[tuple[StudyFlags, Locations]] = []

    def fake_run(study_flags: StudyFlags, locations: Locations, *_: Any, **__: Any) -> int:
        calls.append((study_flags, locations))
        return 0

    monkeypatch.setattr(sweep_command, "run", fake_run)
    monkeypatch.setattr(noise_command, "run", fake_run)
    monkeypatch.setattr(StudyFlags, "check_study_exists", lambda _: None)
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    program, *words = shlex.split(command)[2:]
    assert program == "orchestrator"
    result = CliRunner().invoke(app, words)
    assert result.exit_code == 0, result.output
    return calls[0]


ALL = (
    StudyFlags(
        study="my studies/one.yaml",
        trials=7,
        epochs=30,
        seeds=4,
        scenarios=("clean", "symmetric-0.4"),
        methods=("nal", "ce"),
        subset=500,
        from_sweep="cifar10",
        sets=("recipe.window=5", "search.space.nal.lambda={low: 0.1, high: 5, log: true}"),
    ),
    Locations(
        data_dir=Path("my data"),
        home_dir=Path("other home"),
        engine="inline",
        ray_address="10.0.0.1:6379",
        max_concurrent=3,
        tracking_uri="http://127.0.0.1:5000",
        sbatch=("partition=gpu", "comment=two words"),
    ),
)


@pytest.mark.parametrize("flags", [(StudyFlags("digits"), Locations()), ALL], ids=["none", "all"])
def test_a_command_line_restores_its_flags(
    flags: tuple[StudyFlags, Locations], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert parsed_flags(monkeypatch, command_line("sweep", *flags)) == flags


def test_flags_at_their_defaults_are_omitted() -> None:
    assert command_line("sweep", StudyFlags("digits", trials=8), Locations()) == (
        "python -m orchestrator sweep digits --trials 8"
    )
    assert command_line("ui", Locations()) == "python -m orchestrator ui"


def test_a_suggested_command_permits_nothing() -> None:
    assert command_line("sweep", StudyFlags("my.yaml", allow_code=True), Locations()) == (
        "python -m orchestrator sweep my.yaml"
    )
    permissions = [flag.name for flag in flags_of(StudyFlags) if flag.is_permission]
    assert permissions == ["allow_code"]


def test_every_flag_has_its_option() -> None:
    options = [flag.option for kind in (StudyFlags, Locations) for flag in flags_of(kind)]
    assert options == [
        *("", "--trials", "--epochs", "--seeds", "--scenario", "--methods", "--subset"),
        *(
            "--budget-hours",
            "--from",
            "--set",
            "--allow-code",
            "--data-dir",
            "--home",
            "--engine",
            "--ray-address",
            "--max-concurrent",
        ),
        *("--tracking-uri", "--search-storage", "--sbatch"),
    ]


def test_a_suggested_command_has_no_password() -> None:
    url = "postgresql://user:secret@host:5432/searches"
    text = command_line("sweep", StudyFlags("digits"), Locations(search_storage=url))
    assert text.endswith("--search-storage 'postgresql://user:***@host:5432/searches'")
    text = command_line("sweep", StudyFlags("digits"), Locations(tracking_uri=url))
    assert text.endswith("--tracking-uri 'postgresql://user:***@host:5432/searches'")


def test_a_space_within_a_file_name_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    study_flags, _ = parsed_flags(
        monkeypatch, "python -m orchestrator sweep digits --methods 'ce, my loss.py:Smooth'"
    )
    assert study_flags.methods == ("ce", "my loss.py:Smooth")


def test_spaces_between_methods_are_ignored(monkeypatch: pytest.MonkeyPatch) -> None:
    study_flags, _ = parsed_flags(
        monkeypatch, "python -m orchestrator sweep digits --methods 'nal, ce'"
    )
    assert study_flags.methods == ("nal", "ce")


@pytest.mark.parametrize("command", ["train", "noise"])
def test_a_flag_with_one_value_is_not_repeated(command: str) -> None:
    words = f"{command} digits --scenario clean --scenario symmetric-0.4"
    error = CliRunner().invoke(app, words.split()).exception
    assert isinstance(error, StudyError)
    assert str(error) == (
        "--scenario: this command takes one value, got clean and symmetric-0.4: leave one"
    )


def test_a_command_may_restrict_a_flag_to_one_value(monkeypatch: pytest.MonkeyPatch) -> None:
    study_flags, _ = parsed_flags(
        monkeypatch, "python -m orchestrator noise digits --scenario clean"
    )
    assert study_flags == StudyFlags("digits", scenarios=("clean",))
    study_flags, _ = parsed_flags(
        monkeypatch, "python -m orchestrator noise digits --set a=1 --set b=2"
    )
    assert study_flags == StudyFlags("digits", sets=("a=1", "b=2"))


def test_flags_change_the_study() -> None:
    study_flags = StudyFlags(
        study="digits",
        trials=5,
        seeds=2,
        scenarios=("clean",),
        methods=("nal",),
        subset=500,
        sets=("recipe.batch_size=32", "search.seeds=[77]"),
    )
    loaded = study_flags.load()
    study = loaded.study
    assert (study.search.trials, study.search.seeds) == (5, (77,))
    assert study.confirm.seeds == (0, 1)
    assert study.scenarios == ("clean",)
    assert study.search.scenario == "clean"
    assert study.methods == ("nal",)
    assert study.subset == 500
    assert matched_recipe(study).batch_size == 32
    assert loaded.sources["search.trials"] == "set by --trials"


def test_epochs_scale_settings_counted_in_epochs() -> None:
    study = StudyFlags(study="digits", epochs=30).load().study
    assert matched_recipe(study).epochs == 30
    assert matched_recipe(study).window == 5
    assert resolve(study, "nal", "symmetric-0.4").hyperparameters["first_target_epoch"] == 5


def test_a_value_set_by_a_flag_is_not_scaled() -> None:
    flags = StudyFlags(study="digits", epochs=30, sets=("recipe.window=8",))
    assert matched_recipe(flags.load().study).window == 8


@pytest.mark.parametrize("seeds", [0, -1])
def test_less_than_one_seed_is_refused(seeds: int) -> None:
    with pytest.raises(StudyError, match=f"--seeds: must be at least 1, got {seeds}"):
        StudyFlags(study="digits", seeds=seeds).load()


def test_paths_are_absolute(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    locations = Locations()
    assert locations.home_dir == locations.home.path == DEFAULT_HOME.resolve() == tmp_path / "runs"
    assert locations.dataset_dir == tmp_path / "runs" / "data"
    assert locations.store_uri == f"sqlite:///{tmp_path}/runs/mlflow.db"
    elsewhere = Locations(home_dir=Path("~/h"), data_dir=Path("d"), tracking_uri="http://x")
    assert elsewhere.home.path == tmp_path / "h"
    assert elsewhere.dataset_dir == tmp_path / "d"
    assert elsewhere.store_uri == "http://x"


@pytest.mark.parametrize(("seeds", "crossed"), [(1, 2), (3, 3), (9, 4)])
def test_the_number_of_seeds_limits_the_crossed_seeds(seeds: int, crossed: int) -> None:
    study = StudyFlags("digits-variance", seeds=seeds).load().study
    assert study.confirm.cross is not None
    assert len(study.confirm.cross.seeds) == crossed
    sets = ("confirm.cross.seeds=[0,1,2,3,4]",)
    study = StudyFlags("digits-variance", seeds=1, sets=sets).load().study
    assert study.confirm.cross is not None
    assert len(study.confirm.cross.seeds) == 5


def test_names_of_studies_are_checked_before_torch_is_imported() -> None:
    with pytest.raises(StudyError, match="unknown study 'nosuch'"):
        StudyFlags("nosuch").check_study_exists()


@pytest.mark.parametrize("login", ["me:my secret", "me:sec/ret", "me:sec@ret", "a@b:secret"])
def test_a_login_that_is_not_encoded_is_refused(login: str) -> None:
    uri, message = f"postgresql://{login}@host/db", "login of this address contains a special char"
    with pytest.raises(UserError, match=f"^--tracking-uri: the {message}") as of_store:
        Locations(tracking_uri=uri)
    with pytest.raises(UserError, match=f"^--search-storage: the {message}") as of_searches:
        Locations(search_storage=uri)
    assert "sec" not in f"{of_store.value} {of_searches.value}"


@pytest.mark.parametrize(
    "uri",
    [
        "sqlite:////my folder/a@b.db",
        "postgresql://me:s%40cret@host:5432/db",
        "postgresql://host:5432/db?user=a@b",
        "http://[::1]:5000",
        "http://127.0.0.1:5000/a@b",
    ],
)
def test_other_addresses_are_accepted(uri: str) -> None:
    assert Locations(tracking_uri=uri, search_storage=uri).tracking_uri == uri
