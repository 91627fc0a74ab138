"""The cost of a run on a machine, as measured by `probe`; this module does not import torch."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Cost:
    """Cost of a run, measured while no other run is trained.

    Attributes:
        step_seconds: time of a training step with a full batch, in seconds.
        evaluation_seconds: time to evaluate one sample, in seconds.
        checkpoint_bytes: size of a checkpoint without the method's per-sample state, in bytes.
        device: name of the device.
        devices: number of such devices in the machine; 1 for the CPU.
    """

    step_seconds: float
    evaluation_seconds: float
    checkpoint_bytes: int
    device: str
    devices: int = 1
