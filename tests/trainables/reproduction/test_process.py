"""The process in which runs are trained again: its messages, errors and end."""

from __future__ import annotations

import os
import sys
import time
from typing import TYPE_CHECKING

import pytest
from factories import make_result

from trainables.errors import NalError, UserError
from trainables.reproduction.process import Retraining
from trainables.reproduction.recorded import RecordedRun

if TYPE_CHECKING:
    from pathlib import Path

RUN = RecordedRun(make_result(), is_altered=False, environment={}, is_need=False)


class Silence:
    """Listener that does nothing."""

    def on_environment(self, environment: object) -> None: ...
    def on_start(self, run: object) -> None: ...
    def on_row(self, run: object, row: object) -> None: ...
    def on_comparison(self, comparison: object) -> None: ...


def carry_out(code: str, tmp_path: Path, listener: Silence | None = None) -> None:
    retraining = Retraining(
        *(tmp_path, tmp_path, tmp_path, tmp_path), None, [sys.executable, "-c", code]
    )
    retraining.carry_out([RUN], listener or Silence())


@pytest.mark.parametrize(("is_user_error", "kind"), [("True", UserError), ("False", NalError)])
def test_an_error_of_the_process_is_raised(
    tmp_path: Path, is_user_error: str, kind: type[NalError]
) -> None:
    code = (
        "import json, sys; json.load(sys.stdin);"
        f"print(json.dumps({{'error': 'no data', 'is_user_error': {is_user_error}}}))"
    )
    with pytest.raises(NalError, match=r"^no data$") as caught:
        carry_out(code, tmp_path)
    assert type(caught.value) is kind


def test_a_process_that_dies_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(NalError) as caught:
        carry_out("import sys; sys.stderr.write('one\\nlast line\\n'); sys.exit(7)", tmp_path)
    assert str(caught.value) == ("the process that trains has ended with exit code 7: last line")


def test_printed_lines_are_no_messages(tmp_path: Path) -> None:
    class Environments(Silence):
        def __init__(self) -> None:
            self.received: list[object] = []

        def on_environment(self, environment: object) -> None:
            self.received.append(environment)

    code = (
        "import os; from trainables.reproduction import retraining;"
        "retraining._train_runs = lambda _request, send: ("
        "os.system('echo started'), print('printed'), send(environment={'device': 'cpu'}));"
        "retraining.main()"
    )
    listener = Environments()
    carry_out(code, tmp_path, listener)
    assert listener.received == [{"device": "cpu"}]


def test_an_interrupt_ends_the_process(tmp_path: Path) -> None:
    class Interrupting(Silence):
        def on_environment(self, environment: object) -> None:
            raise KeyboardInterrupt(environment)

    pid_file = tmp_path / "pid"
    code = (
        "import json, os, pathlib, sys, time; json.load(sys.stdin);"
        f"pathlib.Path({str(pid_file)!r}).write_text(str(os.getpid()));"
        "print(json.dumps({'environment': {}}), flush=True); time.sleep(60)"
    )
    start = time.monotonic()
    with pytest.raises(KeyboardInterrupt):
        carry_out(code, tmp_path, Interrupting())
    assert time.monotonic() - start < 30
    with pytest.raises(ProcessLookupError):
        os.kill(int(pid_file.read_text()), 0)
