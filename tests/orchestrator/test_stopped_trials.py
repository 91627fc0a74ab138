"""Sweeps whose trials are stopped early: what is told, recorded and continued."""

from __future__ import annotations

import json
import random
import shutil
import signal
from contextlib import contextmanager
from dataclasses import replace
from statistics import fmean
from typing import TYPE_CHECKING, Any

import optuna
import pytest
from command_line import RunningCommand, run_command, seeds_of_runs
from factories import text_hash
from fake_runs import FakeRun, attempts, misbehave, record_run
from plans import searches_of, small_plan
from small_runs import complete_run, digits
from task_sources import RecordingListener

from orchestrator.engine.dispatch import Dispatcher
from orchestrator.engine.inline_engine import InlineEngine
from orchestrator.sweeping.sweep import Sweep
from orchestrator.sweeping.tasks import Answer
from orchestrator.sweeping.trials import Trial, TrialState
from orchestrator.sweeping.tuning import search_digests
from reports.plan_record import PlanRecord
from search_spaces.schema import Phase
from trainables.run.record import Record
from trainables.run.result import Status
from trainables.training.job import Job

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from orchestrator.sweeping.tasks import Task
    from trainables.run.spec import RunSpec
    from trainables.training.job import Row

SHORT = ("recipe.window=1", "search.lag=3")
WHOLE = ("search.seeds=[1003]", *SHORT)
ASHA = ("search.scheduler={kind: asha, grace: 2, factor: 2}", *WHOLE)
RUNGS = (2, 4)
EPOCHS = 6
SEEDS = "search.seeds=[1000, 1001, 1002, 1003, 1004, 1005]"
TRIALS = 9
WILCOXON = ("search.scheduler={kind: wilcoxon, threshold: 0.2}", SEEDS, *SHORT)


class CrossingRun(FakeRun):
    """Fake run whose accuracy also rises and falls, so that curves of trials cross."""

    def __init__(self, spec: RunSpec, home: Path) -> None:
        super().__init__(spec, home)
        if self.result is None:
            self._final = replace(
                self._final, trace=[self._disturbed(row) for row in self._final.trace]
            )

    def _disturbed(self, row: Row) -> Row:
        if "val/accuracy" not in row:
            return row
        noise = int(text_hash(self._spec.digest, row["epoch"])[:4], 16) / 0xFFFF / 10
        return {**row, "val/accuracy": row["val/accuracy"] + noise}


@contextmanager
def open_crossing(spec: RunSpec, job: Job) -> Iterator[CrossingRun]:
    """Open a crossing run; an `Opener`."""
    yield CrossingRun(spec, job.home)


def open_sweep(home: Path, *sets: str, trials: int = TRIALS) -> Sweep:
    """Open the small study's sweep in a home, as a new process would."""
    home.mkdir(exist_ok=True)
    sweep = Sweep(small_plan(trials=trials, sets=sets), home, searches_of(home))
    sweep.resume(lambda _task, _result: None)
    return sweep


def carry_out(home: Path, *sets: str, trials: int = TRIALS) -> Sweep:
    """Carry out the small study with fake runs, one after the other."""
    sweep = open_sweep(home, *sets, trials=trials)
    InlineEngine(opener=open_crossing).carry_out(
        sweep, Job(home, home, "fake"), RecordingListener()
    )
    assert sweep.done
    return sweep


def outcome(sweep: Sweep) -> tuple[list[Trial], Any]:
    """Return the trials of a sweep's search and its winner."""
    (tuning,) = sweep.tunings
    return [tuning.search.trials[n] for n in sorted(tuning.search.trials)], tuning.chosen_values


def trials_of(sweep: Sweep, state: TrialState) -> list[Trial]:
    return [trial for trial in outcome(sweep)[0] if trial.state is state]


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> Sweep:
    """Finished sweep with successive halving."""
    return carry_out(tmp_path_factory.mktemp("undisturbed"), *ASHA)


@pytest.fixture(scope="module")
def undisturbed_seeds(tmp_path_factory: pytest.TempPathFactory) -> Sweep:
    """Finished sweep with Wilcoxon's test over seeds."""
    return carry_out(tmp_path_factory.mktemp("undisturbed"), *WILCOXON, trials=6)


