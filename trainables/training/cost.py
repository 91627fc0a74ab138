"""Cost of a run on a machine, as `probe` measures it; importing this module needs no torch."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Cost:
    """Measured with one run alone.

    Attributes:
        step_seconds: a training step of a whole batch.
        evaluation_seconds: evaluation of one sample.
        checkpoint_bytes: a checkpoint without the method's per-sample state.
        device: where it was measured.
        devices: how many such devices the machine has; 1 for the CPU.
    """

    step_seconds: float
    evaluation_seconds: float
    checkpoint_bytes: int
    device: str
    devices: int = 1
