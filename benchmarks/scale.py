"""Benchmark of large stores: reports, finished sweeps and `sync` with thousands of recorded runs.

The runs are not trained. Their records are those of fake runs, and most of their rows in MLflow
are copies of a few runs that the tracker wrote. Each command is a process of its own; its time
includes Python's and MLflow's imports. Run the benchmark from the checkout:

    python benchmarks/scale.py --runs 10000
    python benchmarks/scale.py --runs 10000 --sweeps 10
    python benchmarks/scale.py --runs 10000 --postgresql
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
import time
import uuid
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any

from machine import CHECKOUT, save_numbers

sys.path[:0] = [str(CHECKOUT), str(CHECKOUT / "tests")]

from mlflow.entities import Param  # noqa: E402 - those below are found beside the checkout
from mlflow.store.tracking.dbmodels import models  # noqa: E402
from plans import Driver  # noqa: E402
from postgres import postgres_server  # noqa: E402
from rich.console import Console  # noqa: E402
from sqlalchemy import create_engine, insert, select, text, update  # noqa: E402

from orchestrator.flags import Locations, StudyFlags  # noqa: E402
from orchestrator.home import Home  # noqa: E402
from orchestrator.planning.loading import load_plan  # noqa: E402
from orchestrator.tracking.archive import SweepArchive  # noqa: E402
from orchestrator.tracking.projection import (  # noqa: E402
    artifact_texts,
    mlflow_metrics,
    run_name,
    run_params,
    run_tags,
)
from orchestrator.tracking.recording import cell_record, plan_record  # noqa: E402
from orchestrator.tracking.restoring import restore_store  # noqa: E402
from orchestrator.tracking.tracker import Tracker  # noqa: E402
from reports.store import home_store_uri, open_store  # noqa: E402
from search_spaces.schema import Phase  # noqa: E402
from trainables.databases import database_path  # noqa: E402
from trainables.run.record import Record  # noqa: E402

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from sqlalchemy import Connection, RowMapping

    from orchestrator.planning.loading import LoadedPlan
    from orchestrator.sweeping.sweep import Sweep
    from trainables.run.result import RunResult
    from trainables.run.spec import RunSpec

TRIALS = 30
"""Number of trials of each sweep's search."""

SCENARIOS = [f"symmetric-0.{tenths}" for tenths in range(1, 9)]
"""Scenarios of the study."""

CELLS = 6 * len(SCENARIOS)
"""Number of cells of each sweep: on each scenario, NAL with two choices of values, and others."""

STUDY = f"""\
title: a study with many runs
dataset: digits
backbone: {{name: mlp, hidden: [16]}}
scenarios: [{", ".join(SCENARIOS)}]
recipe: {{epochs: 20, batch_size: 32, learning_rate: 0.05, window: 3}}
methods: [ce, gce, sce, elr, nal]
tune: [nal]
reference:
  nal: {{lambda: 0.5, alpha: 0.9}}
search:
  trials: {TRIALS}
  seed: 80000
  hold_out: 0.3
  space:
    nal:
      lambda: {{low: 0.05, high: 20, log: true}}
      alpha: {{low: 0.5, high: 0.99}}
select: {{candidates: 2, seeds: [90000, 90001]}}
confirm: {{seeds: [0, 1], hold_out: true}}
"""

SYNCED_RUNS = 100
"""Number of runs that `sync` writes to an empty store."""

OUT_SUFFIXES = ("md", "tex", "csv", "html", "json", "txt")
"""Suffixes of the files that `report` writes."""

ROWS_PER_INSERT = 10_000


def sweep_flags(study_path: Path, number: int, seeds: int) -> StudyFlags:
    """Return the flags of one of several sweeps, which differ in their weight decay.

    Args:
        study_path: path of the study.
        number: number of the sweep, from 0.
        seeds: number of seeds of each cell.
    """
    sets = (f"recipe.weight_decay={(number + 1) * 1e-5:g}",)
    return StudyFlags(study=str(study_path), seeds=seeds, sets=sets)


