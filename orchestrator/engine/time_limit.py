"""Time limit of the runs that an engine carries out."""

from __future__ import annotations

import math
import signal
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import FrameType


MIN_SECONDS = 0.001
"""Smallest time limit in seconds, since 0 would switch the timer off."""


@contextmanager
def time_limit(seconds: float) -> Iterator[None]:
    """Interrupt the `with` block after some time as Ctrl-C would, and go on behind the block.

    The signal SIGALRM is used, so this must be the main thread.

    Args:
        seconds: time limit in seconds; infinite for none.
    """
    if math.isinf(seconds):
        yield
        return
    has_expired = False

    def interrupt(_number: int, frame: FrameType | None) -> None:
        nonlocal has_expired
        has_expired = True
        # An engine handles an interrupt itself, since a library may swallow the exception.
        handler = signal.getsignal(signal.SIGTERM)
        if not callable(handler):
            raise KeyboardInterrupt
        handler(signal.SIGTERM, frame)

    previous_handler = signal.signal(signal.SIGALRM, interrupt)
    try:
        try:
            signal.setitimer(signal.ITIMER_REAL, max(seconds, MIN_SECONDS))
            yield
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0.0)
    except KeyboardInterrupt:
        if not has_expired:
            raise
    finally:
        signal.signal(signal.SIGALRM, previous_handler)
