"""The cost of a run on a machine, as measured by `probe`.

This module does not import torch, since the driver uses it.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Cost:
    """Time and storage that a run takes on a machine that trains no other run at the same time.

    Attributes:
        step_seconds: time of a training step with a full batch, in seconds.
        evaluation_seconds: time to evaluate one sample, in seconds.
        checkpoint_bytes: size of a checkpoint in bytes, excluding the method's state per training
            sample.
        device: name of the device, such as "cuda: NVIDIA H200".
        devices: number of GPUs in the machine; 1 if the device is the CPU.
    """

    step_seconds: float
    evaluation_seconds: float
    checkpoint_bytes: int
    device: str
    devices: int = 1
