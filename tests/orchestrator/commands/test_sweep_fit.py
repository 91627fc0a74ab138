"""What `--fit` prints and refuses, with a cost that was not measured."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from plans import STUDY, machine_cost
from rich.console import Console

from orchestrator.commands import sweep_fit
from orchestrator.commands.sweep_fit import FitRequest, FittedSweep, fit_plan
from orchestrator.flags import Locations, StudyFlags
from orchestrator.planning.loading import load_plan
from trainables.errors import InterruptionError, UserError

if TYPE_CHECKING:
    from pathlib import Path

COST = machine_cost(0.5, 0.0, slots=1)


def fit(folder: Path, time: str, *sets: str) -> tuple[FittedSweep | None, str]:
    """Fit the small study into a time; return the smaller sweep and what was printed."""
    study = folder / "small.yaml"
    study.write_text(STUDY)
    flags = StudyFlags(study=str(study), seeds=8, trials=20, sets=sets)
    locations = Locations(home_dir=folder / "home", engine="inline")
    console = Console(width=400)
    with console.capture() as capture:
        loaded_plan = load_plan(flags, locations, console, may_write=False)
        fitted = fit_plan(
            FitRequest.parse(time),
            flags,
            locations,
            loaded_plan,
            lambda _plan: COST,
            console,
            may_write=False,
        )
    return fitted, capture.get()


def test_what_was_shrunk_is_printed_with_the_command(tmp_path: Path) -> None:
    fitted, text = fit(tmp_path, "1.5h")
    assert fitted is not None
    assert (fitted.flags.seeds, fitted.flags.trials) == (8, 14)
    assert fitted.loaded_plan.plan.study.search.trials == 14
    assert fitted.command.startswith(f"python -m orchestrator sweep {tmp_path}/small.yaml --trials")
    assert "--fit" not in fitted.command
    lines = text.splitlines()
    assert lines[0] == (
        "To fit into 1.5h, the sweep is shrunk (budget.shrink: trials, seeds, epochs, subset): "
        "trials 20 → 14. It then takes about 71 min instead of 80 min; with 192 training steps a "
        "run, it does not show which method is better. Its command:"
    )
    assert lines[1] == f"    {fitted.command}"


def test_a_sweep_that_fits_is_left_alone(tmp_path: Path) -> None:
    fitted, text = fit(tmp_path, "2d")
    assert fitted is None
    assert text.startswith("The sweep fits into 2d as it is: it takes about ")


def test_a_time_that_is_too_short_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError) as error_info:
        fit(tmp_path, "10s", "budget.shrink=[seeds]")
    text = str(error_info.value)
    assert text.startswith("--fit 10s: even the smallest sweep (budget.shrink: seeds) takes about ")
    assert text.endswith(
        "of which a fifth is for errors of the forecast, or choose fewer scenarios, methods or "
        "candidates"
    )
    assert "\n" not in text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(43.2, "44s"), (60.0, "1min"), (121.0, "3min"), (3600.0, "1h"), (3601.0, "1.1h")],
)
def test_a_sufficient_time_can_be_typed(seconds: float, text: str) -> None:
    assert sweep_fit._sufficient_time(seconds) == text
    assert FitRequest.parse(text).seconds >= seconds


def test_a_text_that_is_no_time_is_refused() -> None:
    with pytest.raises(UserError, match=r"^--fit: must be a time such as 90s, .* got 'an hour'$"):
        FitRequest.parse("an hour")


def test_an_interrupted_sweep_is_continued_by_its_own_command(tmp_path: Path) -> None:
    fitted, _ = fit(tmp_path, "1.5h")
    assert fitted is not None
    with pytest.raises(InterruptionError) as error_info, fitted.continued():
        raise KeyboardInterrupt("interrupted after 3 runs")
    assert str(error_info.value) == f"interrupted after 3 runs: to continue, type {fitted.command}"
