"""Errors of the user: one line and exit code 2, before anything is written."""

from __future__ import annotations

import json
import os
import shutil
import socket
from types import SimpleNamespace
from typing import TYPE_CHECKING

import pytest
import sqlalchemy
from command_line import call_command, run_command
from outside_code import LOSS
from plans import STUDY

from orchestrator.engine.base import engine_names
from orchestrator.home import Home
from orchestrator.planning import cost as costs
from trainables.cpus import usable_cpu_count
from trainables.training.cost import Cost

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

MEASURED = Cost(
    step_seconds=0.001,
    evaluation_seconds=1e-6,
    checkpoint_bytes=10**6,
    start_seconds=1.75,
    device="cpu",
)


@pytest.fixture
def fault(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., str]:
    """Return a function that runs a command in this process and returns its error message."""
    monkeypatch.chdir(tmp_path)

    def error_line(*words: object) -> str:
        process = call_command(*words, folder=tmp_path)
        assert process.returncode == 2, process.stderr
        assert process.stderr.startswith("error: ")
        assert process.stderr.count("\n") == 1
        assert process.stderr.endswith("\n")
        return process.stderr

    return error_line


def home_is_untouched(folder: Path) -> bool:
    return not (folder / "runs").exists()


FLAGS = {
    "unknown study": (("digitz",), ["unknown study 'digitz'", "did you mean 'digits'?"]),
    "no such file": (("nowhere/a.yaml",), ["nowhere/a.yaml"]),
    "unknown key": (("digits", "--set", "recipe.epoch=3"), ["recipe.epoch", "'epochs'"]),
    "no key": (("digits", "--set", "epochs"), ["--set", "KEY=VALUE"]),
    "broken YAML": (("digits", "--set", "methods=[ce"), ["--set methods"]),
    "out of range": (("digits", "--set", "recipe.momentum=1.5"), ["momentum", "[0, 1)", "1.5"]),
    "wrong type": (("digits", "--set", "search.trials=many"), ["search.trials", "many"]),
    "unknown method": (("digits", "--methods", "nal,cee"), ["--methods", "'ce'"]),
    "unknown scenario": (
        ("digits", "--scenario", "symetric-0.4"),
        ["--scenario: unknown scenario 'symetric-0.4': did you mean 'symmetric-RATE'? known: "],
    ),
    "noise above 1": (("digits", "--scenario", "symmetric-1.4"), ["--scenario", "1.4"]),
    "no trials": (("digits", "--trials", "0"), ["--trials", "1", "0"]),
    "no seeds": (("digits", "--seeds", "0"), ["--seeds", "at least 1", "0"]),
    "seeds below 0": (("digits", "--seeds", "-3"), ["--seeds", "at least 1", "-3"]),
    "a billion seeds": (
        ("digits", "--seeds", "1000000000"),
        ["--seeds: must be at most 10000, got 1000000000"],
    ),
    "a billion trials": (("digits", "--trials", "1000000000"), ["--trials", "10000"]),
    "a billion epochs": (
        ("digits", "--epochs", "1000000000"),
        ["--epochs: epochs must be at most 1000000, got 1000000000"],
    ),
    "an unknown key like no other": (
        ("digits", "--set", "gamma=1"),
        ["unknown key 'gamma': known"],
    ),
    "no epochs": (("digits", "--epochs", "0"), ["--epochs", "1", "0"]),
    "no samples": (("digits", "--subset", "0"), ["--subset", "1", "0"]),
    "more samples than there are": (("digits", "--subset", "99999"), ["--subset", "1437"]),
    "a network that cannot take the images": (
        ("digits", "--set", "backbone={name: resnet34}"),
        ["resnet34", "1×8×8", "another backbone"],
    ),
    "a first target epoch after the last": (
        ("digits", "--set", "hyperparameters.nal.first_target_epoch=61"),
        ["first_target_epoch is 61", "after the last epoch (60)"],
    ),
    "a seed used twice": (
        ("digits", "--set", "select.seeds=[0]"),
        ["seed 0", "search, select and confirm"],
    ),
    "a reference outside the range": (
        ("digits", "--set", "reference.nal.lambda=50"),
        ["50 is outside the searched range [0.05, 20]"],
    ),
    "a subset that is larger than the dataset": (
        ("digits", "--set", "subset=9999"),
        ["subset", "must be from 1 to 1437, the number of training samples"],
    ),
    "no sample left to train on": (
        ("digits", "--set", "search.hold_out=0.9999"),
        ["search.hold_out", "1437 are held out and 0 are left to train on"],
    ),
}


@pytest.mark.parametrize(("arguments", "parts"), FLAGS.values(), ids=FLAGS)
def test_an_invalid_flag_is_refused(
    arguments: tuple[str, ...], parts: list[str], fault: Callable[..., str], tmp_path: Path
) -> None:
    line = fault("sweep", *arguments)
    for part in parts:
        assert part in line
    assert home_is_untouched(tmp_path)


