"""Workers that Ray's memory monitor kills while they start."""

from __future__ import annotations

from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest
from ray.exceptions import OutOfMemoryError

from orchestrator.engine.searcher import MemoryWatcher

if TYPE_CHECKING:
    from pathlib import Path


def failed_trial(folder: Path, message: str) -> Any:
    path = folder / "error.txt"
    path.write_text(f"Failure # 1 (occurred at 2026-01-01_00-00-00)\n{message}\n")
    return SimpleNamespace(error_file=str(path))


def test_a_worker_killed_to_free_memory_is_not_taken_for_a_lost_one(tmp_path: Path) -> None:
    trial = failed_trial(
        tmp_path, "1 worker(s) were killed due to the node running low on memory. Memory on the"
    )
    with pytest.raises(OutOfMemoryError, match="low on memory"):
        MemoryWatcher().on_trial_recover(iteration=1, trials=[trial], trial=trial)


def test_a_lost_worker_is_tried_again(tmp_path: Path) -> None:
    trial = failed_trial(tmp_path, "The actor died unexpectedly before finishing this task.")
    MemoryWatcher().on_trial_recover(iteration=1, trials=[trial], trial=trial)
    trial.error_file = None
    MemoryWatcher().on_trial_recover(iteration=1, trials=[trial], trial=trial)