def recorded_result(home: Home, digest: str) -> RunResult:
    """Return the recorded result of a run that has ended."""
    result = Record(home.path, digest).read_result()
    if result is None:
        raise ValueError(f"run {digest[:12]} has not ended")
    return result


def store_sweep(loaded: LoadedPlan, sweep: Sweep, home: Home, uri: str) -> None:
    """Write a recorded sweep to an MLflow store.

    The tracker writes all runs of the search and select phases, and the first run of each cell.
    The other runs of a cell are copies of the first.
    """
    plan, study_yaml = plan_record(sweep, loaded.loaded_study), loaded.loaded_study.to_yaml()
    SweepArchive.of(home.path, plan.sweep).write(plan, study_yaml)
    tracker = Tracker(uri, home.artifact_dir_for(uri), plan.study)
    tracker.start_sweep(plan, study_yaml)
    for digest, phase in sweep.run_phases.items():
        if phase is not Phase.CONFIRM:
            tracker.record(recorded_result(home, digest), phase)
    engine = create_engine(uri)
    for cell in sweep.cells:
        first_spec, *other_specs = cell.seed_group.specs
        cell_row = cell_record(cell, loaded.loaded_study, sweep.plan.sample_count)
        tracker.record(recorded_result(home, first_spec.digest), Phase.CONFIRM, cell_row)
        with engine.begin() as database:
            copy_run(database, plan.sweep, first_spec.digest, other_specs)
    engine.dispose()


def copy_run(database: Connection, sweep: str, digest: str, specs: Sequence[RunSpec]) -> None:
    """Insert copies of an MLflow run under the names, digests and seeds of other runs.

    Args:
        database: connection to MLflow's database.
        sweep: digest of the sweep of all these runs.
        digest: digest of the run that is copied.
        specs: specs of the other runs.
    """
    run_table, tag_table = models.SqlRun.__table__, models.SqlTag.__table__
    run_ids_of = {
        key: select(tag_table.c.run_uuid).where(tag_table.c.key == key, tag_table.c.value == value)
        for key, value in (("nal.digest", digest), ("nal.sweep", sweep))
    }
    query = select(run_table)
    for run_ids in run_ids_of.values():
        query = query.where(run_table.c.run_uuid.in_(run_ids))
    (run,) = database.execute(query).mappings()
    copies = [(uuid.uuid4().hex, spec) for spec in specs]
    insert_rows(database, run_table, (copied_run(run, run_id, spec) for run_id, spec in copies))
    for model in (models.SqlTag, models.SqlParam, models.SqlLatestMetric, models.SqlMetric):
        table = model.__table__
        own_rows = select(table).where(table.c.run_uuid == run["run_uuid"])
        rows = database.execute(own_rows).mappings().all()
        insert_rows(
            database,
            table,
            (copied_value(row, run_id, spec) for run_id, spec in copies for row in rows),
        )


def insert_rows(database: Connection, table: Any, rows: Iterator[dict[str, Any]]) -> None:  # noqa: ANN401 - SQLAlchemy types tables of models loosely
    """Insert rows into a table, some thousand at a time."""
    batch: list[dict[str, Any]] = []
    for row in rows:
        batch.append(row)
        if len(batch) == ROWS_PER_INSERT:
            database.execute(insert(table), batch)
            batch = []
    if batch:
        database.execute(insert(table), batch)


def copied_run(run: RowMapping, run_id: str, spec: RunSpec) -> dict[str, Any]:
    """Return the row of an MLflow run that is a copy of another run."""
    address = run["artifact_uri"].replace(run["run_uuid"], run_id)
    name = run_name(spec, Phase.CONFIRM)
    return {**run, "run_uuid": run_id, "name": name, "artifact_uri": address}


