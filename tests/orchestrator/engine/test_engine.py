"""What every engine does, of runs that do nothing or go wrong, and of real ones."""

from __future__ import annotations

import os
import signal
import sys
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from factories import make_spec
from fake_runs import FakeRun, attempts, misbehave, open_fake, record_run
from plans import complete_trials, searches_of, small_plan, wanted_digests
from small_runs import complete_run, digits, recipe, runnable
from works import EPOCHS, SPECS, Ears, Script, at

import orchestrator.engine as package
from orchestrator.engine.base import engine_names, engine_of
from orchestrator.engine.cluster import check_nodes
from orchestrator.engine.inline_engine import InlineEngine
from orchestrator.engine.ray_engine import RayEngine
from orchestrator.flags import Places
from orchestrator.sweeping.sweep import Sweep
from orchestrator.sweeping.tasks import Answer, RunList, Task
from trainables.errors import NalError, ServiceError
from trainables.run.parameters import FrozenMap
from trainables.run.recipe import Recipe
from trainables.run.record import Record
from trainables.training.job import Job, open_run

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from orchestrator.engine.base import Engine
    from trainables.run.result import RunResult

WHOLE = list(range(1, EPOCHS + 1))
ENGINES: dict[str, Callable[..., Engine]] = {"inline": InlineEngine, "ray": RayEngine}


@pytest.fixture(scope="module")
def _ray() -> Iterator[None]:
    # Workers take over the driver's environment, but not its search path for modules.
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", os.pathsep.join(sys.path))
        with RayEngine().opened(Path()):
            yield


@pytest.fixture(params=["inline", pytest.param("ray", marks=pytest.mark.slow)])
def engine(request: pytest.FixtureRequest) -> Callable[..., Engine]:
    """Each engine in turn, started."""
    if request.param == "ray":
        request.getfixturevalue("_ray")
    return ENGINES[request.param]


def carried(engine: Callable[..., Engine], home: Path, work: Any, ears: Ears | None = None) -> Any:
    """Carry out a work of runs that do nothing."""
    engine(opener=open_fake).carry_out(work, Job(home, home, "fake"), ears or Ears())
    return work


def swept(
    engine: Callable[..., Engine], home: Path, ears: Ears | None = None, **flags: Any
) -> Sweep:
    """Carry out the small study."""
    sweep = Sweep(small_plan(**flags), home, searches_of(home))
    sweep.resume(lambda _task, _result: None)
    carried(engine, home, sweep, ears)
    return sweep


def test_a_sweep_trains_each_run_once(engine: Callable[..., Engine], tmp_path: Path) -> None:
    ears = Ears()
    sweep = swept(engine, tmp_path, ears)
    assert sweep.done
    assert set(attempts(tmp_path)) == wanted_digests(sweep)
    assert set(attempts(tmp_path).values()) == {1}
    assert complete_trials(sweep) == [4]
    assert sorted(ears.begun) == sorted(ears.over) == sorted(attempts(tmp_path))


def test_rows_come_once_and_in_order_before_the_end(
    engine: Callable[..., Engine], tmp_path: Path
) -> None:
    work = carried(engine, tmp_path, Script())
    assert [work.epochs(seed) for seed in range(3)] == [WHOLE] * 3
    assert sorted(work.ends) == [(seed, "finished", work.ends[0][2]) for seed in range(3)]


def test_rows_of_a_recorded_checkpoint_come_first(
    engine: Callable[..., Engine], tmp_path: Path
) -> None:
    stop = Script(SPECS[:1], (2,), at(2, Answer.STOP))
    assert carried(engine, tmp_path, stop).epochs(0) == [1, 2]
    again = carried(engine, tmp_path, Script(SPECS[:1]))
    assert again.rows[0][0][:2] == [1, 2]
    assert again.epochs(0) == WHOLE
    assert set(attempts(tmp_path).values()) == {2}


def test_a_run_is_stopped_exactly_where_the_work_says(
    engine: Callable[..., Engine], tmp_path: Path
) -> None:
    def answer(_work: Script, seed: int, epoch: int) -> Answer:
        return Answer.STOP if (seed, epoch) in {(0, 2), (1, 4)} else Answer.CONTINUE

    ears = Ears()
    work = carried(engine, tmp_path, Script(stops_after=(2, 4), answer=answer), ears)
    assert [work.epochs(seed) for seed in range(3)] == [[1, 2], [1, 2, 3, 4], WHOLE]
    assert sorted(end[:2] for end in work.ends) == [(0, "stopped"), (1, "stopped"), (2, "finished")]
    assert [len(work.results[seed].trace) for seed in range(3)] == [2, 4, 6]
    groups_that_end = {group[-1] for group in work.rows[2]}
    assert {2, 4, 6} <= groups_that_end
    assert sorted(ears.begun) == sorted(ears.over) == sorted(spec.digest for spec in SPECS)


def test_at_its_last_epoch_a_run_ends_whatever_the_answer(
    engine: Callable[..., Engine], tmp_path: Path
) -> None:
    work = carried(engine, tmp_path, Script(SPECS[:1], (EPOCHS,), at(EPOCHS, Answer.WAIT)))
    assert [end[:2] for end in work.ends] == [(0, "finished")]


