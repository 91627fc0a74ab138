"""Measure the cost of a run on this machine: `python -m trainables.training.probe < spec.json`.

The program trains a few steps on random images of the right shape and prints a `Cost` as JSON. It
is a process of its own, so that the driver needs no torch. It reads no data and writes no files.
"""

from __future__ import annotations

import base64
import io
import json
import sys
import time
from contextlib import redirect_stdout
from dataclasses import asdict, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from trainables.datasets.base import Dataset, Split
from trainables.extensions import CodeFile, load_file
from trainables.noise.clean import CLEAN
from trainables.run.spec import RunSpec
from trainables.run_data.loaders import ArrayLoader
from trainables.training.cost import Cost
from trainables.training.devices import device_name, pick_device
from trainables.training.job import describe_crash
from trainables.training.trainer import Trainer

if TYPE_CHECKING:
    from numpy.typing import NDArray

MEASURE_SECONDS = 0.7
"""Wall time spent on training steps, in seconds, unless a single step takes longer."""


def measure(spec: RunSpec, image: tuple[int, int, int], classes: int) -> Cost:
    """Return the cost of a run, measured on random data.

    Args:
        spec: specification of the run, of which data and noise are ignored.
        image: shape (C, H, W) of the images.
        classes: number of classes.
    """
    batch = spec.recipe.batch_size
    random = np.random.Generator(np.random.Philox(0))
    images = random.integers(0, 255, (batch, *image), dtype=np.uint8)
    labels = np.arange(batch) % classes
    dataset = Dataset("probe", tuple(map(str, range(classes))), *(Split(images, labels),) * 2)
    trainer = Trainer(
        replace(
            spec,
            data=dataset.digest,
            subset=None,
            scenario=CLEAN,
            annotations="",
            balanced=False,
            hold_out=0.0,
            evaluate=("test",),
            recipe=replace(spec.recipe, crop_size=None, drop_last=False),
        ),
        dataset,
        pick_device(),
    )
    buffer = io.BytesIO()
    torch.save(trainer.state_dict(), buffer)
    pixels = torch.from_numpy(images).to(trainer.device)
    positions = torch.arange(batch, device=trainer.device)

    def step() -> float:
        start = time.perf_counter()
        trainer.step(pixels, positions, 1)[0].item()  # reading the value waits for the device
        return time.perf_counter() - start

    first = step()
    seconds = [first]
    if first < MEASURE_SECONDS:
        seconds = []
        while sum(seconds) < MEASURE_SECONDS - first and len(seconds) < 200:
            seconds.append(step())
    return Cost(
        step_seconds=sorted(seconds)[len(seconds) // 2],
        evaluation_seconds=_evaluation_seconds(trainer, images, labels),
        checkpoint_bytes=2 * buffer.tell(),  # optimiser buffers double it after the first step
        device=device_name(trainer.device),
        devices=max(1, torch.cuda.device_count()),
    )


def _evaluation_seconds(
    trainer: Trainer, images: NDArray[np.uint8], labels: NDArray[np.int64]
) -> float:
    loader = ArrayLoader(images, np.arange(len(labels)), labels, trainer.device)
    start = time.perf_counter()
    trainer.accuracies(loader, {"accuracy": 1})
    return (time.perf_counter() - start) / len(loader)


def main() -> None:
    """Read {"spec", "image", "classes", "code"} from standard input and print the cost."""
    request = json.load(sys.stdin)
    try:
        cost = _measure_request(request)
    except Exception as error:  # noqa: BLE001 - the caller shows it in one line
        sys.exit(describe_crash(error) or str(error))
    sys.stdout.write(json.dumps(asdict(cost)))


def _measure_request(request: dict[str, Any]) -> Cost:
    """Execute the extensions of a request, and measure its spec."""
    with redirect_stdout(sys.stderr):  # libraries and extensions may print
        for path, content in request["code"].items():
            load_file(CodeFile(path, base64.b64decode(content)))
        spec = RunSpec.from_dict(request["spec"])
        channels, height, width = request["image"]
        return measure(spec, (channels, height, width), request["classes"])


if __name__ == "__main__":
    main()