def copied_value(row: RowMapping, run_id: str, spec: RunSpec) -> dict[str, Any]:
    """Return a tag, parameter or metric of an MLflow run that is a copy of another run."""
    own_values = {
        "nal.digest": spec.digest,
        "mlflow.runName": run_name(spec, Phase.CONFIRM),
        "seed": spec.seeds.init,
    }
    value = own_values.get(row["key"], row["value"])
    return {
        **row,
        "run_uuid": run_id,
        "value": str(value) if isinstance(row["value"], str) else value,
    }


def forget_run(home: Home, uri: str, digest: str) -> None:
    """Delete the record of a run, and mark its MLflow runs as incomplete."""
    shutil.rmtree(Record(home.path, digest).folder)
    engine = create_engine(uri)
    run_table, tag_table = models.SqlRun.__table__, models.SqlTag.__table__
    run_ids = select(tag_table.c.run_uuid).where(
        tag_table.c.key == "nal.digest", tag_table.c.value == digest
    )
    with engine.begin() as database:
        database.execute(
            update(run_table).where(run_table.c.run_uuid.in_(run_ids)).values(status="RUNNING")
        )
    engine.dispose()


def command_costs(title: str, folder: Path, *words: object) -> dict[str, float]:
    """Run a command, and return its wall time, its CPU time and its peak memory by title.

    Raises:
        subprocess.CalledProcessError: if the command fails.
    """
    command = [sys.executable, "-m", "orchestrator", *map(str, words)]
    start = time.perf_counter()
    with (folder / "output.txt").open("w") as output:
        process = subprocess.Popen(
            command,
            env={**os.environ, "PYTHONPATH": str(CHECKOUT), "MLFLOW_DISABLE_TELEMETRY": "true"},
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
        )
        _, status, usage = os.wait4(process.pid, 0)
    seconds = time.perf_counter() - start
    if code := os.waitstatus_to_exitcode(status):
        print((folder / "output.txt").read_text(), file=sys.stderr)
        raise subprocess.CalledProcessError(code, command)
    costs = {
        f"{title}: seconds": round(seconds, 1),
        f"{title}: CPU seconds": round(usage.ru_utime + usage.ru_stime, 1),
        f"{title}: peak memory, MB": round(usage.ru_maxrss * 1024 / 1e6),
    }
    print(costs, flush=True)
    return costs


def sync_costs(home: Home, folder: Path) -> dict[str, float]:
    """Return the CPU time per run of `sync`, and of the calls of MLflow that write the same runs.

    Args:
        home: home folder with a recorded sweep of about `SYNCED_RUNS` runs.
        folder: empty folder for two stores.
    """
    seconds = {}
    digests = [path.parent.name for path in home.path.glob("runs/*/result.json")]
    for name in ("MLflow", "sync"):
        uri = f"sqlite:///{folder / name}.db"
        open_store(uri)  # not part of the time: the creation of the database
        start = time.process_time()
        if name == "sync":
            restore_store(home, uri)
        else:
            results = [recorded_result(home, digest) for digest in digests]
            write_bare(uri, folder / "bare-artifacts", results)
        seconds[name] = (time.process_time() - start) / len(digests)
    return {
        "sync: runs": len(digests),
        "sync: CPU seconds per run": round(seconds["sync"], 4),
        "sync: CPU seconds per run of MLflow's own calls": round(seconds["MLflow"], 4),
        "sync: ratio": round(seconds["sync"] / seconds["MLflow"], 2),
    }


def write_bare(uri: str, artifact_dir: Path, results: Sequence[RunResult]) -> None:
    """Write runs to an MLflow store by MLflow's own calls, four for each run."""
    client = open_store(uri)
    experiment_id = client.create_experiment("bare", artifact_location=artifact_dir.as_uri())
    for result in results:
        tags = run_tags(result, Phase.CONFIRM, "bare")
        run_id = client.create_run(
            experiment_id, tags=tags, run_name=run_name(result.spec, Phase.CONFIRM)
        ).info.run_id
        with tempfile.TemporaryDirectory() as folder:
            for name, text in artifact_texts(result).items():
                Path(folder, name).write_text(text)
            client.log_artifacts(run_id, folder)
        params = [Param(name, value) for name, value in run_params(result.spec).items()]
        client.log_batch(run_id, metrics=mlflow_metrics(result), params=params)
        client.set_terminated(run_id)


