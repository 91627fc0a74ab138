from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from small_runs import recipe, runnable

from trainables.training import probe
from trainables.training.cost import Cost
from trainables.training.trainer import Trainer

ROOT = Path(__file__).parents[3]


def test_steps_are_no_part_of_the_start(monkeypatch: pytest.MonkeyPatch) -> None:
    now, step = [100.0], Trainer.step

    def slow_step(trainer: Trainer, *arguments: Any) -> Any:
        now[0] += 7
        return step(trainer, *arguments)

    monkeypatch.setattr(Trainer, "step", slow_step)
    clock = SimpleNamespace(time=lambda: now[0], perf_counter=lambda: now[0])
    monkeypatch.setattr(probe, "time", clock)
    cost = probe.measure_cost(runnable(recipe=recipe(60)), (1, 8, 8), 10, started_at=98.0)
    assert (cost.start_seconds, cost.step_seconds) == (2, 7)


def test_printed_lines_are_no_cost() -> None:
    code = (
        "import os; from trainables.training import probe\n"
        "from trainables.training.cost import Cost\n"
        "def _measure_request(request):\n"
        "    os.system('echo started'); print('printed')\n"
        "    return Cost(0.1, 0.2, 3, 4.0, 'cpu', 1)\n"
        "probe._measure_request = _measure_request; probe.main()"
    )
    process = subprocess.run(
        [sys.executable, "-c", code],
        input="{}",
        capture_output=True,
        text=True,
        cwd=ROOT,
        check=False,
    )
    assert process.returncode == 0, process.stderr
    assert Cost(**json.loads(process.stdout)).step_seconds == 0.1


@pytest.mark.slow
def test_costs_are_measured_in_a_separate_process(tmp_path: Path) -> None:
    spec = runnable(recipe=recipe(60))
    started_at = time.time()
    request = {
        "spec": spec.to_dict(),
        "image": [1, 8, 8],
        "classes": 10,
        "code": {},
        "started_at": started_at,
    }
    process = subprocess.run(
        [sys.executable, "-m", "trainables.training.probe"],
        input=json.dumps(request),
        capture_output=True,
        text=True,
        cwd=tmp_path,
        env={"PYTHONPATH": str(ROOT), "HOME": str(tmp_path)},
        check=False,
    )
    assert process.returncode == 0, process.stderr
    cost = Cost(**json.loads(process.stdout))

    assert 0.1 < cost.start_seconds < time.time() - started_at
    assert 1e-6 < cost.step_seconds < 1
    assert 1e-9 < cost.evaluation_seconds < 0.1
    # Weights, momentum and the targets of a batch: 26,251 numbers twice, 4 bytes each.
    assert cost.checkpoint_bytes == pytest.approx(2 * 4 * 26_251, rel=0.2)
    assert np.isin(cost.device.split(":")[0], ["cpu", "cuda"])
    assert list(tmp_path.iterdir()) == []
