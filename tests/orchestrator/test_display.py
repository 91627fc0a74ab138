from __future__ import annotations

import io
import time
from typing import TYPE_CHECKING, Any

import pytest
from fake_runs import record_run
from plans import Driver, machine_cost, small_plan
from rich.console import Console

from orchestrator import display as display_module
from orchestrator.display import MAX_SHOWN_RUNS, Display
from orchestrator.watching import sweep_progress
from orchestrator.watching.sweep_progress import SweepProgress

if TYPE_CHECKING:
    from pathlib import Path

COST = machine_cost(0.01, 0.001)


class FakeClock:
    """A clock whose time a test sets."""

    def __init__(self) -> None:
        self.now = 1000.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> FakeClock:
    fake_clock = FakeClock()
    monkeypatch.setattr(sweep_progress, "time", fake_clock)
    return fake_clock


def rendered_text(display: Display) -> str:
    """Return the live table as text."""
    console = Console(file=io.StringIO(), width=display._console.width, record=True)
    console.print(display._render())
    return console.export_text()


def open_display(
    home: Path,
    *,
    terminal: bool = False,
    starts_workers: bool = True,
    width: int = 200,
    **flags: Any,
) -> tuple[Display, Driver]:
    driver = Driver(small_plan(**flags), home)
    console = Console(file=io.StringIO(), width=width, force_terminal=terminal)
    progress = SweepProgress(driver.sweep, COST, starts_workers=starts_workers)
    return Display(console, progress), driver


def printed_text(display: Display) -> str:
    file = display._console.file
    assert isinstance(file, io.StringIO)
    return file.getvalue()


def test_before_the_first_run(tmp_path: Path) -> None:
    display, _ = open_display(tmp_path)
    text = rendered_text(display)
    assert "search 0 of 4   select 0 of 6   confirm 0 of 6   starting workers for 0 s" in text
    assert "no trial has ended yet" in text


def test_an_engine_without_workers_starts_none(tmp_path: Path) -> None:
    display, driver = open_display(tmp_path, starts_workers=False)
    assert "confirm 0 of 6   0 running   about" in rendered_text(display)
    task = driver.sweep.next()
    assert task is not None
    display.on_start(task)
    display.on_report(task, {})
    assert "confirm 0 of 6   1 running   about" in rendered_text(display)


def test_without_a_search_no_trial_is_mentioned(tmp_path: Path) -> None:
    display, _ = open_display(tmp_path, sets=("tune=[]",))
    assert "trial" not in rendered_text(display)


@pytest.mark.parametrize("width", [80, 200])
def test_running_runs_are_shown(tmp_path: Path, width: int) -> None:
    display, driver = open_display(tmp_path, width=width)
    task = driver.sweep.next()
    assert task is not None
    display.on_start(task)
    assert "starting workers" in rendered_text(display)
    display.on_report(task, {})
    assert "epoch 0/6" in rendered_text(display)
    display.on_report(task, {"epoch": 3, "val/accuracy": 0.815})
    text = rendered_text(display)
    for part in ("search", "nal", "symmetric-0.4", "λ = 0.5, α = 0.9", "seed 1000"):
        assert part in text
    assert "epoch 3/6" in text
    assert "val 81.5 %" in text
    assert "1 running" in text
    driver.sweep.end(task, record_run(tmp_path, task.spec))
    display.on_end(task)
    text = rendered_text(display)
    assert "search 1 of 4" in text
    assert "0 running" in text
    assert "best so far: 8" in text
    assert "at λ = 0.5, α = 0.9" in text


def test_totals_become_exact(tmp_path: Path) -> None:
    best = ("reference.nal={lambda: 2.0, alpha: 0.8}",)
    display, driver = open_display(tmp_path, sets=best)
    assert "select 0 of 6   confirm 0 of 6" in rendered_text(display)
    driver.run()
    # The reference is among the best and wins, so there is one candidate and one cell less.
    assert "search 4 of 4   select 4 of 4   confirm 4 of 4" in rendered_text(display)
    assert "about 0 s left" in rendered_text(display)


def test_failed_runs_are_counted(tmp_path: Path) -> None:
    display, driver = open_display(tmp_path)
    task = driver.sweep.next()
    assert task is not None
    driver.sweep.end(task, None, "a bug")
    assert "1 failed" in rendered_text(display)


def test_many_runs_are_not_all_shown(tmp_path: Path) -> None:
    lag = f"search.lag={MAX_SHOWN_RUNS + 3}"
    display, driver = open_display(tmp_path, trials=MAX_SHOWN_RUNS + 3, sets=(lag,))
    while (task := driver.sweep.next()) is not None:
        display.on_start(task)
        display.on_report(task, {})
    text = rendered_text(display)
    assert text.count("epoch 0/6") == MAX_SHOWN_RUNS
    assert "and 3 more" in text


def test_reports_of_unknown_runs_are_ignored(tmp_path: Path) -> None:
    display, driver = open_display(tmp_path)
    task = driver.sweep.next()
    assert task is not None
    assert "starting workers" in rendered_text(display)
    display.on_report(task, {"epoch": 3})
    display.on_end(task)
    assert "0 running" in rendered_text(display)


def wait_for(display: Display, text: str) -> None:
    """Wait until a text has been printed."""
    deadline = time.monotonic() + 60
    while text not in printed_text(display):
        assert time.monotonic() < deadline, printed_text(display)
        time.sleep(0.01)


def test_without_a_terminal_status_lines_are_printed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, clock: FakeClock
) -> None:
    monkeypatch.setattr(display_module, "STATUS_LINE_SECONDS", 0.01)
    display, driver = open_display(tmp_path)
    with display:
        clock.now += 12.4
        wait_for(display, "starting workers for 12 s")
        task = driver.sweep.next()
        assert task is not None
        display.on_start(task)
        display.on_report(task, {})
        wait_for(display, "1 running")
    lines = printed_text(display).splitlines()
    assert all(line.startswith("search 0 of 4") for line in lines)
    assert "\x1b" not in printed_text(display)
    assert not display._status_lines.is_alive()


def test_a_notice_is_one_line(tmp_path: Path) -> None:
    display, _ = open_display(tmp_path)
    display.on_notice("memory is [short], " + "x" * 300)
    assert printed_text(display) == "memory is [short], " + "x" * 300 + "\n"


def test_on_a_terminal_the_table_is_live_and_transient(tmp_path: Path) -> None:
    display, driver = open_display(tmp_path, terminal=True)
    with display:
        task = driver.sweep.next()
        assert task is not None
        display.on_start(task)
        display._live.refresh()
    text = printed_text(display)
    assert "search 0 of 4" in text
    assert "\x1b[?25h" in text  # the cursor is back