FILES = {
    "unknown key": ("recipe: {epochs", "recipe: {epoch: 3, epochs", ":5:", ["epoch", "'epochs'"]),
    "out of range": ("hold_out: 0.3", "hold_out: 1.3", ":13:", ["search.hold_out", "1.3"]),
    "no trials": ("trials: 4", "trials: 0", ":11:", ["search.trials", "0"]),
    "no seeds": ("seeds: [0, 1]", "seeds: []", ":19:", ["confirm.seeds"]),
    "broken YAML": ("methods: [ce, nal]", "methods: [ce, nal", ":7:", []),
    "given twice": ("methods: [ce, nal]", "methods: [ce]\nmethods: [ce]", ":7:", ["methods"]),
    "unknown method": ("methods: [ce, nal]", "methods: [ce, nl]", ":6:", ["'nl'"]),
    "unknown dataset": ("dataset: digits", "dataset: digit", ":2:", ["did you mean 'digits'"]),
}


@pytest.mark.parametrize(("old", "new", "line", "parts"), FILES.values(), ids=FILES)
def test_an_invalid_line_of_a_file_is_named(
    old: str, new: str, line: str, parts: list[str], fault: Callable[..., str], tmp_path: Path
) -> None:
    assert old in STUDY
    (tmp_path / "my.yaml").write_text(STUDY.replace(old, new, 1))
    text = fault("sweep", "my.yaml")
    for part in (f"my.yaml{line}", *parts):
        assert part in text
    assert home_is_untouched(tmp_path)


ENGINE_FAULTS = {
    "unknown engine": (
        ("--engine", "rai"),
        "error: --engine: unknown engine 'rai': did you mean 'ray'? known: "
        f"{', '.join(engine_names())}\n",
    ),
    "an address that is not used": (
        ("--engine", "inline", "--ray-address", "10.0.0.1:6379"),
        "error: --ray-address: --engine inline uses no Ray cluster: leave out one of the "
        "two flags\n",
    ),
}


@pytest.mark.parametrize(("arguments", "line"), ENGINE_FAULTS.values(), ids=ENGINE_FAULTS)
def test_an_invalid_engine_is_refused(
    arguments: tuple[str, ...], line: str, fault: Callable[..., str], tmp_path: Path
) -> None:
    for further in ((), ("--dry-run",)):
        assert fault("sweep", "digits", *arguments, *further) == line
    assert home_is_untouched(tmp_path)


def test_too_many_cpus_are_refused(fault: Callable[..., str], tmp_path: Path) -> None:
    line = fault("sweep", "digits", "--set", "resources.cpus=1000")
    assert f"one run requires 1000 CPUs, but this process may use {usable_cpu_count()}" in line
    assert home_is_untouched(tmp_path)


USAGE = {
    "unknown option": (("sweep", "digits", "--trails", "3"), ["--trails", "--trials"]),
    "no number": (("sweep", "digits", "--trials", "many"), ["--trials"]),
    "no study": (("sweep",), ["study"]),
    "unknown command": (("swep", "digits"), ["swep", "sweep"]),
    "a measure that is none": (
        ("report", "--spread", "foo"),
        ["--spread: unknown measure 'foo': known: ci95, sd, sd0, se"],
    ),
    "a seed below 0": (("train", "digits", "--seed", "-1"), ["--seed"]),
    "a port that is none": (("ui", "--port", "99999"), ["--port"]),
}


@pytest.mark.parametrize(("arguments", "parts"), USAGE.values(), ids=USAGE)
def test_an_unknown_command_or_option_is_refused(
    arguments: tuple[str, ...], parts: list[str], fault: Callable[..., str], tmp_path: Path
) -> None:
    line = fault(*arguments)
    for part in parts:
        assert part in line
    assert home_is_untouched(tmp_path)


def test_missing_data_is_refused(fault: Callable[..., str], tmp_path: Path) -> None:
    line = fault("sweep", "cifar10", "--dry-run", "--data-dir", "nowhere")
    assert "nowhere" in line
    assert "--data-dir" in line
    assert home_is_untouched(tmp_path)


