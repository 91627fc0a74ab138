"""A real sweep of 40 runs whose command is killed 20 times, most of them at random moments."""

from __future__ import annotations

import json
import random
import signal
import time
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any

import optuna
import pytest
from command_line import (
    PATIENCE_SECONDS,
    RunningCommand,
    check_curves,
    results,
    run_command,
    runs_in_mlflow,
)
from forked_commands import CommandServer, command_server
from optuna.trial import TrialState

from trainables.databases import database_url

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = pytest.mark.slow

EPOCHS = 20
COMMAND = (
    *("sweep", "digits", "--epochs", EPOCHS, "--trials", 7, "--seeds", 9, "--yes"),
    *("--set", "select.candidates=2", "--set", "select.seeds=[2000,2001]"),
)
"""7 trials, then 2 candidates and the reference on 2 seeds, then 3 rows on 9 seeds: 40 runs.

If the reference is chosen, there are 9 runs less.
"""
TRIAL_COUNT, SELECT_COUNT, MIN_RUN_COUNT = 7, 6, 31

KILLS_WITHOUT_RAY = 17


def result_count(home: Path) -> int:
    return len(list((home / "runs").glob("*/result.json")))


def kill_without_ray(server: CommandServer, home: Path, draws: random.Random) -> None:
    """Start the sweep in one process, and kill it at a random moment.

    Either at any moment of its start; or after a run has ended, while it is written to the
    databases or the next one is trained.
    """
    moment = draws.choice(["start", "training", "training", "end of a run"])
    with server.command(*COMMAND, "--engine", "inline", "--home", home) as process:
        if moment == "start":
            time.sleep(draws.uniform(0, 3))
            return
        ended = result_count(home)
        server.wait_for(process, lambda: result_count(home) > ended)
        time.sleep(draws.uniform(0, 0.3 if moment == "training" else 0.05))


def kill_with_ray(home: Path, draws: random.Random, *, whole_group: bool) -> list[int]:
    """Start the sweep with Ray, and kill it after a run has ended, with its workers or without.

    Returns:
        The IDs of the processes that the sweep had started.
    """
    process = RunningCommand.start(*COMMAND, "--home", home)
    ended = result_count(home)
    process.wait_for(lambda: result_count(home) > ended)
    time.sleep(draws.uniform(0, 0.3))
    pids = [child.pid for child in process.children()]
    code, errors = process.end_by(signal.SIGKILL, whole_group=whole_group)
    assert code == -signal.SIGKILL, errors
    return pids


def finish(home: Path) -> dict[str, Any]:
    """Carry out the rest of the sweep and return its table."""
    words = (*COMMAND, "--engine", "inline", "--home", home, "--json")
    finished = run_command(*words, patience_seconds=3 * PATIENCE_SECONDS)
    assert finished.returncode == 0, finished.stderr
    table: dict[str, Any] = json.loads(finished.stdout)
    return table


def study_of(home: Path) -> optuna.Study:
    storage = database_url(home / "optuna.db")
    (name,) = optuna.get_all_study_names(storage)
    return optuna.load_study(study_name=name, storage=storage)


def leftovers(home: Path) -> Iterator[str]:
    """Yield files of incomplete writes in a home."""
    for path in home.rglob("*"):
        if path.name.startswith(".") or path.name.endswith((".partial", ".new", "-journal")):
            yield str(path.relative_to(home))
    yield from (path.name for path in home.rglob("checkpoint.next.pt"))


def test_a_sweep_survives_20_kills(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    home, temp_dir = tmp_path / "home", tmp_path / "temp"
    temp_dir.mkdir()
    monkeypatch.setenv("TMPDIR", str(temp_dir))
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", str(tmp_path / "inductor"))  # of PyTorch
    draws = random.Random(20)  # noqa: S311 - moments of kills
    kinds: list[bool | None] = [None] * KILLS_WITHOUT_RAY + [True, False, False]
    draws.shuffle(kinds)
    recorded: dict[str, Any] = {}
    counts: list[int] = []
    pids: list[int] = []
    with command_server(tmp_path) as server:
        for kind in kinds:
            if kind is None:
                kill_without_ray(server, home, draws)
            else:
                pids += kill_with_ray(home, draws, whole_group=kind)
            now = results(home)
            assert {digest: now[digest] for digest in recorded} == recorded
            recorded = now
            counts.append(len(now))
    assert any(count <= TRIAL_COUNT for count in counts)  # a kill in each phase
    assert any(TRIAL_COUNT < count <= TRIAL_COUNT + SELECT_COUNT for count in counts)
    assert any(count > TRIAL_COUNT + SELECT_COUNT for count in counts)

    finished = finish(home)
    ended = results(home)
    assert len(ended) >= MIN_RUN_COUNT
    assert {digest: ended[digest] for digest in recorded} == recorded
    for result in ended.values():
        assert [row["epoch"] for row in result["trace"]] == list(range(1, EPOCHS + 1))

    # An epoch is repeated only if it is the last one that a killed process has trained.
    last_epochs: Counter[str] = Counter()
    last_pid = 0
    for pid, digest, epoch in server.trained_epochs():
        allowed = last_epochs[digest] + (pid == last_pid)
        assert epoch >= allowed, (digest, epoch)
        last_epochs[digest], last_pid = epoch, pid
        pids.append(pid)

    states = Counter(trial.state for trial in study_of(home).trials)
    assert states == {TrialState.COMPLETE: TRIAL_COUNT}
    check_curves(f"sqlite:///{home}/mlflow.db", home)
    (sweep,) = runs_in_mlflow(f"sqlite:///{home}/mlflow.db", "sweep")
    assert sweep.info.status == "FINISHED"
    assert not list(leftovers(home))
    assert not list(temp_dir.iterdir())
    temp_folders = Path("/tmp").glob("nal-*-*")  # noqa: S108 - where Ray's folders are
    assert not {int(folder.name.split("-")[1]) for folder in temp_folders} & set(pids)

    undisturbed = finish(tmp_path / "undisturbed")
    expected = results(tmp_path / "undisturbed")
    assert {digest: run["trace"] for digest, run in ended.items()} == {
        digest: run["trace"] for digest, run in expected.items()
    }
    for table in (finished, undisturbed):
        del table["notes"]  # name the commit, which may change meanwhile
    assert finished == undisturbed
