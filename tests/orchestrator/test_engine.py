"""Behaviour of every engine with fake runs, with runs that fail, and with real runs."""

from __future__ import annotations

import os
import signal
import sys
from contextlib import suppress
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
from factories import make_spec
from fake_runs import FakeRun, attempts, misbehave, open_fake, record_run
from plans import complete_trials, searches_of, small_plan, sweep_digests
from slurm import jobs_in_process
from small_runs import complete_run, digits, recipe, runnable
from task_sources import EPOCHS, SPECS, RecordingListener, ScriptedTaskSource, answer_at

import orchestrator.engine as package
from orchestrator.engine.base import engine_names, engine_of
from orchestrator.engine.inline_engine import InlineEngine
from orchestrator.engine.ray_engine import RayEngine
from orchestrator.engine.slurm_engine import SlurmEngine
from orchestrator.flags import Locations
from orchestrator.sweeping.sweep import Sweep
from orchestrator.sweeping.tasks import Answer, RunList, Task
from trainables.errors import DataError, NalError, RecordError
from trainables.run.parameters import FrozenMap
from trainables.run.recipe import Recipe
from trainables.run.record import Record
from trainables.training.job import Job, open_run

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from orchestrator.engine.base import Engine
    from trainables.run.result import RunResult
    from trainables.training.job import Opener

ALL_EPOCHS = list(range(1, EPOCHS + 1))


@pytest.fixture(scope="module")
def ray_engine() -> Iterator[Callable[..., Engine]]:
    """Return a function that returns the started engine with an opener."""
    # Workers inherit the driver's environment, but not its module search path.
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", os.pathsep.join(sys.path))
        engine = RayEngine()

        def with_opener(opener: Opener) -> Engine:
            engine.opener = opener
            return engine

        with engine.start(RecordingListener()):
            yield with_opener


@pytest.fixture
def slurm_engine() -> Iterator[Callable[..., Engine]]:
    """Return a function that returns the engine for Slurm, whose jobs this process carries out."""
    with jobs_in_process():
        yield SlurmEngine


@pytest.fixture(params=["inline", "slurm", pytest.param("ray", marks=pytest.mark.slow)])
def engine(request: pytest.FixtureRequest) -> Callable[..., Engine]:
    """Function that returns each engine in turn, after its start, with an opener."""
    if request.param == "inline":
        return InlineEngine
    function: Callable[..., Engine] = request.getfixturevalue(f"{request.param}_engine")
    return function


def carry_out(
    engine: Callable[..., Engine],
    home: Path,
    task_source: Any,
    listener: RecordingListener | None = None,
) -> Any:
    """Carry out the runs of a task source with fake training, and return the task source."""
    engine(opener=open_fake).carry_out(
        task_source, Job(home, home, "fake"), listener or RecordingListener()
    )
    return task_source


def sweep_of(
    engine: Callable[..., Engine],
    home: Path,
    listener: RecordingListener | None = None,
    **flags: Any,
) -> Sweep:
    """Carry out the small study with fake runs and return its sweep."""
    sweep = Sweep(small_plan(**flags), home, searches_of(home))
    sweep.resume(lambda _task, _result: None)
    carry_out(engine, home, sweep, listener)
    return sweep


def test_an_engine_does_not_change_a_search(engine: Callable[..., Engine], tmp_path: Path) -> None:
    homes = [tmp_path / "inline", tmp_path / "engine"]
    for home in homes:
        home.mkdir()
    expected = sweep_of(InlineEngine, homes[0], trials=16)
    misbehave(homes[1], slow_above=1.0)  # so that runs end in another order
    sweep = sweep_of(engine, homes[1], trials=16)
    assert sweep.tunings[0].search.trials == expected.tunings[0].search.trials
    assert sweep.tunings[0].chosen_values == expected.tunings[0].chosen_values
    assert set(attempts(homes[1])) == set(attempts(homes[0]))


def test_a_sweep_trains_each_run_once(engine: Callable[..., Engine], tmp_path: Path) -> None:
    listener = RecordingListener()
    sweep = sweep_of(engine, tmp_path, listener)
    assert sweep.done
    assert set(attempts(tmp_path)) == sweep_digests(sweep)
    assert set(attempts(tmp_path).values()) == {1}
    assert complete_trials(sweep) == [4]
    assert sorted(listener.starts) == sorted(listener.ends) == sorted(attempts(tmp_path))


