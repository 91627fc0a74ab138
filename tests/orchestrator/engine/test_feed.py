"""The feed by itself: who gets a slot, and that no slot is kept from a run for ever."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fake_runs import record_run
from plans import searches_of, small_plan
from works import Ears

from orchestrator.engine import feed as feeds
from orchestrator.engine.dispatch import Dispatch
from orchestrator.engine.feed import Feed
from orchestrator.sweeping.sweep import Sweep

if TYPE_CHECKING:
    from pathlib import Path

    import pytest


IDLE = {"idle": True}


def opened(home: Path, slots: int = 2) -> tuple[Feed, Sweep]:
    sweep = Sweep(small_plan(), home, searches_of(home))
    sweep.resume(lambda _task, _result: None)
    return Feed(Dispatch(sweep, home, Ears()), slots), sweep


def test_every_slot_is_warmed_before_the_first_run(tmp_path: Path) -> None:
    feed, _ = opened(tmp_path)
    assert feed.suggest("w1") == feed.suggest("w2") == IDLE
    assert not feed.stops("w1")
    first = feed.suggest("t1")
    assert first is not None
    assert "spec" in first
    # One slot is given up for the run that was handed out, the other is kept warm for the next.
    assert feed.stops("w1")
    assert not feed.stops("w2")
    feed.suggest("t2")
    assert feed.stops("w2")


def test_a_run_that_lost_its_worker_keeps_its_claim_to_a_slot(tmp_path: Path) -> None:
    feed, sweep = opened(tmp_path)
    feed.suggest("w1")
    feed.suggest("w2")
    wanted = sweep.tunings[0].search.wanted
    # The first task is on hand since the sweep was resumed.
    for number in range(wanted + 1):
        feed.suggest(f"t{number}")
    feed.complete("w1", None, lost=False)
    feed.complete("w2", None, lost=False)
    assert feed.suggest("more") is None


def test_idle_trials_fill_free_slots_while_the_sweep_waits(tmp_path: Path) -> None:
    feed, _sweep = opened(tmp_path, slots=8)
    for number in range(8):
        feed.suggest(f"w{number}")
    handed = 0
    while (config := feed.suggest(f"t{handed}")) is not None and "spec" in config:
        handed += 1
    assert handed == 4  # trials of the small study
    assert config is None
    assert sum(not feed.stops(f"w{number}") for number in range(8)) == 8 - handed


def test_no_idle_trial_stays_for_ever(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    now = 1000.0
    monkeypatch.setattr(feeds.time, "monotonic", lambda: now)
    feed, _ = opened(tmp_path)
    feed.suggest("w1")
    assert not feed.stops("w1")
    now += feeds.IDLE_LIMIT_SECONDS + 1
    assert feed.stops("w1")


def test_a_fault_stops_everything(tmp_path: Path) -> None:
    feed, sweep = opened(tmp_path)
    feed.suggest("w1")
    feed.suggest("w2")
    feed.suggest("t1")
    feed.suggest("t2")
    assert not feed.stops("t2")
    feed.complete("t1", {"error": "the disk is full"}, lost=False)
    assert feed.over
    assert str(feed.fault) == "the disk is full"
    assert feed.stops("t2")
    assert feed.suggest("t3") is None
    feed.complete("t2", {"rows": "[]", "done": False, "stopped": False}, lost=False)
    assert sweep.failed == []


def test_the_end_of_the_sweep_is_the_end_of_the_feed(tmp_path: Path) -> None:
    feed, sweep = opened(tmp_path)
    number = 0
    while not feed.over:
        name = f"t{number}"
        config = feed.suggest(name)
        task = feed._live.get(name)
        if task is not None:
            record_run(tmp_path, task.spec)
            feed.complete(name, {"done": True}, lost=False)
        elif config == IDLE:
            feed.complete(name, None, lost=False)
        number += 1
        assert number < 200
    assert sweep.done
    assert feed.stops("w1")