def test_a_run_stops_nowhere_else(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"STOP after epoch 1, which is none of \(2,\)"):
        carried(InlineEngine, tmp_path, Script(stops_after=(2,), answer=at(1, Answer.STOP)))


def test_a_run_waits_until_others_have_come_as_far(
    engine: Callable[..., Engine], tmp_path: Path
) -> None:
    def answer(work: Script, seed: int, epoch: int) -> Answer:
        """After epoch 2 every run waits for all; then seed 1 ends and the others go on."""
        if epoch > 2 or any(2 not in work.epochs(other) for other in range(3)):
            return Answer.WAIT if epoch == 2 else Answer.CONTINUE
        return Answer.STOP if seed == 1 else Answer.CONTINUE

    ears = Ears()
    work = carried(engine, tmp_path, Script(stops_after=(2,), answer=answer), ears)
    assert [work.epochs(seed) for seed in range(3)] == [WHOLE, [1, 2], WHOLE]
    assert sorted(end[:2] for end in work.ends) == [
        (0, "finished"),
        (1, "stopped"),
        (2, "finished"),
    ]
    assert work.asked
    assert sorted(ears.begun) == sorted(ears.over)


def test_a_run_beyond_an_epoch_to_stop_after_is_stopped_where_it_stands(
    engine: Callable[..., Engine], tmp_path: Path
) -> None:
    carried(engine, tmp_path, Script(SPECS[:1], (4,), at(4, Answer.STOP)))
    waits = iter([Answer.WAIT, Answer.CONTINUE, Answer.CONTINUE])
    work = Script(
        SPECS[:1],
        (2,),
        lambda _work, _seed, epoch: next(waits) if epoch == 2 else Answer.CONTINUE,
    )
    carried(engine, tmp_path, work)
    assert work.rows[0][0] == [1, 2]
    assert work.epochs(0) == WHOLE
    assert work.asked == [0]


@pytest.mark.parametrize("stops_after", [(), (2,)])
def test_a_work_that_waits_for_nothing_is_refused(
    engine: Callable[..., Engine], tmp_path: Path, stops_after: tuple[int, ...]
) -> None:
    work = Script(SPECS, stops_after, at(2, Answer.WAIT) if stops_after else at(0, Answer.WAIT))
    if not stops_after:
        work._left += 1
    waiting = len(SPECS) if stops_after else 0
    with pytest.raises(NalError, match=f"nothing can go on: no run .* {waiting} wait for others"):
        carried(engine, tmp_path, work)


def test_a_run_comes_after_those_that_it_needs(
    engine: Callable[..., Engine], tmp_path: Path
) -> None:
    first, second, other = SPECS
    second = replace(second, needs=FrozenMap({"teacher": first.digest}))
    ended: list[RunResult] = []
    carried(engine, tmp_path, RunList([second, first, other], ended.append))
    order = [result.digest for result in ended]
    assert order.index(first.digest) < order.index(second.digest)
    assert len(order) == 3


def test_a_bug_costs_the_runs_that_have_it_alone(
    engine: Callable[..., Engine], tmp_path: Path
) -> None:
    misbehave(tmp_path, crash_above=1.0)
    sweep = swept(engine, tmp_path, trials=6)
    assert sweep.done
    assert sweep.failed
    assert all("ZeroDivisionError: a bug (" in words for words in sweep.failed)
    assert all(values["lambda"] <= 1 for values, _ in sweep.tunings[0].search.completed())
    assert complete_trials(sweep) == [6 - len(sweep.failed)]


def test_what_was_stopped_before_is_no_result_of_a_run_that_fails(
    engine: Callable[..., Engine], tmp_path: Path
) -> None:
    spec = make_spec(recipe=Recipe(EPOCHS, 64, 0.1, window=2))
    carried(engine, tmp_path, Script([spec], (2,), at(2, Answer.STOP)))
    misbehave(tmp_path, crash_above=0.0)
    work = carried(engine, tmp_path, Script([spec]))
    ((_, status, reason),) = work.ends
    assert status == ""
    assert reason.startswith("ZeroDivisionError: a bug (")
    assert work.epochs(0) == [1, 2]


class Deaf(Ears):
    """Interrupts, and swallows the exception of it, as code of Ray's may."""

    def started(self, task: Task) -> None:
        super().started(task)
        with suppress(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGINT)


@pytest.mark.slow
@pytest.mark.usefixtures("_ray")
def test_an_interrupt_is_not_lost(tmp_path: Path) -> None:
    ears = Deaf()
    handler = signal.getsignal(signal.SIGINT)
    with pytest.raises(KeyboardInterrupt):
        swept(RayEngine, tmp_path, ears)
    assert len(ears.begun) == 1
    assert signal.getsignal(signal.SIGINT) is handler


def test_a_fault_that_is_explained_ends_the_sweep(
    engine: Callable[..., Engine], tmp_path: Path
) -> None:
    misbehave(tmp_path, explain="ce")
    with pytest.raises(NalError, match="the data went away: bring them back"):
        swept(engine, tmp_path)
    misbehave(tmp_path)
    assert swept(engine, tmp_path).done
    assert set(attempts(tmp_path).values()) <= {1, 2}


