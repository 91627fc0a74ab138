"""What the engine for Slurm adds to the rules of all engines (test_engine.py): jobs that end."""

from __future__ import annotations

import signal
import subprocess
import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import pytest
from fake_runs import FakeRun, attempts, open_fake
from slurm import PoolInProcess, jobs_in_process
from task_sources import EPOCHS, SPECS, RecordingListener, ScriptedTaskSource

from orchestrator.engine.base import engine_of
from orchestrator.engine.slurm_engine import SlurmEngine
from orchestrator.engine.slurm_job import SlurmJob, job_name
from orchestrator.engine.slurm_pool import JobStates, SlurmPool
from orchestrator.engine.slurm_queue import RunOrder, RunQueue
from orchestrator.flags import Locations
from trainables.errors import ServiceError, UserError
from trainables.training.job import Job

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from trainables.run.spec import RunSpec


@pytest.fixture
def pool() -> Iterator[type[PoolInProcess]]:
    """Carry out jobs in this process."""
    with jobs_in_process() as pool:
        yield pool


def carry_out(home: Path, task_source: Any, engine: SlurmEngine | None = None) -> RecordingListener:
    listener = RecordingListener()
    (engine or SlurmEngine(opener=open_fake)).carry_out(
        task_source, Job(home, home, "fake"), listener
    )
    return listener


def test_a_job_carries_out_several_runs(pool: type[PoolInProcess], tmp_path: Path) -> None:
    task_source = ScriptedTaskSource()
    carry_out(tmp_path, task_source, SlurmEngine(max_jobs=1, opener=open_fake))
    assert task_source.done
    assert pool.submitted <= len(SPECS)
    assert set(attempts(tmp_path).values()) == {1}
    assert not list((tmp_path / "slurm").iterdir())


def test_no_more_jobs_are_submitted_than_runs_are_left(
    pool: type[PoolInProcess], tmp_path: Path
) -> None:
    carry_out(tmp_path, ScriptedTaskSource(SPECS[:2]))
    assert pool.submitted == 2


def test_jobs_that_die_at_once_are_replaced_three_times_only(
    pool: type[PoolInProcess], tmp_path: Path
) -> None:
    pool.deaths = 2
    task_source = ScriptedTaskSource(SPECS[:1])
    carry_out(tmp_path / "two", task_source)
    assert task_source.done
    assert pool.submitted == 3
    pool.deaths = 3
    with pytest.raises(ServiceError, match=r"3 jobs of Slurm ended before they carried out a run"):
        carry_out(tmp_path / "three", ScriptedTaskSource(SPECS[:1]))


def test_a_refused_job_is_an_error_if_there_is_no_other(
    pool: type[PoolInProcess], tmp_path: Path
) -> None:
    pool.refusals = 1
    with pytest.raises(ServiceError, match=r"Slurm refuses a job of the sweep \(too many\)"):
        carry_out(tmp_path, ScriptedTaskSource(SPECS[:1]))


class LossyPool(PoolInProcess):
    """A pool whose jobs take the first order and die, a given number of times."""

    losses = 0

    def look(self) -> JobStates:
        jobs: list[tuple[str, SlurmJob]] = getattr(self, "_jobs", [])
        if jobs and LossyPool.losses:
            LossyPool.losses -= 1
            self._jobs = []
            assert self.queue.take(jobs[0][0])
            return JobStates(frozenset(), {}, frozenset(name for name, _ in jobs))
        return super().look()


@pytest.mark.usefixtures("pool")
@pytest.mark.parametrize("losses", [2, 3])
def test_a_run_that_kills_its_jobs_ends_after_three(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    losses: int,
) -> None:
    monkeypatch.setattr("orchestrator.engine.slurm_engine.SlurmPool", LossyPool)
    monkeypatch.setattr(LossyPool, "losses", losses)
    task_source = ScriptedTaskSource(SPECS[:1])
    listener = carry_out(tmp_path, task_source)
    assert len(listener.notices) == 2
    assert listener.notices[0].endswith(
        "has died: its run continues from its checkpoint in another job"
    )
    ((_, status, reason),) = task_source.ends
    if losses == 2:
        assert status == "finished"
        assert task_source.epochs(0) == list(range(1, EPOCHS + 1))
    else:
        assert status == ""
        assert reason.startswith("3 jobs of Slurm died before they had trained one more epoch")


class SilentPool(PoolInProcess):
    """A pool for which Slurm does not answer at first, and then keeps the jobs waiting."""

    answers: list[JobStates | None]

    def look(self) -> JobStates:
        if not SilentPool.answers:
            return super().look()
        answer = SilentPool.answers.pop(0)
        if answer is None:
            raise ServiceError("squeue did not answer")
        return answer


