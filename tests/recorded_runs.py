"""Home folders with real recorded runs on digits, for tests that train runs again."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from factories import make_cell, make_plan
from small_runs import complete_run, digits, recipe, runnable, short_values, with_needs

from orchestrator.home import Home
from orchestrator.tracking.archive import SweepArchive
from trainables.run.parameters import FrozenMap

if TYPE_CHECKING:
    from collections.abc import Sequence

    from trainables.run.spec import RunSpec

TESTS = Path(__file__).parent

KILLED_RUN = """
import json, os, signal, sys
from pathlib import Path
from small_runs import digits
from trainables.run.spec import RunSpec
from trainables.training.training_run import TrainingRun

spec = RunSpec.from_dict(json.load(sys.stdin))
with TrainingRun(spec, Path(sys.argv[1]), digits, "digits", checkpoint_interval_seconds=0) as run:
    run.advance()
    run.advance()
    os.kill(os.getpid(), signal.SIGKILL)
"""
"""Program that trains a run for two epochs, and is killed."""


def create_home(folder: Path) -> Home:
    """Return a new home folder."""
    home = Home(folder)
    home.create()
    return home


def record(home: Home, *specs: RunSpec) -> str:
    """Train runs in this process, and return the digest of the last one."""
    for spec in specs:
        complete_run(spec, home.path, digits, "digits")
    return specs[-1].digest


def record_killed(home: Home, spec: RunSpec) -> str:
    """Train a run in a process that is killed after two epochs, and continue it in this process."""
    killed = subprocess.run(
        [sys.executable, "-c", KILLED_RUN, str(home.path)],
        input=json.dumps(spec.to_dict()),
        env={"PYTHONPATH": f"{TESTS}:{TESTS.parent}", "PATH": ""},
        capture_output=True,
        text=True,
        check=False,
    )
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    assert complete_run(spec, home.path, digits, "digits").attempts == 2
    return spec.digest


def pmd_chain(epochs: int = 3) -> list[RunSpec]:
    """Return the specs of a run on clean labels, and of one with PMD labels drawn from it."""
    source = runnable(method="ce", scenario="clean", recipe=recipe(20), evaluate=())
    spec = runnable(method="ce", scenario="pmd-2-0.35", recipe=recipe(epochs))
    return [source, replace(spec, needs=FrozenMap({"posterior": source.digest}))]


def joint_chain(epochs: int = 4) -> list[RunSpec]:
    """Return the specs of the two stages of Joint Optimization."""
    values = {**short_values("joint", epochs), "first_label_epoch": 2}
    return with_needs(runnable(method="joint", recipe=recipe(epochs), values=values))


def write_cell(home: Home, specs: Sequence[RunSpec], **changes: Any) -> None:
    """Write the plan of a sweep of the study "digits" whose only cell has some runs."""
    cell = make_cell(
        specs[0].method,
        specs[0].scenario,
        [spec.seeds.init for spec in specs],
        digests=[spec.digest for spec in specs],
        **changes,
    )
    plan = make_plan([cell])
    SweepArchive.of(home.path, plan.sweep).write(plan, "")