def test_an_unwritable_home_is_refused(fault: Callable[..., str], tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    for words in (("status",), ("logs", "a"), ("sweep", "digits")):
        assert f"--home {tmp_path}/file: this is a file: name a folder" in fault(
            *words, "--home", "file"
        )
    assert "--home" in fault("sweep", "digits", "--home", "file/home")


def test_too_little_disk_space_is_refused(
    fault: Callable[..., str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(costs, "_measure_in_subprocess", lambda *_: MEASURED)
    monkeypatch.setattr(shutil, "disk_usage", lambda _path: SimpleNamespace(free=10**6))
    line = fault("sweep", "digits", "--epochs", "1", "--trials", "1", "--home", "full")
    assert "0.0 GB free" in line
    assert not (tmp_path / "full" / "runs").exists()
    assert not (tmp_path / "full" / "mlflow.db").exists()


def test_a_second_sweep_of_the_same_study_is_refused(tmp_path: Path) -> None:
    home = Home(tmp_path)
    with home.study_lock("digits"):  # of this process; file locks belong to open files
        process = call_command("sweep", "digits", "--home", tmp_path)
    assert process.returncode == 2
    assert process.stderr.startswith("error: a sweep of 'digits' is already running")
    assert f"process {os.getpid()} on " in process.stderr
    assert process.stderr.count("\n") == 1
    assert {path.name for path in tmp_path.iterdir()} == {"format", "lock", "sweeps"}


def test_a_report_without_runs_is_refused(fault: Callable[..., str], tmp_path: Path) -> None:
    for arguments in (("report",), ("report", "digits"), ("sync",)):
        assert "--home" in fault(*arguments)
    assert home_is_untouched(tmp_path)


def test_train_refuses_invalid_flags(fault: Callable[..., str], tmp_path: Path) -> None:
    for arguments, part in (
        (("--method", "nall"), "did you mean 'nal'"),
        (("--set", "lambda=-1"), "lambda must be a number above 0, got -1"),
        (("--set", "first_target_epoch=61"), "after the last epoch (60)"),
        (("--method", "ce", "--set", "lambda=1"), "lambda"),
    ):
        assert part in fault("train", "digits", *arguments, "--home", "h")
    assert not (tmp_path / "h" / "runs").exists()
    assert not (tmp_path / "h" / "mlflow.db").exists()


@pytest.mark.usefixtures("no_code_loaded")
def test_train_names_a_method_from_a_file_without_its_hash(
    fault: Callable[..., str], tmp_path: Path
) -> None:
    (tmp_path / "my_loss.py").write_text(LOSS)
    words = ("train", "digits", "--method", "my_loss.py:LabelSmoothing", "--home", "h")
    assert fault(*words).endswith("read the file, then add --allow-code\n")
    line = fault(*words, "--allow-code", "--set", "smothing=0.2")
    assert line.startswith(
        "error: --set smothing: neither a parameter of LabelSmoothing nor a key of a study: "
        "did you mean 'smoothing'?"
    )
    assert not (tmp_path / "h").exists()


@pytest.fixture
def silent() -> Iterator[str]:
    """Address of a port that accepts connections and never responds."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield f"127.0.0.1:{server.getsockname()[1]}"


@pytest.fixture
def closed() -> str:
    """Address of a port without a listener."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        return f"127.0.0.1:{server.getsockname()[1]}"


@pytest.mark.parametrize("kind", ["closed", pytest.param("silent", marks=pytest.mark.slow)])
@pytest.mark.parametrize("service", ["--ray-address", "--tracking-uri"])
def test_a_service_that_does_not_answer_is_named(
    service: str, kind: str, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    unavailable = request.getfixturevalue(kind)
    address = unavailable if service == "--ray-address" else f"http://{unavailable}"
    words = ("sweep", "digits", service, address, "--home", tmp_path / "h")
    process = call_command(*words, folder=tmp_path)
    assert process.returncode == 2, process.stderr
    last = process.stderr.splitlines()[-1]
    assert last.startswith("error: ")
    assert unavailable in last
    assert service in last
    assert not (tmp_path / "h" / "runs").exists()


@pytest.mark.slow
def test_a_process_prints_one_line(tmp_path: Path) -> None:
    process = run_command("sweep", "digitz", folder=tmp_path)
    assert process.returncode == 2
    assert process.stdout == ""
    assert process.stderr.startswith("error: ")
    assert process.stderr.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


def test_a_dry_run_writes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(costs, "_measure_in_subprocess", lambda *_: MEASURED)
    words = ("sweep", "digits", "--trials", 7, "--dry-run", "--json")
    process = call_command(*words, folder=tmp_path)
    assert process.returncode == 0, process.stderr
    search, select, confirm = json.loads(process.stdout)["phases"]
    assert (search["phase"], search["runs"], select["runs"], confirm["runs"]) == (
        "search",
        7,
        12,
        15,
    )
    assert "7 trials × 1 seed" in process.stderr
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("group", [(), ("launch",), ("data",), ("sweeps",)])
def test_a_group_alone_prints_its_help(group: tuple[str, ...]) -> None:
    alone = call_command(*group)
    assert (alone.returncode, alone.stderr) == (0, "")
    assert " ".join((*group, "[OPTIONS] COMMAND")) in alone.stdout.partition("\n")[0]
    assert alone.stdout == call_command(*group, "--help").stdout


@pytest.mark.parametrize("group", [(), ("data",)])
def test_the_list_of_commands_fits_a_terminal_of_80_columns(group: tuple[str, ...]) -> None:
    process = call_command(*group, "--help", columns=80)
    _, commands = process.stdout.split("Commands:\n")
    assert [line for line in commands.splitlines() if line.endswith("...")] == []


def test_an_interrupt_that_reaches_the_database_prints_no_traceback(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    call_command("studies")

    def interrupt(_connection: object) -> None:
        raise KeyboardInterrupt

    engine = sqlalchemy.create_engine("sqlite://")
    connection = engine.raw_connection()
    monkeypatch.setattr(engine.dialect, "do_rollback", interrupt)
    with pytest.raises(KeyboardInterrupt):
        connection.close()
    assert caplog.records == []
