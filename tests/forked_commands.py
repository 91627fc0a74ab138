"""Commands in processes that are forked after all imports, so that one starts within a second.

Such a process logs the epochs that it trains, and writes a checkpoint after each. A measured cost
is used again even if the machine was busy meanwhile.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

import psutil
from command_line import CHECKOUT, PATIENCE_SECONDS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

SERVER = """
import json, os, sys
from functools import partial
import mlflow.tracking.client, mlflow.store.tracking.sqlalchemy_store
import sklearn.datasets
import orchestrator.commands.sweep
from orchestrator.__main__ import main
from orchestrator.planning.load import LoadMeter
from trainables.training import training_run
from trainables.training.trainer import Trainer

log, output = sys.argv[1:]
train_epoch = Trainer.train_epoch

def train_logged_epoch(trainer, observer=None):
    row = train_epoch(trainer, observer)
    with open(log, "a") as file:
        file.write(f"{os.getpid()} {trainer.spec.digest} {trainer.epoch}\\n")
    return row

Trainer.train_epoch = train_logged_epoch
LoadMeter.free_cpus = lambda _: 64.0
training_run.MAX_CHECKPOINT_TIME_SHARE = float("inf")
training_run.TrainingRun = partial(training_run.TrainingRun, checkpoint_interval_seconds=0.0)

print("ready", flush=True)
for line in sys.stdin:
    pid = os.fork()
    if pid == 0:
        os.setsid()
        for number, flags in ((0, os.O_RDONLY), (1, os.O_WRONLY), (2, os.O_WRONLY)):
            path = output if number else os.devnull
            os.dup2(os.open(path, flags | os.O_CREAT | os.O_APPEND), number)
        sys.argv = ["orchestrator", *json.loads(line)]
        main()
    print(pid, flush=True)
    print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), flush=True)
"""


@dataclass
class CommandServer:
    """A process that forks commands.

    Attributes:
        process: the process.
        log: file to which commands append process, run and number of each epoch that they train.
        output: file to which commands print.
    """

    process: subprocess.Popen[str]
    log: Path
    output: Path

    @contextmanager
    def command(self, *words: object) -> Iterator[psutil.Process]:
        """Start a command, and kill it with SIGKILL at the end of the context.

        The context ends when all processes that the command has started have ended.
        """
        self._send(json.dumps(list(map(str, words))))
        process = psutil.Process(int(self._line()))
        yield process
        assert process.is_running(), self.output.read_text()[-2000:]
        assert process.status() != psutil.STATUS_ZOMBIE, self.output.read_text()[-2000:]
        children = process.children(recursive=True)
        process.send_signal(signal.SIGKILL)
        assert int(self._line()) == -signal.SIGKILL
        _, alive = psutil.wait_procs(children, timeout=60)
        assert not alive

    def wait_for(self, process: psutil.Process, condition: Callable[[], bool]) -> None:
        """Wait until a condition holds; a command must still be running then."""
        deadline = time.monotonic() + PATIENCE_SECONDS
        while not condition():
            assert process.is_running(), self.output.read_text()[-2000:]
            assert time.monotonic() < deadline, "the condition never held"
            time.sleep(0.005)

    def trained_epochs(self) -> list[tuple[int, str, int]]:
        """Return process, run and number of each epoch that was trained, in order."""
        lines = self.log.read_text().splitlines() if self.log.exists() else []
        return [(int(pid), digest, int(epoch)) for pid, digest, epoch in map(str.split, lines)]

    def _send(self, line: str) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(line + "\n")
        self.process.stdin.flush()

    def _line(self) -> str:
        assert self.process.stdout is not None
        return self.process.stdout.readline().strip()


@contextmanager
def command_server(folder: Path) -> Iterator[CommandServer]:
    """Start a server that forks commands, and end it at the end of the context.

    Args:
        folder: folder for the log of trained epochs and the output of the commands.
    """
    log, output = folder / "epochs", folder / "output"
    with subprocess.Popen(
        [sys.executable, "-c", SERVER, str(log), str(output)],
        cwd=CHECKOUT,
        env={**os.environ, "PYTHONPATH": str(CHECKOUT)},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        server = CommandServer(process, log, output)
        assert server._line() == "ready"
        try:
            yield server
        finally:
            process.kill()
