"""Benchmark of the orchestration: a sweep of runs that do nothing, on real Ray, Optuna and MLflow.

The sweep is compared with as many plain Ray Tune trials of the same trainable on the same cluster.
These trials have neither a search nor records, and are not written to MLflow. Run the benchmark
from the checkout:

    python benchmarks/orchestration.py --runs 100
    python benchmarks/orchestration.py --runs 1000
"""

from __future__ import annotations

import argparse
import os
import resource
import shutil
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

from machine import CHECKOUT, save_numbers

sys.path[:0] = [str(CHECKOUT), str(CHECKOUT / "tests")]
os.environ["PYTHONPATH"] = os.pathsep.join(sys.path[:2])  # for the workers

import optuna  # noqa: E402 - found beside the checkout from here on
from fake_runs import open_fake  # noqa: E402
from plans import random_data, small_study  # noqa: E402

from orchestrator.engine.cluster import ray_cluster  # noqa: E402
from orchestrator.engine.ray_engine import RayEngine  # noqa: E402
from orchestrator.home import Home  # noqa: E402
from orchestrator.planning.plan import Plan  # noqa: E402
from orchestrator.sweeping.search_storage import open_search_storage  # noqa: E402
from orchestrator.sweeping.sweep import Sweep  # noqa: E402
from orchestrator.tracking.archive import SweepArchive  # noqa: E402
from orchestrator.tracking.background import BackgroundTracker  # noqa: E402
from orchestrator.tracking.recording import SweepRecorder  # noqa: E402
from reports.store import home_store_uri  # noqa: E402
from search_spaces.schema import Phase  # noqa: E402
from trainables.cpus import usable_cpu_count  # noqa: E402
from trainables.databases import database_url  # noqa: E402
from trainables.training.job import Job  # noqa: E402

if TYPE_CHECKING:
    from orchestrator.sweeping.tasks import Task
    from trainables.training.job import Row

CELLS = 2
"""Number of cells of the small study (combinations of method and scenario).

Each cell has a run for each confirm seed.
"""


class StartTimer:
    """Listener of an engine that stores the time at which the first run started."""

    def __init__(self) -> None:
        self.start_time = 0.0

    def on_start(self, task: Task) -> None:  # noqa: ARG002
        """Store the start time of the first run."""
        self.start_time = self.start_time or time.perf_counter()

    def on_report(self, task: Task, row: Row) -> None:
        """Do nothing."""

    def on_end(self, task: Task) -> None:
        """Do nothing."""

    def on_notice(self, text: str) -> None:
        """Do nothing."""


def sweep_seconds(engine: RayEngine, home: Home, runs: int) -> dict[str, float]:
    """Carry out a sweep of about `runs` runs, of which 30 are trials, and write it to MLflow.

    Args:
        engine: engine that was started.
        home: home folder of the sweep.
        runs: approximate number of runs.

    Returns:
        The numbers of the benchmark, by title.
    """
    trials = 30
    seeds = (runs - trials - 3) // CELLS
    loaded = small_study(trials=trials, seeds=seeds, sets=("select.seeds=[90000]",))
    plan = Plan("small", loaded.study, random_data())
    storage = open_search_storage(database_url(home.search_database))
    listener = StartTimer()
    job = Job(home.path, home.path, "small")
    with BackgroundTracker(home, home_store_uri(home.path), "small", print) as tracker:
        sweep = Sweep(plan, home.path, storage)
        recorder = SweepRecorder(sweep, loaded, SweepArchive.of(home.path, plan.digest), tracker)
        recorder.resume()
        tracker.flush()  # excludes MLflow's import and the creation of its database
        engine.carry_out(sweep, job, listener)
        end_time = time.perf_counter()
        recorder.save_plan()
        tracker.flush()
        written_time = time.perf_counter()
    done = sum(sweep.ended_run_counts.values())
    return {
        "runs": done,
        "trials among them": sweep.ended_run_counts[Phase.SEARCH],
        "at once": usable_cpu_count(),
        "seconds per run until the last has ended": (end_time - listener.start_time) / done,
        "seconds per run until all stands in MLflow": (written_time - listener.start_time) / done,
    }


def bare_seconds(home: Path, runs: int) -> float:
    """Carry out plain Ray Tune trials of the same trainable, and return the seconds per trial."""
    from ray import tune

    from trainables.trainable import RunTrainable

    study = small_study()
    plan = Plan("small", study.study, random_data())
    specs = [
        plan.spec(Phase.CONFIRM, "ce", "symmetric-0.4", {}, seed).to_json() for seed in range(runs)
    ]
    trainable = tune.with_parameters(
        RunTrainable, job=Job(home, home, "small"), opener=open_fake, demand=None
    )
    config = {"stops_after": [], "reported_epoch": 0, "gpus": 0.0}
    start = time.perf_counter()
    tune.Tuner(
        tune.with_resources(trainable, {"cpu": 1}),
        param_space={**config, "spec": tune.grid_search(specs)},
        tune_config=tune.TuneConfig(reuse_actors=True),
        run_config=tune.RunConfig(
            storage_path=str(home / "tune"),
            verbose=0,
            checkpoint_config=tune.CheckpointConfig(checkpoint_at_end=False),
        ),
    ).fit()
    return (time.perf_counter() - start) / runs


def main() -> None:
    """Measure a sweep and plain Ray Tune trials, one after the other, and save the numbers."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=100)
    runs: int = parser.parse_args().runs
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    folder = Path(tempfile.mkdtemp(prefix="nal-benchmark-"))
    home = Home(folder / "home")
    home.create()
    bare = folder / "bare"
    bare.mkdir()
    start = time.perf_counter()
    try:
        engine = RayEngine(opener=open_fake)
        with engine.start(StartTimer()):
            start_seconds = time.perf_counter() - start
            numbers = sweep_seconds(engine, home, runs)
        memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e6
        with ray_cluster(None, print):
            bare_trial = bare_seconds(bare, runs)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    numbers |= {
        "seconds per bare Tune trial, its workers' start included": bare_trial,
        "seconds until Ray had started": start_seconds,
        "peak memory of the command, without its Ray process, MB": memory,
    }
    rounded: dict[str, float | bool] = {name: round(n, 3) for name, n in numbers.items()}
    rounded["torch imported in the command"] = "torch" in sys.modules
    save_numbers(f"orchestration-{runs}", rounded, ("ray", "optuna", "mlflow"))


if __name__ == "__main__":
    main()
