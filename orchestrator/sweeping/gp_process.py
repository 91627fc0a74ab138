"""Process that proposes values with a Gaussian process, so that the driver need not import torch.

Requests and answers are pickled, one after the other, on standard input and output. The process
ends when its input is closed, that is, at the latest with the driver.
"""

from __future__ import annotations

import os
import pickle
import subprocess
import sys
import tempfile
import weakref
from contextlib import suppress
from functools import cache
from typing import IO, TYPE_CHECKING, cast

from orchestrator.interpreter import exclude_working_directory, module_command
from trainables.errors import NalError

if TYPE_CHECKING:
    from orchestrator.planning.plan import Values
    from orchestrator.sweeping.samplers import Request

ONE_THREAD = {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
"""Environment in which sums are the same, however many CPUs there are."""


class GpProcess:
    """The process, as the driver sees it. It is started by the first proposal."""

    def __init__(self) -> None:
        self._process: subprocess.Popen[bytes] | None = None
        self._messages: IO[bytes] | None = None

    def propose(self, request: Request) -> Values:
        """Return the proposed values.

        Args:
            request: what the proposal depends on.

        Raises:
            NalError: if the process has ended.
        """
        if self._process is None or self._process.poll() is not None:
            self._process = self._start()
        requests = cast("IO[bytes]", self._process.stdin)
        answers = cast("IO[bytes]", self._process.stdout)
        try:
            pickle.dump(request, requests)
            requests.flush()
            values: Values = pickle.load(answers)  # noqa: S301 - from our own process
        except (OSError, EOFError, pickle.UnpicklingError) as error:
            raise NalError(
                f"the process that proposes trials has ended ({self._last_message()}): type the "
                "same command again, or choose another search.sampler"
            ) from error
        return values

    def _last_message(self) -> str:
        """Return the last line that the process has printed."""
        if self._messages is None:
            return "no message"
        self._messages.seek(0)
        lines = self._messages.read().decode(errors="replace").strip().splitlines()
        return lines[-1] if lines else "no message"

    def _start(self) -> subprocess.Popen[bytes]:
        self._messages = tempfile.TemporaryFile()  # noqa: SIM115 - lives as long as the process
        process = subprocess.Popen(  # noqa: S603 - our own interpreter
            module_command("orchestrator.sweeping.gp_process"),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._messages,
            start_new_session=True,  # Ctrl-C is for the driver, which still needs proposals
            env=os.environ | ONE_THREAD,
        )
        weakref.finalize(self, _stop, process, self._messages)
        return process


@cache
def shared_gp_process() -> GpProcess:
    """Return the process of this driver, which all its searches share."""
    return GpProcess()


def _stop(process: subprocess.Popen[bytes], messages: IO[bytes]) -> None:
    """Let the process end, wait for it, and close its files."""
    with suppress(BrokenPipeError), process, messages:
        pass


def answer_requests(requests: IO[bytes], answers: IO[bytes]) -> None:
    """Propose values for each request until there are no more.

    Args:
        requests: stream of pickled requests.
        answers: stream of pickled values.
    """
    import optuna

    from orchestrator.sweeping.samplers import RANDOM_TRIAL_COUNT, propose_with

    while True:
        try:
            request: Request = pickle.load(requests)  # noqa: S301 - from the driver
        except EOFError:
            return
        sampler = optuna.samplers.GPSampler(
            seed=request.sampler_seed, n_startup_trials=RANDOM_TRIAL_COUNT
        )
        pickle.dump(propose_with(sampler, request), answers)
        answers.flush()


if __name__ == "__main__":
    exclude_working_directory()
    sys.stdout, answers = sys.stderr, sys.stdout  # nothing else may be printed among the answers
    answer_requests(sys.stdin.buffer, answers.buffer)
