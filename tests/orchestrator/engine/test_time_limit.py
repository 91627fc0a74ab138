from __future__ import annotations

import math
import os
import signal
import time

import pytest

from orchestrator.engine.dispatch import forward_interrupts
from orchestrator.engine.time_limit import time_limit


def wait_for_interrupt() -> None:
    """Wait to be interrupted; fail after a while."""
    time.sleep(30)
    pytest.fail("no interrupt")


def test_the_block_ends_after_the_time_and_the_program_goes_on() -> None:
    handler = signal.getsignal(signal.SIGALRM)
    start_time = time.monotonic()
    with time_limit(0.2):
        wait_for_interrupt()
    assert 0.15 < time.monotonic() - start_time < 10
    assert signal.getitimer(signal.ITIMER_REAL) == (0.0, 0.0)
    assert signal.getsignal(signal.SIGALRM) is handler


def test_no_time_left_ends_the_block_at_once() -> None:
    with time_limit(0.0):
        wait_for_interrupt()


@pytest.mark.parametrize("seconds", [1000.0, 3.6e8, math.inf])
def test_a_block_that_ends_in_time_is_left_alone(seconds: float) -> None:
    with time_limit(seconds):
        is_done = True
    assert is_done
    assert signal.getitimer(signal.ITIMER_REAL) == (0.0, 0.0)


def test_an_interrupt_by_the_user_is_raised() -> None:
    with pytest.raises(KeyboardInterrupt), time_limit(1000.0):
        raise KeyboardInterrupt
    with pytest.raises(ZeroDivisionError), time_limit(1000.0):
        raise ZeroDivisionError
    assert signal.getitimer(signal.ITIMER_REAL) == (0.0, 0.0)


def test_an_engine_handles_the_end_like_an_interrupt() -> None:
    interrupts: list[KeyboardInterrupt] = []
    with time_limit(0.2), forward_interrupts(interrupts.append):
        wait_for_interrupt()
    assert len(interrupts) == 1


def test_a_swallowed_interrupt_is_noticed_by_the_engine() -> None:
    interrupts: list[KeyboardInterrupt] = []

    def swallow() -> None:
        try:
            wait_for_interrupt()
        except KeyboardInterrupt:
            return

    with time_limit(0.2), forward_interrupts(interrupts.append):
        swallow()
        raise interrupts[0]


def test_the_user_can_interrupt_before_the_end() -> None:
    def interrupt() -> None:
        os.kill(os.getpid(), signal.SIGINT)
        wait_for_interrupt()

    with pytest.raises(KeyboardInterrupt), time_limit(1000.0), forward_interrupts(lambda _: None):
        interrupt()