def test_rows_are_reported_once_and_in_order_before_the_end(
    engine: Callable[..., Engine], tmp_path: Path
) -> None:
    task_source = carry_out(engine, tmp_path, ScriptedTaskSource())
    assert [task_source.epochs(seed) for seed in range(3)] == [ALL_EPOCHS] * 3
    assert sorted(task_source.ends) == [
        (seed, "finished", task_source.ends[0][2]) for seed in range(3)
    ]


def test_rows_of_a_checkpoint_are_reported_first(
    engine: Callable[..., Engine], tmp_path: Path
) -> None:
    stop = ScriptedTaskSource(SPECS[:1], (2,), answer_at(2, Answer.STOP))
    assert carry_out(InlineEngine, tmp_path, stop).epochs(0) == [1, 2]
    again = carry_out(engine, tmp_path, ScriptedTaskSource(SPECS[:1]))
    assert again.rows[0][0][:2] == [1, 2]
    assert again.epochs(0) == ALL_EPOCHS
    assert set(attempts(tmp_path).values()) == {2}


def test_a_run_stops_at_the_epoch_that_the_work_chooses(
    engine: Callable[..., Engine], tmp_path: Path
) -> None:
    def answer(_work: ScriptedTaskSource, seed: int, epoch: int) -> Answer:
        return Answer.STOP if (seed, epoch) in {(0, 2), (1, 4)} else Answer.CONTINUE

    listener = RecordingListener()
    task_source = carry_out(
        engine, tmp_path, ScriptedTaskSource(stops_after=(2, 4), answer=answer), listener
    )
    assert [task_source.epochs(seed) for seed in range(3)] == [[1, 2], [1, 2, 3, 4], ALL_EPOCHS]
    assert sorted(end[:2] for end in task_source.ends) == [
        (0, "stopped"),
        (1, "stopped"),
        (2, "finished"),
    ]
    assert [len(task_source.results[seed].trace) for seed in range(3)] == [2, 4, 6]
    last_epochs = {group[-1] for group in task_source.rows[2]}
    assert {2, 4, 6} <= last_epochs
    assert sorted(listener.starts) == sorted(listener.ends) == sorted(spec.digest for spec in SPECS)


def test_the_last_epoch_ends_a_run_whatever_the_answer(
    engine: Callable[..., Engine], tmp_path: Path
) -> None:
    task_source = carry_out(
        engine, tmp_path, ScriptedTaskSource(SPECS[:1], (EPOCHS,), answer_at(EPOCHS, Answer.WAIT))
    )
    assert [end[:2] for end in task_source.ends] == [(0, "finished")]


def test_a_stop_at_another_epoch_is_an_error(tmp_path: Path) -> None:
    message = r"STOP after epoch 1, but a run may stop only after the epochs \(2,\)"
    with pytest.raises(ValueError, match=message):
        carry_out(
            InlineEngine,
            tmp_path,
            ScriptedTaskSource(stops_after=(2,), answer=answer_at(1, Answer.STOP)),
        )


def test_a_parked_run_waits_for_the_other_runs(
    engine: Callable[..., Engine], tmp_path: Path
) -> None:
    def answer(task_source: ScriptedTaskSource, seed: int, epoch: int) -> Answer:
        """Let every run wait for all others after epoch 2, then stop seed 1 alone."""
        if epoch > 2 or any(2 not in task_source.epochs(other) for other in range(3)):
            return Answer.WAIT if epoch == 2 else Answer.CONTINUE
        return Answer.STOP if seed == 1 else Answer.CONTINUE

    listener = RecordingListener()
    task_source = carry_out(
        engine, tmp_path, ScriptedTaskSource(stops_after=(2,), answer=answer), listener
    )
    assert [task_source.epochs(seed) for seed in range(3)] == [ALL_EPOCHS, [1, 2], ALL_EPOCHS]
    assert sorted(end[:2] for end in task_source.ends) == [
        (0, "finished"),
        (1, "stopped"),
        (2, "finished"),
    ]
    assert task_source.rechecks
    assert sorted(listener.starts) == sorted(listener.ends)


def test_a_checkpoint_beyond_a_stop_epoch_stops_at_once(
    engine: Callable[..., Engine], tmp_path: Path
) -> None:
    stop = ScriptedTaskSource(SPECS[:1], (4,), answer_at(4, Answer.STOP))
    carry_out(InlineEngine, tmp_path, stop)
    waits = iter([Answer.WAIT, Answer.CONTINUE, Answer.CONTINUE])
    task_source = ScriptedTaskSource(
        SPECS[:1],
        (2,),
        lambda _work, _seed, epoch: next(waits) if epoch == 2 else Answer.CONTINUE,
    )
    carry_out(engine, tmp_path, task_source)
    assert task_source.rows[0][0] == [1, 2]
    assert task_source.epochs(0) == ALL_EPOCHS
    assert task_source.rechecks == [0]


