"""Benchmark of the start of the command line: wall time of `python -m orchestrator --help`.

It is compared with `python -c pass`, the shortest possible process, and with `import torch`, for
which a command line that imports everything at its start would wait. Run the benchmark from the
checkout:

    python benchmarks/startup.py
"""

from __future__ import annotations

import statistics
import subprocess
import sys
import time

from machine import CHECKOUT, save_numbers

COMMANDS = {
    "pass": ["-c", "pass"],
    "orchestrator --help": ["-m", "orchestrator", "--help"],
    "orchestrator studies": ["-m", "orchestrator", "studies"],
    "import torch": ["-c", "import torch"],
}
"""Arguments of the Python process of each measured command, by title."""
REPETITIONS = 9
"""Number of measurements of each command."""


def seconds(arguments: list[str]) -> float:
    """Return the wall time of one Python process with the given arguments, in seconds."""
    start = time.perf_counter()
    subprocess.run([sys.executable, *arguments], check=True, capture_output=True, cwd=CHECKOUT)
    return time.perf_counter() - start


def main() -> None:
    """Measure all commands in alternation, and save the numbers.

    Other processes on the machine thus slow all commands down equally.
    """
    for arguments in COMMANDS.values():
        seconds(arguments)  # the first start reads files from the disk
    measurements: dict[str, list[float]] = {name: [] for name in COMMANDS}
    for _ in range(REPETITIONS):
        for name, arguments in COMMANDS.items():
            measurements[name].append(seconds(arguments))
    numbers = {
        f"{name}, seconds (median of {REPETITIONS}; least)": [
            round(statistics.median(times), 3),
            round(min(times), 3),
        ]
        for name, times in measurements.items()
    }
    save_numbers("startup", numbers, ("typer", "torch"))


if __name__ == "__main__":
    main()
