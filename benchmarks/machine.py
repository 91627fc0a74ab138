"""Storage of the numbers of a benchmark, with a description of the machine."""

from __future__ import annotations

import json
import os
import platform
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

from trainables.cpus import processor_name, usable_cpu_count

RESULTS = Path(__file__).resolve().parent / "results"
"""Folder of the files with the numbers of the benchmarks."""
CHECKOUT = RESULTS.parent.parent
"""Root folder of the repository."""

LOAD_BEFORE = os.getloadavg()[0]
"""Mean number of runnable processes in the minute before the benchmark started.

Above 0.5, other processes were using the machine.
"""


def save_numbers(name: str, numbers: dict[str, Any], packages: tuple[str, ...]) -> None:
    """Print a benchmark's numbers and write them to `results/<name>.json`.

    Args:
        name: name of the benchmark.
        numbers: measured numbers by title.
        packages: names of the packages whose versions are written beside the numbers.
    """
    for key, value in numbers.items():
        print(f"{key}: {value}")
    content = {
        "benchmark": name,
        "date": datetime.now(UTC).strftime("%Y-%m-%d"),
        "machine": {
            "processor": processor_name(),
            "cpus": usable_cpu_count(),
            "system": f"{platform.system()} {platform.release()}",
            "load_before": round(LOAD_BEFORE, 1),
        },
        "versions": {
            "python": platform.python_version(),
            **{package: version(package) for package in packages},
        },
        "numbers": numbers,
    }
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / f"{name}.json").write_text(json.dumps(content, indent=1) + "\n")
