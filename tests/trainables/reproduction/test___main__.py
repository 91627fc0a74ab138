"""The program that the script of a bundle runs."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import pytest
from command_line import CHECKOUT

INTERRUPTED = """
import os, sys, tempfile
from trainables.reproduction import __main__ as program

def _reproduce(arguments):
    with tempfile.TemporaryDirectory() as folder:
        print(folder, flush=True)
        os.kill(os.getpid(), int(arguments.run[0]))

program._reproduce = _reproduce
program.main()
"""


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_an_interrupt_leaves_no_folder(number: signal.Signals) -> None:
    done = subprocess.run(
        [sys.executable, "-c", INTERRUPTED, "record", str(int(number))],
        cwd=CHECKOUT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (130, "")
    assert not Path(done.stdout.strip()).exists()