def test_stopped_trials_are_recorded_and_told_as_pruned(tmp_path: Path) -> None:
    sweep = carry_out(tmp_path, *ASHA)
    stopped = trials_of(sweep, TrialState.STOPPED)
    complete = trials_of(sweep, TrialState.COMPLETE)
    assert len(stopped) + len(complete) == TRIALS
    assert {max(trial.steps) for trial in stopped} == {*RUNGS}
    (tuning,) = sweep.tunings
    for trial in (*stopped, *complete):
        (digest,) = tuning.trial_runs[trial.number].digests
        result = Record(tmp_path, digest).read_result()
        assert result is not None
        if trial in stopped:
            epoch = tuning.trial_runs[trial.number].epoch
            assert epoch == max(trial.steps) == len(result.trace)
            assert (result.status, trial.objective) == (Status.STOPPED, trial.steps[epoch])
            assert result.trace[-1]["val/accuracy"] == trial.objective
        else:
            assert (result.status, tuple(trial.steps)) == (Status.FINISHED, RUNGS)
            assert trial.objective == result.trace[-1]["val/accuracy"]
    (digest,) = search_digests(sweep.plan)
    stored = optuna.load_study(study_name=digest, storage=searches_of(tmp_path)).trials
    pruned = [trial for trial in stored if trial.state is optuna.trial.TrialState.PRUNED]
    assert [each.intermediate_values for each in pruned] == [trial.steps for trial in stopped]
    assert [each.value for each in pruned] == [trial.objective for trial in stopped]


def test_only_whole_trials_become_candidates(undisturbed: Sweep) -> None:
    (tuning,) = undisturbed.tunings
    whole = [trial.values for trial in trials_of(undisturbed, TrialState.COMPLETE)]
    assert tuning.candidates
    assert all(candidate.values in whole for candidate, _ in tuning.candidates)
    assert tuning.best_trial is not None
    assert tuning.best_trial[1] in whole
    assert undisturbed.ended_run_counts[Phase.SEARCH] == TRIALS


def test_a_finished_sweep_is_not_carried_out_again(tmp_path: Path) -> None:
    sweep = carry_out(tmp_path, *ASHA)
    starts = attempts(tmp_path)
    again = open_sweep(tmp_path, *ASHA)
    assert again.next() is None
    assert again.done
    assert outcome(again) == outcome(sweep)
    assert again.tunings[0].trial_runs == sweep.tunings[0].trial_runs
    assert again.tunings[0].best_trial == sweep.tunings[0].best_trial
    assert again.ended_run_counts == sweep.ended_run_counts
    assert attempts(tmp_path) == starts


class Interruption(RecordingListener):
    """Listener that ends the process at its n-th event, as a signal would."""

    def __init__(self, number: int) -> None:
        super().__init__()
        self._events_left = number

    def _count(self) -> None:
        self._events_left -= 1
        if self._events_left < 0:
            raise InterruptedError

    def on_start(self, task: Task) -> None:
        super().on_start(task)
        self._count()

    def on_report(self, task: Task, row: Row) -> None:
        super().on_report(task, row)
        self._count()

    def on_end(self, task: Task) -> None:
        super().on_end(task)
        self._count()


@pytest.mark.slow
def test_interruptions_at_epochs_and_ends_change_nothing(
    tmp_path: Path, undisturbed: Sweep
) -> None:
    starts = 0
    while True:
        starts += 1
        sweep = open_sweep(tmp_path, *ASHA)
        try:
            # A start, a report of the checkpoint and some epochs or an end.
            listener = Interruption(4 + starts % 3)
            engine = InlineEngine(opener=open_crossing)
            engine.carry_out(sweep, Job(tmp_path, tmp_path, "fake"), listener)
        except InterruptedError:
            continue
        break
    assert starts > 20
    assert outcome(sweep) == outcome(undisturbed)


def carry_out_shuffled(home: Path, slots: int, *sets: str, trials: int = TRIALS) -> Sweep:
    """Carry out the small study with several runs at a time, whose epochs end in random order."""
    sweep = open_sweep(home, *sets, trials=trials)
    dispatcher = Dispatcher(sweep, home, RecordingListener())
    running: list[tuple[Task, CrossingRun]] = []
    draw = random.Random(slots)  # noqa: S311 - a test
    while True:
        while len(running) < slots and (task := dispatcher.next()) is not None:
            running.append((task, CrossingRun(task.spec, home)))
        if not running:
            return sweep
        task, run = running.pop(draw.randrange(len(running)))
        run.advance()
        answer = dispatcher.report(task, run.rows_since(dispatcher.reported_epoch(task)))
        if run.result is None and answer is Answer.CONTINUE:
            running.append((task, run))
            continue
        if run.result is None:
            run.stop()
        dispatcher.end(task)


