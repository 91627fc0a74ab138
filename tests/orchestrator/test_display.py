from __future__ import annotations

import io
from typing import TYPE_CHECKING, Any

import pytest
from fake_runs import record_run
from plans import Driver, machine_cost, small_plan
from rich.console import Console

from orchestrator import display as displays
from orchestrator.display import LINE_SECONDS, SHOWN_RUNS, Display
from orchestrator.planning.sizes import phase_sizes

if TYPE_CHECKING:
    from pathlib import Path

COST = machine_cost(0.01, 0.001)


class Clock:
    """A clock that a test sets."""

    def __init__(self) -> None:
        self.now = 1000.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    made = Clock()
    monkeypatch.setattr(displays, "time", made)
    return made


def shown(display: Display) -> str:
    """The live picture as text."""
    console = Console(file=io.StringIO(), width=200, record=True)
    console.print(display._render())
    return console.export_text()


def opened(home: Path, *, terminal: bool = False, **flags: Any) -> tuple[Display, Driver]:
    driver = Driver(small_plan(**flags), home)
    console = Console(file=io.StringIO(), width=200, force_terminal=terminal)
    return Display(console, driver.sweep, COST), driver


def printed(display: Display) -> str:
    file = display._console.file
    assert isinstance(file, io.StringIO)
    return file.getvalue()


def test_before_the_first_run(tmp_path: Path) -> None:
    display, _ = opened(tmp_path)
    text = shown(display)
    assert "search 0 of 4   select 0 of 6   confirm 0 of 6   0 running" in text
    assert "no trial has ended yet" in text


def test_runs_are_shown_as_they_go(tmp_path: Path) -> None:
    display, driver = opened(tmp_path)
    task = driver.sweep.next()
    assert task is not None
    display.on_start(task)
    assert "0 running" in shown(display)
    display.on_report(task, {})
    assert "epoch 0/6" in shown(display)
    display.on_report(task, {"epoch": 3, "val/accuracy": 0.815})
    text = shown(display)
    for words in ("search", "nal", "symmetric-0.4", "λ = 0.5, α = 0.9", "seed 1000"):
        assert words in text
    assert "epoch 3/6" in text
    assert "val 81.5 %" in text
    assert "1 running" in text
    driver.sweep.end(task, record_run(tmp_path, task.spec))
    display.on_end(task)
    text = shown(display)
    assert "search 1 of 4" in text
    assert "0 running" in text
    assert "best so far: 8" in text
    assert "at λ = 0.5, α = 0.9" in text


def test_totals_become_exact(tmp_path: Path) -> None:
    best = ("reference.nal={lambda: 2.0, alpha: 0.8}",)
    display, driver = opened(tmp_path, sets=best)
    assert "select 0 of 6   confirm 0 of 6" in shown(display)
    driver.run()
    # The reference is among the best, and wins: one candidate and one cell fewer.
    assert "search 4 of 4   select 4 of 4   confirm 4 of 4" in shown(display)
    assert "about 0 s left" in shown(display)


def test_failed_runs_are_counted(tmp_path: Path) -> None:
    display, driver = opened(tmp_path)
    task = driver.sweep.next()
    assert task is not None
    driver.sweep.end(task, None, "a bug")
    assert "1 failed" in shown(display)


def test_many_runs_are_not_all_shown(tmp_path: Path) -> None:
    display, driver = opened(tmp_path, trials=SHOWN_RUNS + 3)
    while (task := driver.sweep.next()) is not None:
        display.on_start(task)
        display.on_report(task, {})
    text = shown(display)
    assert text.count("epoch 0/6") == SHOWN_RUNS
    assert "and 3 more" in text


def test_reports_of_unknown_runs_are_ignored(tmp_path: Path) -> None:
    display, driver = opened(tmp_path)
    task = driver.sweep.next()
    assert task is not None
    display.on_report(task, {"epoch": 3})
    display.on_end(task)
    assert "0 running" in shown(display)


def test_the_time_left_starts_from_the_measured_cost(tmp_path: Path, clock: Clock) -> None:
    display, driver = opened(tmp_path)
    sizes = phase_sizes(driver.sweep.plan)
    whole = sum(size.runs * COST.mean_run_seconds(size.loads) for size in sizes)
    assert display.seconds_left() == pytest.approx(whole / COST.slots)
    clock.now += 0.5
    assert display.seconds_left() == pytest.approx(whole / COST.slots)


def test_the_time_left_learns_from_how_it_goes(tmp_path: Path, clock: Clock) -> None:
    display, driver = opened(tmp_path)
    expected = display.seconds_left()
    driver.run(max_runs=10)
    clock.now += 1000.0  # far slower than measured
    slow = display.seconds_left()
    assert slow > 10 * expected
    driver.run()
    assert display.seconds_left() == 0


def test_what_was_recorded_before_is_no_progress_of_this_start(
    tmp_path: Path, clock: Clock
) -> None:
    Driver(small_plan(), tmp_path).run(max_runs=8)
    display, driver = opened(tmp_path)
    assert driver.recorded_count == 8
    clock.now += 100.0
    assert 0 < display.seconds_left() < 10


def test_without_a_terminal_a_line_now_and_then(tmp_path: Path, clock: Clock) -> None:
    display, driver = opened(tmp_path)
    with display:
        task = driver.sweep.next()
        assert task is not None
        display.on_start(task)
        for epoch in range(1, 6):
            display.on_report(task, {"epoch": epoch})
        assert printed(display).count("\n") == 1
        clock.now += LINE_SECONDS
        display.on_report(task, {"epoch": 6})
    lines = printed(display).splitlines()
    assert len(lines) == 2
    assert all(line.startswith("search 0 of 4") for line in lines)
    assert "\x1b" not in printed(display)


def test_on_a_terminal_the_picture_is_live_and_goes_away(tmp_path: Path) -> None:
    display, driver = opened(tmp_path, terminal=True)
    with display:
        task = driver.sweep.next()
        assert task is not None
        display.on_start(task)
        display._live.refresh()
    text = printed(display)
    assert "search 0 of 4" in text
    assert "\x1b[?25h" in text  # the cursor is back