@pytest.mark.usefixtures("pool")
def test_the_user_is_told_once_why_nothing_happens(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("orchestrator.engine.slurm_engine.SlurmPool", SilentPool)
    waiting = JobStates(frozenset(), {"7": "Priority"}, frozenset())
    SilentPool.answers = [None, None, waiting, waiting]
    listener = carry_out(tmp_path, ScriptedTaskSource(SPECS[:1]))
    assert listener.notices == [
        "Slurm does not answer (squeue did not answer): asking again; jobs go on meanwhile",
        "1 job waiting in Slurm's queue (Priority)",
    ]


@pytest.mark.usefixtures("pool")
def test_the_orders_of_a_killed_driver_are_used(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Killed(BaseException):
        pass

    def die(_pool: object) -> JobStates:
        raise Killed

    monkeypatch.setattr(PoolInProcess, "look", die)
    with pytest.raises(Killed):
        carry_out(tmp_path, ScriptedTaskSource(SPECS[:1]))
    monkeypatch.undo()
    (folder,) = (tmp_path / "slurm").iterdir()
    queue = RunQueue(folder)
    order = queue.take("7_0")
    assert order is not None
    with jobs_in_process():
        queue.folder.joinpath("jobs", "7").touch()

        class LivingPool(PoolInProcess):
            """A pool in which the job of the killed driver trains at the second look."""

            looks = 0

            def look(self) -> JobStates:
                self.looks += 1
                if self.looks == 2 and order is not None:
                    job = Job(tmp_path, tmp_path, "fake")
                    SlurmJob(queue, job, open_fake)._carry_out(order, "7_0", job, bool)
                return JobStates(frozenset({"7_0"}), {}, frozenset())

        monkeypatch.setattr("orchestrator.engine.slurm_engine.SlurmPool", LivingPool)
        task_source = ScriptedTaskSource(SPECS[:1])
        carry_out(tmp_path, task_source)
        assert task_source.done
        assert PoolInProcess.submitted == 0
    assert set(attempts(tmp_path).values()) == {1}


@pytest.mark.usefixtures("pool")
def test_a_signal_ends_a_job_after_the_epoch_and_gives_the_order_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    requeues: list[int] = []
    signal.signal(signal.SIGUSR2, lambda number, _: requeues.append(number))
    monkeypatch.setenv("SLURM_ARRAY_JOB_ID", "7")
    monkeypatch.setenv("SLURM_ARRAY_TASK_ID", "3")
    monkeypatch.setenv("SLURM_JOB_ID", "9")

    @contextmanager
    def open_signalled(spec: RunSpec, job: Job) -> Iterator[FakeRun]:
        run = FakeRun(spec, job.home)
        advance = run.advance

        def advance_and_signal() -> Any:
            if run.epoch == 2:
                signal.raise_signal(signal.SIGUSR2)
            return advance()

        monkeypatch.setattr(run, "advance", advance_and_signal)
        yield run

    queue = RunQueue(tmp_path / "queue")
    queue.create()
    order = RunOrder("1", SPECS[0].digest, SPECS[0].to_dict(), [])
    queue.add(order)
    SlurmJob(queue, Job(tmp_path, tmp_path, "fake"), open_signalled)(0)
    assert requeues == [signal.SIGUSR2]
    report = queue.read_report(order.digest)
    assert report is not None
    assert (len(report.rows), report.has_ended, report.is_stopped) == (3, False, True)
    assert queue.pop_farewell("7_3")
    released = queue.take("7_4")
    assert released is not None
    assert (released.order_id, released.digest) == ("1", order.digest)


def test_jobs_have_the_names_that_squeue_prints() -> None:
    assert job_name({"SLURM_JOB_ID": "9"}) == "9"
    array = {"SLURM_JOB_ID": "9", "SLURM_ARRAY_JOB_ID": "7", "SLURM_ARRAY_TASK_ID": "3"}
    assert job_name(array) == "7_3"


def test_the_last_line_of_a_log_is_not_slurms_own(tmp_path: Path) -> None:
    queue = RunQueue(tmp_path / "queue")
    queue.create()
    pool = SlurmPool(queue, {})
    assert pool.last_line_of_log("7_0") == ""
    (queue.logs_folder / "7_0_0_log.out").write_text("one\nKilled\nsrun: error: n1: task 0\n")
    assert pool.last_line_of_log("7_0") == "Killed"


def test_an_installation_without_submitit_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "submitit", None)
    from search_spaces.schema import Resources

    with pytest.raises(ServiceError, match=r"pip install 'nal-orchestrator\[slurm\]'$"):
        SlurmEngine().check(Resources())


def test_flags_choose_the_options_and_the_number_of_jobs() -> None:
    locations = Locations(engine="slurm", sbatch=("partition=gpu",), max_concurrent=3)
    engine = engine_of(locations)
    assert isinstance(engine, SlurmEngine)
    assert (engine.options, engine.max_concurrent_runs) == ({"partition": "gpu"}, 3)
    assert engine._all_options(2) == {
        "cpus-per-task": "2",
        "time": "04:00:00",
        "partition": "gpu",
    }
    with pytest.raises(UserError, match="--sbatch: --engine inline submits no jobs"):
        engine_of(Locations(engine="inline", sbatch=("partition=gpu",)))


def test_a_home_whose_path_slurm_would_change_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=rf"^--home {tmp_path}/100%a: .* a folder without %"):
        engine_of(Locations(home_dir=tmp_path / "100%a", engine="slurm"))


def test_a_job_imports_no_torch_before_it_has_a_run() -> None:
    code = "import sys, orchestrator.engine.slurm_job; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