@pytest.mark.parametrize("slots", [2, 8])
def test_neither_slots_nor_the_order_of_epochs_change_a_trial(
    tmp_path: Path, slots: int, undisturbed: Sweep, undisturbed_seeds: Sweep
) -> None:
    assert outcome(carry_out_shuffled(tmp_path / "asha", slots, *ASHA)) == outcome(undisturbed)
    seeds = carry_out_shuffled(tmp_path / "wilcoxon", slots, *WILCOXON, trials=6)
    assert outcome(seeds) == outcome(undisturbed_seeds)


def test_a_run_that_is_recorded_whole_is_stopped_at_the_same_rung(
    tmp_path: Path, undisturbed: Sweep
) -> None:
    carry_out(tmp_path, *SHORT)
    starts = attempts(tmp_path)
    assert outcome(carry_out(tmp_path, *ASHA)) == outcome(undisturbed)
    assert {digest: attempts(tmp_path)[digest] for digest in starts} == starts


def test_a_sweep_that_wants_stopped_runs_whole_continues_them(tmp_path: Path) -> None:
    whole = carry_out(tmp_path / "whole", *WHOLE)
    home = tmp_path / "home"
    stopped = carry_out(home, *ASHA)
    digests = {
        runs.digests[0] for runs in stopped.tunings[0].trial_runs.values() if runs.is_stopped
    }
    sweep = carry_out(home, *WHOLE)
    assert outcome(sweep) == outcome(whole)
    assert {digest for digest, count in attempts(home).items() if count == 2} == digests
    for digest in digests:
        result = Record(home, digest).read_result()
        expected = Record(tmp_path / "whole", digest).read_result()
        assert result is not None
        assert expected is not None
        assert (result.status, result.trace) == (Status.FINISHED, expected.trace)
    # The first sweep ends as before, though its stopped runs have gone on meanwhile.
    again = open_sweep(home, *ASHA)
    assert again.next() is None
    assert outcome(again) == outcome(stopped)


def test_a_stopped_run_whose_record_was_removed_is_stopped_again(tmp_path: Path) -> None:
    sweep = carry_out(tmp_path, *ASHA)
    stopped = [runs for runs in sweep.tunings[0].trial_runs.values() if runs.is_stopped]
    for runs in stopped:
        shutil.rmtree(tmp_path / "runs" / runs.digests[0])
    assert not open_sweep(tmp_path, *ASHA).done
    again = carry_out(tmp_path, *ASHA)
    assert outcome(again) == outcome(sweep)
    for runs in stopped:
        result = Record(tmp_path, runs.digests[0]).read_result()
        assert result is not None
        assert (result.status, len(result.trace)) == (Status.STOPPED, runs.epoch)


def test_a_diverged_trial_is_complete_and_counts_as_guessing_at_every_rung(tmp_path: Path) -> None:
    misbehave(tmp_path, diverge_above=0.0)
    trials, _ = outcome(carry_out(tmp_path, *ASHA, trials=4))
    assert [trial.state for trial in trials] == [TrialState.COMPLETE] * 4
    assert {trial.objective for trial in trials} == {0.1}
    assert all(trial.steps[4] == 0.1 for trial in trials)


def test_a_diverged_trial_is_complete_where_others_are_better(tmp_path: Path) -> None:
    misbehave(tmp_path, diverge_above=2.0)
    sweep = carry_out(tmp_path, *ASHA)
    trials, _ = outcome(sweep)
    diverged = [trial for trial in trials if float(trial.values["lambda"]) > 2.0]
    assert any(trial.number >= 3 for trial in diverged)  # the first three have no rivals
    assert {(trial.state, trial.objective) for trial in diverged} == {(TrialState.COMPLETE, 0.1)}
    assert all(trial.steps == {2: 0.1, 4: 0.1} for trial in diverged)
    assert {trial.objective for trial in trials if trial not in diverged} != {0.1}
    assert outcome(open_sweep(tmp_path, *ASHA)) == outcome(sweep)
    (tmp_path / "optuna.db").unlink()
    assert outcome(carry_out(tmp_path, *ASHA)) == outcome(sweep)