@pytest.mark.parametrize("stops_after", [(), (2,)])
def test_a_work_without_progress_is_an_error(
    engine: Callable[..., Engine], tmp_path: Path, stops_after: tuple[int, ...]
) -> None:
    task_source = ScriptedTaskSource(
        SPECS, stops_after, answer_at(2, Answer.WAIT) if stops_after else answer_at(0, Answer.WAIT)
    )
    if not stops_after:
        task_source.open_runs += 1
    waiting = len(SPECS) if stops_after else 0
    message = f"no run can proceed: no run .* {waiting} wait for other runs"
    with pytest.raises(NalError, match=message):
        carry_out(engine, tmp_path, task_source)


def test_a_run_starts_after_its_needs(engine: Callable[..., Engine], tmp_path: Path) -> None:
    first, second, other = SPECS
    second = replace(second, needs=FrozenMap({"teacher": first.digest}))
    ended: list[RunResult] = []
    carry_out(engine, tmp_path, RunList([second, first, other], ended.append))
    order = [result.digest for result in ended]
    assert order.index(first.digest) < order.index(second.digest)
    assert len(order) == 3


def test_a_crash_fails_only_the_run_that_crashed(
    engine: Callable[..., Engine], tmp_path: Path
) -> None:
    misbehave(tmp_path, crash_above=1.0)
    sweep = sweep_of(engine, tmp_path, trials=6)
    assert sweep.done
    assert sweep.failures
    assert all("ZeroDivisionError: a bug (" in text for text in sweep.failures)
    trials = sweep.tunings[0].search.completed_trials
    assert all(float(trial.values["lambda"]) <= 1 for trial in trials)
    assert complete_trials(sweep) == [6 - len(sweep.failures)]


def test_a_stopped_result_is_not_the_result_of_a_crashed_run(
    engine: Callable[..., Engine], tmp_path: Path
) -> None:
    spec = make_spec(recipe=Recipe(EPOCHS, 64, 0.1, window=2))
    carry_out(InlineEngine, tmp_path, ScriptedTaskSource([spec], (2,), answer_at(2, Answer.STOP)))
    misbehave(tmp_path, crash_above=0.0)
    task_source = carry_out(engine, tmp_path, ScriptedTaskSource([spec]))
    ((_, status, reason),) = task_source.ends
    assert status == ""
    assert reason.startswith("ZeroDivisionError: a bug (")
    assert task_source.epochs(0) == [1, 2]


class InterruptedListener(RecordingListener):
    """A listener that sends SIGINT at the start of a run."""

    def on_start(self, task: Task) -> None:
        super().on_start(task)
        signal.raise_signal(signal.SIGINT)


@pytest.mark.slow
def test_an_interrupt_ends_the_runs_but_not_ray(
    ray_engine: Callable[..., Engine], tmp_path: Path
) -> None:
    listener = InterruptedListener()
    with pytest.raises(KeyboardInterrupt):
        sweep_of(ray_engine, tmp_path, listener)
    assert len(listener.starts) == 1
    assert sweep_of(ray_engine, tmp_path).done


def test_a_user_error_ends_the_sweep(engine: Callable[..., Engine], tmp_path: Path) -> None:
    misbehave(tmp_path, explain="ce")
    with pytest.raises(NalError, match="the data went away: bring them back") as error:
        sweep_of(engine, tmp_path)
    assert error.value.exit_code == DataError.exit_code
    misbehave(tmp_path)
    assert sweep_of(InlineEngine, tmp_path).done
    assert set(attempts(tmp_path).values()) <= {1, 2}


def test_an_error_of_a_worker_keeps_its_exit_code(
    engine: Callable[..., Engine], tmp_path: Path
) -> None:
    record = Record(tmp_path, SPECS[0].digest)
    record.folder.mkdir(parents=True)
    (record.folder / "result.json").write_text("{}")
    with pytest.raises(NalError, match="delete its folder") as error:
        carry_out(engine, tmp_path, ScriptedTaskSource(SPECS[:1]))
    assert error.value.exit_code == RecordError.exit_code


@pytest.mark.slow
def test_a_lost_worker_is_replaced_and_rows_are_reported_once(
    ray_engine: Callable[..., Engine], tmp_path: Path
) -> None:
    misbehave(tmp_path, die_once_after=4, seconds=0.3)
    task_source = carry_out(ray_engine, tmp_path, ScriptedTaskSource(SPECS[:1], (2,)))
    assert list(tmp_path.glob("died.*"))
    assert task_source.epochs(0) == ALL_EPOCHS
    assert [end[:2] for end in task_source.ends] == [(0, "finished")]