def main() -> None:
    """Build a store, measure the commands, and save the numbers."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=10_000)
    parser.add_argument("--sweeps", type=int, default=1)
    parser.add_argument(
        "--postgresql",
        action="store_true",
        help="write to a PostgreSQL server, started for this, instead of an SQLite file",
    )
    arguments = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="nal-benchmark-"))
    store = "postgresql" if arguments.postgresql else "sqlite"
    try:
        with postgres_server() if arguments.postgresql else nullcontext() as database:
            numbers = measure(folder, arguments.runs, arguments.sweeps, database)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    name = f"scale-{arguments.runs}-in-{arguments.sweeps}-{store}"
    save_numbers(name, numbers, ("mlflow", "sqlalchemy", "optuna"))


def measure(folder: Path, runs: int, sweeps: int, database: str | None) -> dict[str, Any]:
    """Build a store with recorded runs, and return the costs of the commands by title.

    Args:
        folder: empty folder.
        runs: approximate number of runs.
        sweeps: number of sweeps of one study that these runs belong to.
        database: URI of an empty database; None for the store of the home folder.
    """
    study_path = folder / "many.yaml"
    study_path.write_text(STUDY)
    home = Home(folder / "home")
    uri = database or home_store_uri(home.path)
    locations = Locations(home_dir=home.path, tracking_uri=database)
    home.create()
    open_store(uri)
    seeds = (runs // sweeps - TRIALS - 4) // CELLS
    console = Console(quiet=True)
    for number in range(sweeps):
        flags = sweep_flags(study_path, number, seeds)
        loaded = load_plan(flags, locations, console, may_write=True)
        driver = Driver(loaded.plan, home.path).run()
        store_sweep(loaded, driver.sweep, home, uri)
        print(f"sweep {number + 1} of {sweeps} is recorded", flush=True)
    place = ["--home", home.path, *(["--tracking-uri", database] if database else [])]
    sweep_words = [study_path, "--seeds", seeds, "--set", *flags.sets, *place]
    out_words = [word for suffix in OUT_SUFFIXES for word in ("--out", folder / f"table.{suffix}")]
    command_costs("first look", folder, "sweep", *sweep_words)  # writes means, tables and states
    numbers: dict[str, Any] = {
        "runs": len(list(home.path.glob("runs/*/result.json"))),
        "sweeps": sweeps,
        "store, MB": round(store_bytes(uri) / 1e6),
        **command_costs("finished sweep typed again", folder, "sweep", *sweep_words),
        **command_costs(
            "report", folder, "report", "many", "--paper", "--pairs", *out_words, *place
        ),
    }
    forget_run(home, uri, driver.sweep.cells[0].seed_group.specs[-1].digest)
    numbers |= command_costs("report, one run missing", folder, "report", "many", *place)
    small_home = Home(folder / "small-home")
    small_home.create()
    small_flags = sweep_flags(study_path, 0, (SYNCED_RUNS - TRIALS - 4) // CELLS)
    small_locations = Locations(home_dir=small_home.path)
    loaded = load_plan(small_flags, small_locations, console, may_write=True)
    sweep = Driver(loaded.plan, small_home.path).run().sweep
    SweepArchive.of(small_home.path, loaded.plan.digest).write(
        plan_record(sweep, loaded.loaded_study), loaded.loaded_study.to_yaml()
    )
    return numbers | sync_costs(small_home, folder)


def store_bytes(uri: str) -> int:
    """Return the size of an SQLite file or a PostgreSQL database."""
    if path := database_path(uri):
        return path.stat().st_size
    engine = create_engine(uri)
    with engine.connect() as database:
        size = database.execute(text("SELECT pg_database_size(current_database())")).scalar_one()
    engine.dispose()
    return int(size)


if __name__ == "__main__":
    main()