def test_seeds_are_trained_in_turn(tmp_path: Path) -> None:
    sweep = open_sweep(tmp_path, *WILCOXON)
    first = [sweep.next() for _ in range(3)]
    assert [task.spec.seeds.init if task else None for task in first] == [1000] * 3
    assert sweep.next() is None  # no more trials than the lag allows, each with its first seed
    assert first[1] is not None
    sweep.end(first[1], record_run(tmp_path, first[1].spec))
    following = sweep.next()
    assert following is not None
    assert (following.values, following.spec.seeds.init) == (first[1].values, 1001)
    assert sweep.next() is None


def test_seeds_are_left_out_where_a_trial_is_worse(undisturbed_seeds: Sweep) -> None:
    sweep, home = undisturbed_seeds, undisturbed_seeds._home
    stopped = trials_of(sweep, TrialState.STOPPED)
    runs_by_trial = sweep.tunings[0].trial_runs
    for trial in outcome(sweep)[0]:
        runs = runs_by_trial[trial.number]
        assert runs.epoch is None
        assert len(runs.digests) == len(trial.steps)
        assert len(runs.digests) in ((3, 4, 5) if trial in stopped else (6,))
        results = [Record(home, digest).read_result() for digest in runs.digests]
        assert [result.status for result in results if result] == ["finished"] * len(results)
        accuracies = [result.trace[-1]["val/accuracy"] for result in results if result]
        assert list(trial.steps.values()) == accuracies
        assert trial.objective == (accuracies[-1] if trial in stopped else fmean(accuracies))
    run_count = sum(len(runs.digests) for runs in runs_by_trial.values())
    assert sweep.ended_run_counts[Phase.SEARCH] == run_count < 6 * 6
    again = open_sweep(home, *WILCOXON, trials=6)
    assert again.next() is None
    assert outcome(again) == outcome(sweep)
    assert again.tunings[0].trial_runs == runs_by_trial


def test_a_trial_fails_with_its_first_seed_that_cannot_be_trained(tmp_path: Path) -> None:
    sweep = open_sweep(tmp_path, *WILCOXON, trials=1)
    task = sweep.next()
    assert task is not None
    sweep.end(task, None, "a bug")
    (tuning,) = sweep.tunings
    assert tuning.search.trials[0].state is TrialState.FAILED
    assert tuning.is_search_done


@pytest.mark.slow
def test_a_killed_sweep_ends_like_an_undisturbed_one_and_its_runs_can_be_continued(
    tmp_path: Path,
) -> None:
    command = (
        *("sweep", "digits", "--epochs", "12", "--trials", "7", "--seeds", "1", "--json"),
        *("--set", "search.scheduler={kind: asha, factor: 2}"),
        *("--set", "select={candidates: 1, seeds: [2000]}", "--engine", "inline", "--home"),
    )
    undisturbed = run_command(*command, tmp_path / "undisturbed")
    assert undisturbed.returncode == 0, undisturbed.stderr
    home = tmp_path / "killed"
    process = RunningCommand.start(*command, home)
    process.wait_for(lambda: seeds_of_runs(home, ended=True).total() >= 5)
    process.end_by(signal.SIGKILL)
    killed = run_command(*command, home)
    assert killed.returncode == 0, killed.stderr
    tables = [json.loads(output.stdout) for output in (killed, undisturbed)]
    assert tables[0]["sections"] == tables[1]["sections"]
    records = [
        PlanRecord.from_json((path / "plan.json").read_text())
        for each in (home, tmp_path / "undisturbed")
        for path in (each / "sweeps").glob("*/")
    ]
    assert records[0] == records[1]
    (search,) = records[0].searches
    stopped = search.stopped[0]
    (digest,) = search.runs_by_trial[stopped.position]
    result = Record(home, digest).read_result()
    assert result is not None
    assert (result.status, len(result.trace)) == (Status.STOPPED, stopped.epoch)
    continued = complete_run(result.spec, home, digits)
    whole = complete_run(result.spec, tmp_path / "whole", digits)
    assert (continued.status, continued.attempts) == (Status.FINISHED, 2)
    assert continued.trace == whole.trace
