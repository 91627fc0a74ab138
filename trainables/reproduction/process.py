"""The process in which recorded runs are trained again, and its messages."""

from __future__ import annotations

import json
import os
import subprocess
import tempfile
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from trainables.errors import NalError, UserError
from trainables.reproduction.comparison import Comparison, Row, compare
from trainables.run.record import Record
from trainables.training.job import gpu_environment

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path
    from typing import IO

    from trainables.reproduction.recorded import RecordedRun

RETRAINING_MODULE = "trainables.reproduction.retraining"
"""Module that the process runs."""
END_SECONDS = 10.0
"""Time that the process has to end after it was asked to, in seconds."""


class Listener(Protocol):
    """Callbacks on the progress of runs that are trained again."""

    def on_environment(self, environment: Mapping[str, str]) -> None:
        """Handle the environment of the process that trains, before it trains a run."""

    def on_start(self, run: RecordedRun) -> None:
        """Handle the start of a run."""

    def on_row(self, run: RecordedRun, row: Row) -> None:
        """Handle the metrics of a run after an epoch."""

    def on_comparison(self, comparison: Comparison) -> None:
        """Handle the comparison of a run with its record, after it has ended."""


@dataclass(frozen=True, slots=True)
class Retraining:
    """Where recorded runs are trained again.

    Attributes:
        recorded_home: home folder with the records, which is only read.
        home: empty home folder for the runs that are trained again.
        data_dir: folder of the datasets.
        cache_dir: folder of decoded datasets.
        epochs: number of epochs to compare; None for all.
        command: command of a process that runs `RETRAINING_MODULE`.
    """

    recorded_home: Path
    home: Path
    data_dir: Path
    cache_dir: Path
    epochs: int | None
    command: Sequence[str]

    def carry_out(self, runs: Sequence[RecordedRun], listener: Listener) -> list[Comparison]:
        """Train runs again and compare them, on a GPU if at least one of them was trained on one.

        Args:
            runs: recorded runs, each after those that it needs.
            listener: callbacks on the progress.

        Returns:
            The comparison of each run.

        Raises:
            NalError: if a run cannot be trained again.
        """
        request = {
            "recorded": str(self.recorded_home),
            "home": str(self.home),
            "data_dir": str(self.data_dir),
            "cache_dir": str(self.cache_dir),
            "runs": [
                {
                    "spec": run.spec.to_dict(),
                    "epochs": run.compared_epochs(self.epochs),
                    "labels": run.result.labels.sha256,
                }
                for run in runs
            ],
        }
        runs_by_digest = {run.digest: run for run in runs}
        environment: Mapping[str, str] = {}
        labels: dict[str, str] = {}
        comparisons: list[Comparison] = []

        def end(run: RecordedRun) -> None:
            repeated = Record(self.home, run.digest).read_result()
            comparisons.append(compare(run, repeated, labels[run.digest], environment, self.epochs))
            listener.on_comparison(comparisons[-1])

        is_gpu_hidden = not any(run.uses_gpu for run in runs)
        with _messages(self.command, request, is_gpu_hidden=is_gpu_hidden) as messages:
            for message in messages:
                if "environment" in message:
                    environment = message["environment"]
                    listener.on_environment(environment)
                    continue
                run = runs_by_digest[message["digest"]]
                if "labels" in message:
                    labels[run.digest] = message["labels"]
                    listener.on_start(run)
                    if message["labels"] != run.result.labels.sha256:
                        end(run)
                elif "row" in message:
                    listener.on_row(run, message["row"])
                else:
                    end(run)
        return comparisons


@contextmanager
def _messages(
    command: Sequence[str], request: Mapping[str, Any], *, is_gpu_hidden: bool
) -> Iterator[Iterator[dict[str, Any]]]:
    """Start the process, which is ended at the end of the context, and give its messages.

    It is in a session of its own, so that Ctrl-C reaches only the process that waits for it.
    """
    with tempfile.TemporaryFile("w+") as errors:
        process = subprocess.Popen(  # noqa: S603 - our own interpreter
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
            env=os.environ | (gpu_environment(0) if is_gpu_hidden else {}),
            start_new_session=True,
        )
        try:
            yield _read_messages(process, request, errors)
        finally:
            process.terminate()
            with suppress(subprocess.TimeoutExpired):
                process.wait(END_SECONDS)
            process.kill()
            process.wait()
            if process.stdout is not None:
                process.stdout.close()


def _read_messages(
    process: subprocess.Popen[str], request: Mapping[str, Any], errors: IO[str]
) -> Iterator[dict[str, Any]]:
    """Yield the messages of the process until it ends.

    Raises:
        NalError: if it reports an error, or dies.
    """
    assert process.stdin is not None  # noqa: S101 - pipes
    assert process.stdout is not None  # noqa: S101
    with suppress(BrokenPipeError), process.stdin:
        process.stdin.write(json.dumps(request))
    for line in process.stdout:
        message = json.loads(line)
        if "error" in message:
            raise (UserError if message["is_user_error"] else NalError)(message["error"])
        yield message
    if process.wait() != 0:
        errors.seek(0)
        last_line = (errors.read().strip().splitlines() or ["no message"])[-1]
        raise NalError(
            f"the process that trains has ended with exit code {process.returncode}: {last_line}"
        )
