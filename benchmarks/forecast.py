"""Benchmark of the forecast: a sweep in a new home folder, its plan's time beside what it took.

The time left that the sweep writes is compared too, at a quarter, half and three quarters of its
time. Run the benchmark from the checkout, on a machine that does nothing else:

    python benchmarks/forecast.py digits
    python benchmarks/forecast.py digits --engine inline
    python benchmarks/forecast.py benchmarks/small-resnet.yaml --data-dir FOLDER

FOLDER holds CIFAR-10, or `train/<class>/` and `test/<class>/` with its pictures.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

from machine import CHECKOUT, save_numbers

sys.path.insert(0, str(CHECKOUT))

from orchestrator.watching.progress_record import read_progress

if TYPE_CHECKING:
    from orchestrator.watching.progress_record import ProgressRecord

POLL_SECONDS = 0.5
"""Time between two looks at the progress file, in seconds."""
COMPARED_FRACTIONS = (0.25, 0.5, 0.75)
"""Fractions of the sweep's time at which the time left is compared."""


def follow_sweep(study: str, flags: list[str], home: Path) -> list[ProgressRecord]:
    """Carry out a sweep, and return its progress as it was written, in order.

    Args:
        study: name of the study.
        flags: further flags of the command `sweep`.
        home: new home folder.

    Raises:
        CalledProcessError: if the sweep fails.
    """
    command = [sys.executable, "-m", "orchestrator", "sweep", study, "--yes", "--home", str(home)]
    records: list[ProgressRecord] = []
    with subprocess.Popen(
        [*command, *flags],
        cwd=CHECKOUT,
        env=os.environ | {"PYTHONPATH": str(CHECKOUT)},
        stdout=subprocess.DEVNULL,
    ) as process:
        while True:
            has_ended = process.poll() is not None
            for folder in home.glob("sweeps/*/"):
                record = read_progress(folder)
                if record is not None and record not in records[-1:]:
                    records.append(record)
            if has_ended:
                break
            time.sleep(POLL_SECONDS)
    if process.returncode:
        raise subprocess.CalledProcessError(process.returncode, command)
    return records


def compare(records: list[ProgressRecord]) -> dict[str, object]:
    """Return the forecast beside what the sweep took, and the time left at some of its moments.

    Args:
        records: progress of the sweep in order; the last one was written at its end.
    """
    end = records[-1].last_start
    numbers: dict[str, object] = {
        "runs": end.ended_count,
        "forecast, s": round(end.forecast_seconds, 1),
        "taken, s": round(end.elapsed_seconds, 1),
        "forecast / taken": round(end.forecast_seconds / end.elapsed_seconds, 3),
    }
    for fraction in COMPARED_FRACTIONS:
        moment = fraction * end.elapsed_seconds
        record = min(records, key=lambda each: abs(each.last_start.elapsed_seconds - moment))
        left = end.elapsed_seconds - record.last_start.elapsed_seconds
        low, high = record.seconds_left_range
        name = f"at {100 * fraction:.0f} %"
        numbers[f"{name}: time left / actual"] = round(record.seconds_left / left, 3)
        numbers[f"{name}: actual is in the range"] = low <= left <= high
    return numbers


def main() -> None:
    """Carry out the sweep, and print and save the numbers."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("study", help="study; all other flags are those of `sweep`")
    parser.add_argument("--engine", default="ray", help="engine that carries out the runs")
    arguments, flags = parser.parse_known_args()
    with tempfile.TemporaryDirectory() as folder:
        all_flags = [*flags, "--engine", arguments.engine]
        study = arguments.study
        if Path(study).is_file():
            study = str(Path(study).resolve())
        records = follow_sweep(study, all_flags, Path(folder, "home"))
    engine = [] if arguments.engine == "ray" else [arguments.engine]
    name = "-".join(["forecast", Path(arguments.study).stem, *engine])
    save_numbers(name, {"flags": " ".join(flags), **compare(records)}, ("torch", "ray"))


if __name__ == "__main__":
    main()
