"""Imports point one way, and nobody pays for a library that it does not use."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).parents[1]
PACKAGES = {"orchestrator", "reports", "search_spaces", "trainables"}
TORCH = {"torch", "torchvision", "timm"}
LAZY = "LazyModule"
"""The one name in `trainables.lazy` that is no part of torch."""

MAY_NOT: dict[str, set[str]] = {
    "orchestrator": TORCH,
    "reports": {"orchestrator", "search_spaces", *TORCH},
    "search_spaces": {"orchestrator", "reports", "optuna", *TORCH},
    "trainables": PACKAGES - {"trainables"} | {"optuna", "pydantic"},
}
KNOW_RAY = ("orchestrator/engine/", "trainables/trainable.py")
KNOW_MLFLOW = (
    *("orchestrator/tracking/", "orchestrator/commands/ui.py"),
    *("reports/store.py", "reports/read.py"),
)


def modules(package: str) -> list[Path]:
    return sorted((ROOT / package).rglob("*.py"))


def imported(path: Path) -> Iterator[tuple[int, str]]:
    """Line and top-level package of every import, wherever in the file it stands."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name.partition(".")[0]) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}:{node.lineno}: a relative import"
            yield node.lineno, (node.module or "").partition(".")[0]
            if node.module == "trainables.lazy" and {one.name for one in node.names} - {LAZY}:
                yield node.lineno, "torch"
        elif isinstance(node, ast.Call) and getattr(node.func, "id", "") == LAZY:
            (name,) = (word.value for word in node.args if isinstance(word, ast.Constant))
            yield node.lineno, str(name).partition(".")[0]


@pytest.mark.parametrize("package", MAY_NOT)
def test_imports_point_one_way(package: str) -> None:
    assert len(modules(package)) > 5
    wrong = [
        f"{path.relative_to(ROOT)}:{line} imports {name}"
        for path in modules(package)
        for line, name in imported(path)
        if name in MAY_NOT[package]
    ]
    assert wrong == []


def named(path: Path, word: str) -> Iterator[int]:
    """Lines that import a package, or have its name in a string that is no docstring."""
    yield from (line for line, name in imported(path) if name == word)
    tree = ast.parse(path.read_text())
    prose = {
        id(node.value)
        for node in ast.walk(tree)
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
    }
    for node in ast.walk(tree):
        is_text = isinstance(node, ast.Constant) and isinstance(node.value, str)
        if is_text and id(node) not in prose and word in node.value:
            yield node.lineno


def outside(places: tuple[str, ...]) -> Iterator[Path]:
    """The modules of all packages but those in some places."""
    for package in PACKAGES:
        for path in modules(package):
            if not str(path.relative_to(ROOT)).startswith(places):
                yield path


def test_ray_is_imported_by_its_engine_and_its_workers_alone() -> None:
    wrong = [
        f"{path.relative_to(ROOT)}:{line}"
        for path in outside(KNOW_RAY)
        for line, name in imported(path)
        if name == "ray"
    ]
    assert wrong == []


def test_mlflow_is_named_by_what_writes_and_reads_it_alone() -> None:
    wrong = [
        f"{path.relative_to(ROOT)}:{line}"
        for path in outside(KNOW_MLFLOW)
        for line in named(path, "mlflow")
    ]
    assert wrong == []


@pytest.mark.parametrize(
    ("places", "name"), [(KNOW_RAY, "ray"), (KNOW_MLFLOW, "mlflow")], ids=["ray", "mlflow"]
)
def test_those_places_are_still_needed(places: tuple[str, ...], name: str) -> None:
    for place in places:
        paths = [ROOT / place] if place.endswith(".py") else sorted((ROOT / place).glob("*.py"))
        assert any(True for path in paths for _ in named(path, name)), place


@pytest.mark.parametrize(
    ("names", "without"),
    [
        (["orchestrator.cli"], {*TORCH, "ray", "mlflow", "optuna", "pandas", "pydantic"}),
        (
            [
                *("trainables.methods", "trainables.backbones", "trainables.noise"),
                *("trainables.datasets", "trainables.run.spec", "trainables.run.result"),
                *(
                    "trainables.run_data.realisation",
                    "trainables.run.record",
                    "trainables.training.job",
                ),
            ],
            {*TORCH, "ray", "mlflow", "optuna", "pandas", "pydantic", "sklearn"},
        ),
        (["search_spaces.loader"], {*TORCH, "ray", "mlflow", "optuna", "pandas"}),
        pytest.param(
            [
                "orchestrator.commands.sweep",
                "orchestrator.commands.train",
                "orchestrator.sweeping.sweep",
            ],
            {*TORCH, "ray", "mlflow"},
            marks=pytest.mark.slow,
        ),
        pytest.param(
            ["reports.render", "reports.store", "reports.comparison", "reports.read"],
            {*TORCH, "ray", "optuna"},
            marks=pytest.mark.slow,
        ),
        pytest.param(
            ["trainables.training.training_run", "trainables.training.probe"],
            {"ray", "mlflow", "optuna", "pydantic", "pandas"},
            marks=pytest.mark.slow,
        ),
        pytest.param(
            ["trainables.trainable"], {*TORCH, "mlflow", "optuna"}, marks=pytest.mark.slow
        ),
    ],
    ids=lambda value: value[0] if isinstance(value, list) else "",
)
def test_what_is_imported_with_it(names: list[str], without: set[str]) -> None:
    code = "import sys; {}; print(*(name for name in sys.modules if '.' not in name))"
    done = subprocess.run(
        [sys.executable, "-c", code.format("; ".join(f"import {name}" for name in names))],
        capture_output=True,
        text=True,
        cwd=ROOT,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    loaded = set(done.stdout.split())
    assert {name.partition(".")[0] for name in names} <= loaded
    assert not loaded & without
