from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from fake_runs import misbehave, open_fake
from plans import Driver, small_plan
from task_sources import RecordingListener

from orchestrator.engine.inline_engine import InlineEngine
from orchestrator.sweeping.crashes import CrashDetector
from trainables.errors import NalError
from trainables.training.job import Job

if TYPE_CHECKING:
    from pathlib import Path

TRACEBACK = "Traceback (most recent call last):\n  ..."
FIRST = f"ValueError: sample 17 of 1,000 has label 12 (train.py:40)\n{TRACEBACK}"
ALIKE = f"ValueError: sample 3 of 2,000 has label 11 (train.py:40)\n{TRACEBACK}"
ELSEWHERE = f"ValueError: sample 3 of 2,000 has label 11 (train.py:41)\n{TRACEBACK}"
OTHER = f"KeyError: sample 17 of 1,000 has label 12 (train.py:40)\n{TRACEBACK}"


def test_the_same_crash_in_the_first_three_runs_is_an_error(tmp_path: Path) -> None:
    detector = CrashDetector()
    detector.add(FIRST, tmp_path / "1")
    detector.add(ALIKE, tmp_path / "2")
    with pytest.raises(NalError) as raised:
        detector.add(FIRST, tmp_path / "3")
    line, *rest = str(raised.value).splitlines()
    assert line == (
        "the first 3 runs have crashed in the same way, so the sweep was stopped: ValueError: "
        "sample 17 of 1,000 has label 12 (train.py:40): remove the cause and type the same command "
        f"again; the log of the last of these runs is {tmp_path}/3"
    )
    assert rest == TRACEBACK.splitlines()


@pytest.mark.parametrize(
    "reasons",
    [
        (FIRST, ALIKE, "", FIRST, FIRST, FIRST),  # one was carried out
        (FIRST, ALIKE, ELSEWHERE, FIRST),
        (FIRST, OTHER, FIRST),
        ("the worker died",) * 4,
        ("out of memory in epoch 1",) * 4,
    ],
)
def test_other_ends_do_not_stop_a_sweep(tmp_path: Path, reasons: tuple[str, ...]) -> None:
    detector = CrashDetector()
    for reason in reasons:
        detector.add(reason, tmp_path)


def test_a_sweep_of_a_broken_study_stops_and_is_tried_again(tmp_path: Path) -> None:
    misbehave(tmp_path, crash_above=0.0)
    sweep = Driver(small_plan(methods=("nal",)), tmp_path).sweep
    job = Job(tmp_path, tmp_path, "small")
    with pytest.raises(NalError, match=r"ZeroDivisionError: a bug \(") as raised:
        InlineEngine(open_fake).carry_out(sweep, job, RecordingListener())
    assert 'raise ZeroDivisionError("a bug")' in str(raised.value).splitlines()[-2]
    assert len(list(tmp_path.glob("runs/*/spec.json"))) == 3
    misbehave(tmp_path)
    again = Driver(small_plan(methods=("nal",)), tmp_path).run().sweep
    assert again.done
    assert again.failures == []
