"""Fixtures of all tests: nothing is remembered in the user's own folders or from other tests."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import pytest

from trainables import extensions

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


LONGEST_FILES = (
    "test_engine.py",
    "test_random_kills.py",
    "test_slurm_end_to_end.py",
    "test_kill.py",
    "test_every_dataset.py",
    "test_outside_code.py",
    "test_sweep_end_to_end.py",
    "test_full_disk.py",
    "test_stopped_trials.py",
    "test_budget_end_to_end.py",
    "test_reproduce.py",
    "test_inline_sweep.py",
    "test_methods_end_to_end.py",
    "test_pmd_end_to_end.py",
    "test_changed_labels.py",
    "test_classifier.py",
    "test_approval.py",
)
"""Files whose slow tests take minutes, the longest first."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with the longest files, so that no worker is left alone with one at the end."""
    rank = {name: number for number, name in enumerate(LONGEST_FILES)}
    items.sort(key=lambda item: rank.get(item.path.name, len(rank)))


@pytest.fixture(scope="session", autouse=True)
def state_folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Point `XDG_STATE_HOME` to an empty folder, also for processes that tests start."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_STATE_HOME", str(tmp_path_factory.mktemp("state")))
        yield


@pytest.fixture
def known_cost(monkeypatch: pytest.MonkeyPatch) -> None:
    """Give the cost of a run, for whose measurement another process imports torch."""
    from orchestrator.planning import cost
    from trainables.training.cost import Cost

    known = Cost(0.001, 1e-6, 10**6, 1.75, "cpu")
    monkeypatch.setattr(cost, "_measure_in_subprocess", lambda *_: known)


@pytest.fixture
def no_code_loaded(
    monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """Forget the files that this process has executed, and those that other tests have allowed."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path_factory.mktemp("state")))
    for name in ("_executed_files", "_modules"):
        monkeypatch.setattr(extensions, name, {})


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder for installed packages, which are forgotten after the test."""
    folder = tmp_path / "site"
    folder.mkdir()
    monkeypatch.syspath_prepend(folder)
    caches = ("entry_points_of", "package_sha256", "_distributions", "_is_installed")
    for name in caches:
        getattr(extensions, name).cache_clear()
    yield folder
    for name in caches:
        getattr(extensions, name).cache_clear()
    for name, module in list(sys.modules.items()):
        values = vars(module)  # attributes of `torch.classes` are created on access
        if str(folder) in str(values.get("__path__", values.get("__file__", ""))):
            del sys.modules[name]
