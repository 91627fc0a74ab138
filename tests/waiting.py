"""Waiting of tests for what another thread or process does."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable


def wait_until(condition: Callable[[], bool], patience_seconds: float = 60.0) -> None:
    """Wait until a condition holds, and fail if it never does.

    Args:
        condition: function that returns whether the condition holds.
        patience_seconds: longest wait, in seconds.
    """
    deadline = time.monotonic() + patience_seconds
    while not condition():
        assert time.monotonic() < deadline, "the condition never held"
        time.sleep(0.005)
