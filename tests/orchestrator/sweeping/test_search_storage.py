"""The database of searches: its creation, locks, outages and lost answers."""

from __future__ import annotations

import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from typing import TYPE_CHECKING, Any

import optuna
import pytest
from command_line import call_command
from optuna.exceptions import StorageInternalError
from plans import Driver, complete_trials, searches_of, small_plan
from postgres import stoppable_postgres_server
from sqlalchemy.exc import OperationalError

from orchestrator.home import Home
from orchestrator.sweeping import search_storage
from orchestrator.sweeping.recorded import find_recorded_runs
from orchestrator.sweeping.search_storage import (
    Patience,
    check_search_storage,
    locked_searches,
    open_search_storage,
)
from orchestrator.sweeping.tuning import search_digests
from trainables.databases import database_url
from trainables.errors import HomeError, ServiceError, UserError

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from orchestrator.sweeping.sweep import Sweep

KILLED_WHILE_CREATING = """
import os, signal, sys
from pathlib import Path
from orchestrator.sweeping.search_storage import open_search_storage
from trainables.databases import database_url

Path.replace = lambda *_: os.kill(os.getpid(), signal.SIGKILL)
open_search_storage(database_url(Path(sys.argv[1])))
"""


def test_a_database_of_searches_is_created_whole_or_not_at_all(tmp_path: Path) -> None:
    folder = tmp_path / "a %41?b{0}"
    folder.mkdir()
    path = folder / "optuna.db"
    process = subprocess.run([sys.executable, "-c", KILLED_WHILE_CREATING, path], check=False)
    assert process.returncode == -signal.SIGKILL
    assert not path.exists()
    storage = open_search_storage(database_url(path))
    assert storage.get_all_studies() == []
    storage.engine.dispose()
    assert path.exists()
    assert sorted(tmp_path.iterdir()) == [folder]
    assert not list(folder.glob(".*.partial*"))


def proposals(sweep: Sweep) -> list[Any]:
    return sweep.tunings[0].search.completed_trials


def states(sweep: Sweep) -> Counter[str]:
    trials = sweep.tunings[0].search.study.get_trials(deepcopy=False)
    return Counter(trial.state.name for trial in trials)


@pytest.mark.parametrize("is_carried_out", [True, False])
def test_no_trial_is_doubled_by_an_operation_that_is_repeated(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, is_carried_out: bool
) -> None:
    homes = [tmp_path / name for name in ("undisturbed", "disturbed")]
    for home in homes:
        home.mkdir()
    undisturbed = Driver(small_plan(trials=4), homes[0]).run(concurrency=2).sweep
    monkeypatch.setattr(search_storage, "RETRY_SECONDS", 0.0)
    failures: Counter[str] = Counter()

    def fail_every_second_time(name: str) -> None:
        method: Callable[..., Any] = getattr(optuna.storages.RDBStorage, name)

        def failing_method(*arguments: Any, **options: Any) -> Any:
            failures[name] += 1
            if failures[name] % 2 == 0:
                return method(*arguments, **options)
            if is_carried_out:
                method(*arguments, **options)
            error = StorageInternalError("failed")
            error.__cause__ = OperationalError("", {}, Exception("the server is gone"))
            raise error

        monkeypatch.setattr(optuna.storages.RDBStorage, name, failing_method)

    for name in (
        *("create_new_study", "create_new_trial", "set_trial_state_values"),
        *("set_trial_user_attr", "set_study_user_attr", "get_all_trials"),
    ):
        fail_every_second_time(name)
    patience = Patience("sqlite:///searches")
    driver = Driver(small_plan(trials=4), homes[1], patience=patience).run(concurrency=2)
    assert all(count > 1 for count in failures.values())
    assert states(driver.sweep) == states(undisturbed) == {"COMPLETE": 4}
    assert driver.sweep.done
    assert proposals(driver.sweep) == proposals(undisturbed)


LOCK_FOR_SECONDS = """
import sqlite3, sys, time
database = sqlite3.connect(sys.argv[1], isolation_level=None)
database.execute("BEGIN EXCLUSIVE")
print("locked", flush=True)
time.sleep(float(sys.argv[2]))
"""


