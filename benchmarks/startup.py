"""How long `python -m orchestrator --help` takes, as a whole process.

Against `python -c pass`, which is the least there is, and `import torch`, which is what a command
line that imports everything at its top would wait for. Run it from the checkout:

    python benchmarks/startup.py
"""

from __future__ import annotations

import statistics
import subprocess
import sys
import time

from machine import CHECKOUT, keep

COMMANDS = {
    "pass": ["-c", "pass"],
    "orchestrator --help": ["-m", "orchestrator", "--help"],
    "orchestrator studies": ["-m", "orchestrator", "studies"],
    "import torch": ["-c", "import torch"],
}
TIMES = 9


def seconds(words: list[str]) -> float:
    """Wall time of one process."""
    begun = time.perf_counter()
    subprocess.run([sys.executable, *words], check=True, capture_output=True, cwd=CHECKOUT)
    return time.perf_counter() - begun


def main() -> None:
    """Take turns, so that whatever else the machine does meets all alike."""
    for words in COMMANDS.values():
        seconds(words)  # files come from the disk the first time
    taken: dict[str, list[float]] = {name: [] for name in COMMANDS}
    for _ in range(TIMES):
        for name, words in COMMANDS.items():
            taken[name].append(seconds(words))
    numbers = {
        f"{name}, seconds (median of {TIMES}; least)": [
            round(statistics.median(times), 3),
            round(min(times), 3),
        ]
        for name, times in taken.items()
    }
    keep("startup", numbers, ("typer", "torch"))


if __name__ == "__main__":
    main()
