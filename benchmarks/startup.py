"""Benchmark of the start of the command line: wall time of `python -m orchestrator --help`.

It is compared with `python -c pass`, the shortest possible process, and with `import torch`, which
a command line that imports everything at its top would wait for. Run it from the checkout:

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
TIMES = 9
"""Number of measurements of each command."""


def seconds(arguments: list[str]) -> float:
    """Return the wall time of one Python process with these arguments."""
    start = time.perf_counter()
    subprocess.run([sys.executable, *arguments], check=True, capture_output=True, cwd=CHECKOUT)
    return time.perf_counter() - start


def main() -> None:
    """Alternate all commands, so that other processes on the machine slow them down equally."""
    for arguments in COMMANDS.values():
        seconds(arguments)  # the first start reads files from the disk
    measurements: dict[str, list[float]] = {name: [] for name in COMMANDS}
    for _ in range(TIMES):
        for name, arguments in COMMANDS.items():
            measurements[name].append(seconds(arguments))
    numbers = {
        f"{name}, seconds (median of {TIMES}; least)": [
            round(statistics.median(times), 3),
            round(min(times), 3),
        ]
        for name, times in measurements.items()
    }
    save_numbers("startup", numbers, ("typer", "torch"))


if __name__ == "__main__":
    main()
