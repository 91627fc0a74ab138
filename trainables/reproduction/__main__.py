"""Train recorded runs again and compare them: `python -m trainables.reproduction RECORD RUN...`.

It needs the packages that training needs, and neither Ray nor MLflow: the script of a bundle calls
it where nothing else is installed.
"""

from __future__ import annotations

import argparse
import signal
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from trainables.datasets import download_missing
from trainables.errors import NalError
from trainables.extensions import is_extension
from trainables.reproduction.comparison import overall_verdict
from trainables.reproduction.process import RETRAINING_MODULE, Retraining
from trainables.reproduction.recorded import RecordedRun, check_epochs, read_with_needs
from trainables.texts import printable_message, visible

if TYPE_CHECKING:
    from collections.abc import Mapping

    from trainables.reproduction.comparison import Comparison, Row


def print_line(text: str) -> None:
    """Print a line on standard output at once."""
    sys.stdout.write(f"{visible(text)}\n")
    sys.stdout.flush()


class ProgressLines:
    """Lines on standard output about the progress of runs (listener)."""

    def __init__(self, epochs: int | None) -> None:
        """Create the listener.

        Args:
            epochs: number of epochs to compare; None for all.
        """
        self._epochs = epochs

    def on_environment(self, environment: Mapping[str, str]) -> None:
        """Print where the runs are trained."""
        print_line(", ".join(f"{name} {value}" for name, value in environment.items()))

    def on_start(self, run: RecordedRun) -> None:
        """Print what is trained."""
        count = run.compared_epochs(self._epochs)
        print_line(f"training {run.spec.title}, {run.digest[:12]}, epochs 1 to {count}")

    def on_row(self, run: RecordedRun, row: Row) -> None:
        """Print ten lines for each run."""
        count = run.compared_epochs(self._epochs)
        if int(row["epoch"]) % max(1, count // 10) == 0:
            print_line(f"  epoch {int(row['epoch'])} of {count}")

    def on_comparison(self, comparison: Comparison) -> None:
        """Print the verdict on a run."""
        for line in comparison.lines():
            print_line(line)


def main() -> None:
    """Train the runs that the command line names again, and exit with the code of the verdict."""
    parser = argparse.ArgumentParser(
        prog="python -m trainables.reproduction",
        description="Train recorded runs again and compare them with their records. Exit code: 0 "
        "identical, 3 within tolerance, 4 differs, 5 altered.",
    )
    parser.add_argument("record", type=Path, help="folder with the records, in runs/")
    parser.add_argument("run", nargs="+", help="digest of a run")
    parser.add_argument("--data-dir", type=Path, default=Path("data"), help="folder of datasets")
    parser.add_argument("--cache-dir", type=Path, default=Path("cache"), help="decoded datasets")
    parser.add_argument("--epochs", type=int, help="compare the first epochs only")
    arguments = parser.parse_args()
    for number in (signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(number) is not signal.SIG_IGN:  # as under nohup
            signal.signal(number, signal.default_int_handler)
    try:
        sys.exit(_reproduce(arguments))
    except KeyboardInterrupt:
        sys.exit(130)
    except NalError as error:
        sys.stderr.write(f"error: {printable_message(str(error))}\n")
        sys.exit(error.exit_code)


def _reproduce(arguments: argparse.Namespace) -> int:
    """Train the runs again, and return the exit code."""
    runs = read_with_needs(arguments.record, arguments.run)
    check_epochs(runs, arguments.epochs)
    for name in {run.spec.dataset for run in runs if not is_extension(run.spec.dataset)}:
        download_missing(name, arguments.data_dir, lambda _received, _total: None)
    with tempfile.TemporaryDirectory() as home:
        retraining = Retraining(
            recorded_home=arguments.record.absolute(),
            home=Path(home),
            data_dir=arguments.data_dir.absolute(),
            cache_dir=arguments.cache_dir.absolute(),
            epochs=arguments.epochs,
            command=[sys.executable, "-P", "-m", RETRAINING_MODULE],
        )
        comparisons = retraining.carry_out(runs, ProgressLines(arguments.epochs))
    verdict = overall_verdict(comparison.verdict for comparison in comparisons)
    print_line(f"verdict: {verdict}")
    return verdict.exit_code


if __name__ == "__main__":
    main()