def test_a_search_waits_for_a_process_that_locks_its_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(search_storage, "LOCK_SECONDS", 0.1)
    monkeypatch.setattr(search_storage, "RETRY_SECONDS", 0.05)
    path, notices = tmp_path / "optuna.db", list[str]()
    searches_of(tmp_path).engine.dispose()
    url = database_url(path)
    plan, patience = small_plan(trials=4), Patience(url, on_notice=notices.append)
    driver = Driver(plan, tmp_path, open_search_storage(url), patience)
    driver.run(max_runs=2)
    with subprocess.Popen(
        [sys.executable, "-c", LOCK_FOR_SECONDS, path, "1"], stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "locked\n"
        with pytest.raises(HomeError, match=r"optuna.db: database is locked: wait until the"):
            find_recorded_runs(plan, Home(tmp_path))
        start = time.monotonic()
        driver.run(max_runs=3)
        assert time.monotonic() - start > 0.1
    driver.run()
    assert driver.sweep.done
    assert states(driver.sweep) == {"COMPLETE": 4}
    waits, returns = notices
    assert waits == (
        f"the database of searches, {url}, cannot be used (database is locked): the sweep waits "
        "for it"
    )
    assert "can be used again after" in returns
    assert returns.endswith(" s: the sweep continues")


def test_patience_ends_with_a_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(search_storage, "RETRY_SECONDS", 0.0)

    def fail() -> None:
        raise OperationalError("", {}, Exception("the server is gone"))

    patience = Patience("postgresql://user:secret@host/searches", max_seconds=0.01)
    with pytest.raises(ServiceError) as raised:
        patience.repeat(fail)
    assert str(raised.value).startswith(
        "search storage postgresql://user:***@host/searches: the server is gone: start the server"
    )


def test_a_search_is_carried_out_by_one_sweep_at_a_time(tmp_path: Path) -> None:
    url = database_url(tmp_path / "optuna.db")
    with locked_searches(url, ["a" * 64, "b" * 64, "a" * 64]):
        with (
            pytest.raises(HomeError, match=r"^another sweep \(process \d+ on .*\) is carrying out"),
            locked_searches(url, ["b" * 64]),
        ):
            pass
        with locked_searches(url, ["c" * 64]):
            pass
    with locked_searches(url, ["b" * 64]):
        pass


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("nonsense secret", "not the URL of a database: write postgresql"),
        ("mysql://user:secret@host/searches", "searches cannot be stored in 'mysql': write"),
        ("postgresql://host/searches?password=secret", "a password among the parameters"),
        ("sqlite://", "the URL names no file"),
        ("sqlite:////none/such/optuna.db", "folder /none/such does not exist"),
        (
            "postgresql://user:secret@127.0.0.1:9/searches",
            r":\*\*\*@127.0.0.1:9/searches: conn",
        ),
    ],
)
def test_a_storage_that_cannot_be_used_is_one_line(url: str, message: str) -> None:
    with pytest.raises((UserError, ServiceError), match=message) as raised:
        check_search_storage(url)
    assert "secret" not in str(raised.value)
    assert "\n" not in str(raised.value)


def test_a_database_with_an_mlflow_store_is_refused(tmp_path: Path) -> None:
    url = database_url(tmp_path / "store.db")
    storage = open_search_storage(url)
    with storage.engine.begin() as connection:
        connection.exec_driver_sql("CREATE TABLE experiments (x)")
    storage.engine.dispose()
    with pytest.raises(ServiceError, match="contains an MLflow store"):
        check_search_storage(url)


@pytest.mark.slow
def test_a_search_in_postgresql_survives_a_restart_of_the_server(tmp_path: Path) -> None:
    plan = small_plan(trials=6)
    homes = [tmp_path / name for name in ("sqlite", "postgresql", "second")]
    for path in homes:
        Home(path).create()
    in_sqlite = Driver(plan, homes[0]).run().sweep
    with stoppable_postgres_server() as (server, url):
        check_search_storage(url)
        notices: list[str] = []
        with locked_searches(url, search_digests(plan)) as lock:
            patience = Patience(url, on_notice=notices.append, prepare=lock.ensure)
            driver = Driver(plan, homes[1], open_search_storage(url), patience).run(max_runs=3)
            server.stop()
            with pytest.raises(ServiceError, match="start the server or name another"):
                find_recorded_runs(plan, Home(homes[1]), search_url=url)
            threading.Timer(3.0, server.start).start()
            driver.run()
            assert driver.sweep.done
            assert states(driver.sweep) == {"COMPLETE": 6}
            assert proposals(driver.sweep) == proposals(in_sqlite)
            assert len(notices) == 2
            with pytest.raises(HomeError, match="another sweep is carrying out search"):
                lock_elsewhere(url, search_digests(plan))
            server.stop()  # between two operations, neither of which fails
            server.start()
            patience.repeat(lambda: None)
            with pytest.raises(HomeError, match="another sweep is carrying out search"):
                lock_elsewhere(url, search_digests(plan))
        recorded = find_recorded_runs(plan, Home(homes[1]), search_url=url)
        assert recorded.is_complete
        # The search is continued in another home, where its runs are trained again.
        second = Driver(plan, homes[2], open_search_storage(url), patience).run()
        assert complete_trials(second.sweep) == [6]
        assert proposals(second.sweep) == proposals(in_sqlite)
        assert {spec.digest for spec in second.specs} == {spec.digest for spec in driver.specs}


def lock_elsewhere(url: str, digests: list[str]) -> None:
    with locked_searches(url, digests):
        pass


def test_a_password_is_printed_by_no_command(tmp_path: Path) -> None:
    url = "postgresql://user:secret@127.0.0.1:9/searches"
    words = ("sweep", "digits", "--home", tmp_path, "--engine", "inline", "--search-storage", url)
    refused = call_command(*words)
    assert refused.returncode == 2
    assert refused.stderr.startswith("error: search storage postgresql://user:***@127.0.0.1:9/sea")
    assert len(refused.stderr.splitlines()) == 1
    assert "secret" not in refused.stderr + refused.stdout
    assert not list(tmp_path.glob("runs/*"))
