"""Rules for imports: their direction, and the modules that may import heavy libraries."""

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
"""The only name in `trainables.lazy` whose import does not import torch."""

FORBIDDEN: dict[str, set[str]] = {
    "orchestrator": TORCH,
    "reports": {"orchestrator", "search_spaces", *TORCH},
    "search_spaces": {"orchestrator", "reports", "optuna", *TORCH},
    "trainables": PACKAGES - {"trainables"} | {"optuna", "pydantic"},
}
MAY_IMPORT_RAY = ("orchestrator/engine/", "trainables/trainable.py")
MAY_NAME_MLFLOW = (
    *("orchestrator/tracking/", "orchestrator/commands/ui.py"),
    *("reports/store.py", "reports/server_reader.py"),
)


def modules(package: str) -> list[Path]:
    return sorted((ROOT / package).rglob("*.py"))


def imports_of(path: Path) -> Iterator[tuple[int, str]]:
    """Yield the line and the top-level package of every import of a file, nested ones included."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name.partition(".")[0]) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}:{node.lineno}: a relative import"
            yield node.lineno, (node.module or "").partition(".")[0]
            if node.module == "trainables.lazy" and {alias.name for alias in node.names} - {LAZY}:
                yield node.lineno, "torch"
        elif isinstance(node, ast.Call) and getattr(node.func, "id", "") == LAZY:
            (name,) = (
                argument.value for argument in node.args if isinstance(argument, ast.Constant)
            )
            yield node.lineno, str(name).partition(".")[0]


@pytest.mark.parametrize("package", FORBIDDEN)
def test_imports_point_one_way(package: str) -> None:
    assert len(modules(package)) > 5
    wrong = [
        f"{path.relative_to(ROOT)}:{line} imports {name}"
        for path in modules(package)
        for line, name in imports_of(path)
        if name in FORBIDDEN[package]
    ]
    assert wrong == []


def lines_naming(path: Path, word: str) -> Iterator[int]:
    """Yield the lines that import a package, or name it in a string other than a docstring."""
    yield from (line for line, name in imports_of(path) if name == word)
    tree = ast.parse(path.read_text())
    docstrings = {
        id(node.value)
        for node in ast.walk(tree)
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
    }
    for node in ast.walk(tree):
        if not isinstance(node, ast.Constant) or id(node) in docstrings:
            continue
        if isinstance(node.value, str) and word in node.value:
            yield node.lineno


def modules_outside(prefixes: tuple[str, ...]) -> Iterator[Path]:
    """Yield all modules of the packages, except those whose paths begin with given prefixes."""
    for package in PACKAGES:
        for path in modules(package):
            if not str(path.relative_to(ROOT)).startswith(prefixes):
                yield path


def test_ray_is_imported_by_its_engine_and_its_workers_alone() -> None:
    wrong = [
        f"{path.relative_to(ROOT)}:{line}"
        for path in modules_outside(MAY_IMPORT_RAY)
        for line, name in imports_of(path)
        if name == "ray"
    ]
    assert wrong == []


def test_mlflow_is_named_by_what_writes_and_reads_it_alone() -> None:
    wrong = [
        f"{path.relative_to(ROOT)}:{line}"
        for path in modules_outside(MAY_NAME_MLFLOW)
        for line in lines_naming(path, "mlflow")
    ]
    assert wrong == []


@pytest.mark.parametrize(
    ("places", "name"),
    [(MAY_IMPORT_RAY, "ray"), (MAY_NAME_MLFLOW, "mlflow")],
    ids=["ray", "mlflow"],
)
def test_those_places_are_still_needed(places: tuple[str, ...], name: str) -> None:
    for place in places:
        paths = [ROOT / place] if place.endswith(".py") else sorted((ROOT / place).glob("*.py"))
        assert any(True for path in paths for _ in lines_naming(path, name)), place


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
        (["reports"], {*TORCH, "ray", "mlflow", "optuna", "pandas", "matplotlib", "scipy"}),
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
            [
                *("reports.render", "reports.store", "reports.comparison", "reports.read"),
                "reports.results",
            ],
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


CROSS_MODULE = {
    "test_architecture",
    "test_digests",
    "test_documents",
    "test_golden_figures",
    "test_golden_sweep",
    "orchestrator/engine/test_ray_cluster",
    "orchestrator/test_budget_end_to_end",
    "orchestrator/test_changed_labels",
    "orchestrator/test_conditions",
    "orchestrator/test_every_dataset",
    "orchestrator/test_inline_sweep",
    "orchestrator/test_kill",
    "orchestrator/test_methods_end_to_end",
    "orchestrator/test_needs",
    "orchestrator/test_out_of_memory",
    "orchestrator/test_outside_code",
    "orchestrator/test_own_data",
    "orchestrator/test_piped_output",
    "orchestrator/test_pmd_end_to_end",
    "orchestrator/test_postgresql",
    "orchestrator/test_random_kills",
    "orchestrator/test_repeatable_search",
    "orchestrator/test_slurm_end_to_end",
    "orchestrator/test_stopped_trials",
    "orchestrator/test_sweep_end_to_end",
    "orchestrator/test_varied_values",
    "search_spaces/test_limits",
    "search_spaces/test_overrides",
    "search_spaces/test_protocol_rules",
    "search_spaces/test_shipped_studies",
    "search_spaces/test_study_rules",
    "trainables/test_adding_a_backbone",
    "trainables/test_adding_a_dataset",
    "trainables/test_adding_a_method",
    "trainables/test_adding_label_noise",
    "trainables/test_bit_equality",
}
"""Test files of behaviours that several modules produce together; of all others, the module or
package with the same name stands at the same place."""


def test_test_files_stand_where_their_modules_stand() -> None:
    tests = ROOT / "tests"
    files = {path.relative_to(tests).with_suffix("") for path in tests.rglob("test_*.py")}
    without_module = {
        file.as_posix()
        for file in files
        if not (ROOT / file.with_name(f"{file.name.removeprefix('test_')}.py")).exists()
        and not (ROOT / file.with_name(file.name.removeprefix("test_"))).is_dir()
    }
    assert without_module == CROSS_MODULE
