"""Where a benchmark ran, and where its numbers are kept."""

from __future__ import annotations

import json
import os
import platform
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

RESULTS = Path(__file__).resolve().parent / "results"
CHECKOUT = RESULTS.parent.parent


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor()
    return next((ln.split(":")[1].strip() for ln in lines if ln.startswith("model name")), "")


def keep(name: str, numbers: dict[str, Any], packages: tuple[str, ...]) -> None:
    """Print numbers and write them, with machine and versions, to `results/<name>.json`."""
    for key, value in numbers.items():
        print(f"{key}: {value}")
    content = {
        "benchmark": name,
        "date": datetime.now(UTC).strftime("%Y-%m-%d"),
        "machine": {
            "processor": _processor(),
            "cpus": os.cpu_count(),
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


LOAD_BEFORE = os.getloadavg()[0]
"""Runnable processes in the minute before: above 0.5 others were using the machine."""
