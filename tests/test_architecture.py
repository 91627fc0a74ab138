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

MAY_NOT: dict[str, set[str]] = {
    "orchestrator": TORCH,
    "reports": {"orchestrator", "search_spaces", "ray", *TORCH},
    "search_spaces": {"orchestrator", "reports", "ray", "mlflow", "optuna", *TORCH},
    "trainables": PACKAGES - {"trainables"} | {"ray", "mlflow", "optuna", "pydantic"},
}
BUT = {("trainables/trainable.py", "ray")}


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
        elif isinstance(node, ast.Call) and getattr(node.func, "id", "") == "LazyModule":
            (name,) = (word.value for word in node.args if isinstance(word, ast.Constant))
            yield node.lineno, str(name).partition(".")[0]


@pytest.mark.parametrize("package", MAY_NOT)
def test_imports_point_one_way(package: str) -> None:
    assert len(modules(package)) > 5
    wrong = [
        f"{path.relative_to(ROOT)}:{line} imports {name}"
        for path in modules(package)
        for line, name in imported(path)
        if name in MAY_NOT[package] and (str(path.relative_to(ROOT)), name) not in BUT
    ]
    assert wrong == []


def test_the_exceptions_are_still_needed() -> None:
    for path, name in BUT:
        assert name in {found for _, found in imported(ROOT / path)}


@pytest.mark.parametrize(
    ("names", "without"),
    [
        (["orchestrator.cli"], {*TORCH, "ray", "mlflow", "optuna", "pandas", "pydantic"}),
        (
            [
                *("trainables.methods", "trainables.backbones", "trainables.noise"),
                *("trainables.datasets", "trainables.spec", "trainables.result"),
                *("trainables.realisation", "trainables.record"),
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
            TORCH,
            marks=pytest.mark.slow,
        ),
        pytest.param(
            ["reports.render", "reports.store", "reports.comparison", "reports.read"],
            {*TORCH, "ray", "optuna"},
            marks=pytest.mark.slow,
        ),
        pytest.param(
            ["trainables.running", "trainables.probe"],
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