@pytest.mark.slow
@pytest.mark.usefixtures("_ray")
def test_a_lost_worker_is_replaced_and_its_rows_come_once(tmp_path: Path) -> None:
    misbehave(tmp_path, die_once_after=4, seconds=0.3)
    work = carried(RayEngine, tmp_path, Script(SPECS[:1], (2,)))
    assert list(tmp_path.glob("died.*"))
    assert work.epochs(0) == WHOLE
    assert [end[:2] for end in work.ends] == [(0, "finished")]


@pytest.mark.slow
@pytest.mark.usefixtures("_ray")
def test_a_sweep_goes_on_after_a_lost_worker(tmp_path: Path) -> None:
    misbehave(tmp_path, die_once_above=8.0)
    sweep = swept(RayEngine, tmp_path, sets=("reference.nal.lambda=9",), trials=1)
    assert list(tmp_path.glob("died.*"))
    assert sweep.done
    assert sweep.failed == []
    assert complete_trials(sweep) == [1]


def test_diverged_runs_count_as_chance(engine: Callable[..., Engine], tmp_path: Path) -> None:
    misbehave(tmp_path, diverge_above=1.0)
    sweep = swept(engine, tmp_path, trials=6)
    assert sweep.done
    assert complete_trials(sweep) == [6]
    for values, value in sweep.tunings[0].search.completed():
        assert (value == 0.1) is (values["lambda"] > 1)
    chosen = sweep.tunings[0].chosen
    assert chosen is not None
    assert chosen["lambda"] <= 1


def test_a_real_run_that_was_stopped_goes_on_bit_for_bit(
    engine: Callable[..., Engine], tmp_path: Path
) -> None:
    spec = runnable(recipe=recipe(5), values={"first_target_epoch": 2})
    job = Job(tmp_path / "stopped", tmp_path, "digits")
    stop = Script([spec], (1, 3), at(3, Answer.STOP))
    engine(opener=open_run).carry_out(stop, job, Ears())
    assert [end[:2] for end in stop.ends] == [(0, "stopped")]
    assert stop.epochs(0) == [1, 2, 3]
    on = Script([spec])
    engine(opener=open_run).carry_out(on, job, Ears())
    assert on.epochs(0) == [1, 2, 3, 4, 5]
    whole = complete_run(spec, tmp_path / "whole", digits)
    found = Record(job.home, spec.digest).result()
    assert found is not None
    assert (found.trace, found.diagnostics) == (whole.trace, whole.diagnostics)
    assert (found.status, found.labels, found.split) == (whole.status, whole.labels, whole.split)


@pytest.mark.slow
@pytest.mark.usefixtures("_ray")
def test_nodes_are_asked_for_the_package_and_the_home(tmp_path: Path) -> None:
    check_nodes(tmp_path)
    missing = tmp_path / "elsewhere"
    with pytest.raises(ServiceError, match=f"does not see --home {missing}"):
        check_nodes(missing)


def test_rows_of_a_recorded_run_all_come_whatever_the_answer(
    engine: Callable[..., Engine], tmp_path: Path
) -> None:
    record_run(tmp_path, SPECS[0])
    work = Script(SPECS[:1], stops_after=(2,), answer=at(2, Answer.STOP))
    carried(engine, tmp_path, work)
    assert work.epochs(0) == WHOLE
    assert work.ends == [(0, "finished", "")]


def test_a_run_ends_at_an_epoch_that_it_was_not_to_stop_after(
    engine: Callable[..., Engine], tmp_path: Path
) -> None:
    work = carried(engine, tmp_path, Script(SPECS[:1], (2,), at(EPOCHS, Answer.WAIT)))
    assert work.epochs(0) == WHOLE
    assert work.ends == [(0, "finished", "")]


def test_an_interrupt_that_a_library_swallows_ends_an_inline_work(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    advance = FakeRun.advance

    def swallowing(self: FakeRun) -> Any:
        with suppress(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)
        return advance(self)

    monkeypatch.setattr(FakeRun, "advance", swallowing)
    work = Script(SPECS)
    with pytest.raises(KeyboardInterrupt):
        carried(InlineEngine, tmp_path, work)
    assert work.ends == []
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


# --- choosing one

THIRD = """
from orchestrator.engine.inline_engine import InlineEngine

class Third(InlineEngine):
    "An engine of somebody else's."

def from_places(places):
    return Third()
"""


def test_an_engine_is_one_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    known = engine_names()
    assert {"inline", "ray"} <= set(known)
    (tmp_path / "third_engine.py").write_text(THIRD)
    monkeypatch.setattr(package, "__path__", [*package.__path__, str(tmp_path)])
    assert engine_names() == sorted([*known, "third"])
    third = engine_of(Places(engine="third"))
    assert type(third).__name__ == "Third"
    spec, ears = make_spec(), Ears()
    record_run(tmp_path, spec)
    third.carry_out(RunList([spec], lambda _result: None), Job(tmp_path, tmp_path, "fake"), ears)
    assert ears.over == [spec.digest]