@pytest.mark.slow
def test_a_sweep_goes_on_after_a_lost_worker(
    ray_engine: Callable[..., Engine], tmp_path: Path
) -> None:
    misbehave(tmp_path, die_once_above=8.0)
    sweep = sweep_of(ray_engine, tmp_path, sets=("reference.nal.lambda=9",), trials=1)
    assert list(tmp_path.glob("died.*"))
    assert sweep.done
    assert sweep.failures == []
    assert complete_trials(sweep) == [1]


def test_diverged_runs_count_as_chance(engine: Callable[..., Engine], tmp_path: Path) -> None:
    misbehave(tmp_path, diverge_above=1.0)
    sweep = sweep_of(engine, tmp_path, trials=6)
    assert sweep.done
    assert complete_trials(sweep) == [6]
    for trial in sweep.tunings[0].search.completed_trials:
        assert (trial.objective == 0.1) is (float(trial.values["lambda"]) > 1)
    chosen = sweep.tunings[0].chosen_values
    assert chosen is not None
    assert float(chosen["lambda"]) <= 1


def test_a_stopped_real_run_continues_bit_for_bit(
    engine: Callable[..., Engine], tmp_path: Path
) -> None:
    spec = runnable(recipe=recipe(5), values={"first_target_epoch": 2})
    job = Job(tmp_path / "stopped", tmp_path, "digits")
    stop = ScriptedTaskSource([spec], (1, 3), answer_at(3, Answer.STOP))
    engine(opener=open_run).carry_out(stop, job, RecordingListener())
    assert [end[:2] for end in stop.ends] == [(0, "stopped")]
    assert stop.epochs(0) == [1, 2, 3]
    continued = ScriptedTaskSource([spec])
    engine(opener=open_run).carry_out(continued, job, RecordingListener())
    assert continued.epochs(0) == [1, 2, 3, 4, 5]
    whole = complete_run(spec, tmp_path / "whole", digits)
    result = Record(job.home, spec.digest).read_result()
    assert result is not None
    assert (result.trace, result.diagnostics) == (whole.trace, whole.diagnostics)
    assert (result.status, result.labels, result.split) == (whole.status, whole.labels, whole.split)


def test_all_rows_of_a_recorded_run_are_reported_whatever_the_answer(
    engine: Callable[..., Engine], tmp_path: Path
) -> None:
    record_run(tmp_path, SPECS[0])
    task_source = ScriptedTaskSource(SPECS[:1], stops_after=(2,), answer=answer_at(2, Answer.STOP))
    carry_out(engine, tmp_path, task_source)
    assert task_source.epochs(0) == ALL_EPOCHS
    assert task_source.ends == [(0, "finished", "")]


def test_the_last_epoch_ends_a_run_even_if_it_is_no_stop_epoch(
    engine: Callable[..., Engine], tmp_path: Path
) -> None:
    task_source = carry_out(
        engine, tmp_path, ScriptedTaskSource(SPECS[:1], (2,), answer_at(EPOCHS, Answer.WAIT))
    )
    assert task_source.epochs(0) == ALL_EPOCHS
    assert task_source.ends == [(0, "finished", "")]


def test_an_interrupt_swallowed_by_a_library_ends_an_inline_work(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    advance = FakeRun.advance

    def advance_after_interrupt(self: FakeRun) -> Any:
        with suppress(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)
        return advance(self)

    monkeypatch.setattr(FakeRun, "advance", advance_after_interrupt)
    task_source = ScriptedTaskSource(SPECS)
    with pytest.raises(KeyboardInterrupt):
        carry_out(InlineEngine, tmp_path, task_source)
    assert task_source.ends == []
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


# --- look-up by name

THIRD = """
from orchestrator.engine.inline_engine import InlineEngine

class Third(InlineEngine):
    "An engine in a file of its own."

def create_engine(locations):
    return Third()
"""


def test_an_engine_in_a_file_of_its_own_is_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = engine_names()
    assert {"inline", "ray"} <= set(names)
    (tmp_path / "third_engine.py").write_text(THIRD)
    monkeypatch.setattr(package, "__path__", [*package.__path__, str(tmp_path)])
    assert engine_names() == sorted([*names, "third"])
    third = engine_of(Locations(engine="third"))
    assert type(third).__name__ == "Third"
    spec, listener = make_spec(), RecordingListener()
    record_run(tmp_path, spec)
    third.carry_out(
        RunList([spec], lambda _result: None), Job(tmp_path, tmp_path, "fake"), listener
    )
    assert listener.ends == [spec.digest]
