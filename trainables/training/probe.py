"""Measure the cost of a run on this machine: `python -m trainables.training.probe < request.json`.

The program trains a few steps on random images and prints a `Cost` as JSON; see `main` for the
request. It is a separate process, so that the driver need not import torch. It reads no dataset and
writes no files.
"""

from __future__ import annotations

import base64
import io
import json
import sys
import time
from dataclasses import asdict, replace
from statistics import median
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
from trainables.training.job import describe_crash, take_stdout
from trainables.training.trainer import Trainer

if TYPE_CHECKING:
    from numpy.typing import NDArray

MEASUREMENT_SECONDS = 0.7
"""Wall time spent on measuring training steps, in seconds, if this allows `MIN_MEASURED_STEPS`."""
MAX_MEASUREMENT_SECONDS = 20.0
"""Wall time after which no further step is measured, in seconds."""
MIN_MEASURED_STEPS = 3
"""Smallest number of training steps whose median is the cost, unless they take very long."""
MAX_MEASURED_STEPS = 200
"""Largest number of training steps that are measured."""


def measure_cost(
    spec: RunSpec, image_shape: tuple[int, int, int], class_count: int, started_at: float
) -> Cost:
    """Return the cost of a run, measured by training a few steps on random images.

    Args:
        spec: specification of the run; its dataset and label noise are ignored.
        image_shape: shape (C, H, W) of the images.
        class_count: number of classes.
        started_at: time at which the process was started, in seconds since the epoch of Unix.
    """
    batch_size = spec.recipe.batch_size
    generator = np.random.Generator(np.random.Philox(0))
    images = generator.integers(0, 255, (batch_size, *image_shape), dtype=np.uint8)
    labels = np.arange(batch_size) % class_count
    class_names = tuple(map(str, range(class_count)))
    dataset = Dataset("probe", class_names, *(Split(images, labels),) * 2)
    trainer = Trainer(
        replace(
            spec,
            data=dataset.digest,
            subset=None,
            scenario=CLEAN,
            annotations="",
            balanced=False,
            test_subset=None,
            hold_out=0.0,
            evaluate=("test",),
            recipe=replace(spec.recipe, crop_size=None, drop_last=False),
        ),
        dataset,
        pick_device(),
    )
    checkpoint = io.BytesIO()
    torch.save(trainer.state_dict(), checkpoint)
    image_batch = torch.from_numpy(images).to(trainer.device)
    positions = torch.arange(batch_size, device=trainer.device)

    def measure_step() -> float:
        start = time.perf_counter()
        trainer.step(image_batch, positions, 1)[0].item()  # reading the loss waits for the device
        return time.perf_counter() - start

    start_seconds = max(0.0, time.time() - started_at)
    total_seconds = measure_step()  # the first step allocates memory and is not counted
    step_seconds: list[float] = []
    while not step_seconds or (
        total_seconds < MAX_MEASUREMENT_SECONDS
        and len(step_seconds) < MAX_MEASURED_STEPS
        and (total_seconds < MEASUREMENT_SECONDS or len(step_seconds) < MIN_MEASURED_STEPS)
    ):
        step_seconds.append(measure_step())
        total_seconds += step_seconds[-1]
    return Cost(
        step_seconds=median(step_seconds),
        evaluation_seconds=_measure_evaluation(trainer, images, labels),
        checkpoint_bytes=2 * checkpoint.tell(),  # the optimiser's buffers after the first step
        start_seconds=start_seconds,
        device=device_name(trainer.device),
        devices=max(1, torch.cuda.device_count()),
    )


def _measure_evaluation(
    trainer: Trainer, images: NDArray[np.uint8], labels: NDArray[np.int64]
) -> float:
    """Return the time to evaluate one sample, in seconds."""
    loader = ArrayLoader(images, np.arange(len(labels)), labels, trainer.device)
    seconds = []
    for _ in range(MIN_MEASURED_STEPS):
        start = time.perf_counter()
        trainer.evaluate(loader, {"accuracy": 1})
        seconds.append(time.perf_counter() - start)
    return median(seconds) / len(loader)


def main() -> None:
    """Read a JSON request from standard input and print the cost of its run as JSON.

    The keys of the request are "spec", "image" (shape of the images), "classes" (number of
    classes), "code" (content of each Python file with extensions, by path, in base64) and
    "started_at" (time at which the process was started, in seconds since the epoch of Unix).
    """
    request = json.load(sys.stdin)
    output = take_stdout()
    try:
        cost = _measure_request(request)
    except Exception as error:  # noqa: BLE001 - the caller shows it in one line
        sys.exit(describe_crash(error).partition("\n")[0] or str(error))
    output.write(json.dumps(asdict(cost)))
    output.close()


def _measure_request(request: dict[str, Any]) -> Cost:
    """Execute the extension files of a request, and return the measured cost of its run."""
    for path, content in request["code"].items():
        load_file(CodeFile(path, base64.b64decode(content)))
    spec = RunSpec.from_dict(request["spec"])
    channels, height, width = request["image"]
    return measure_cost(spec, (channels, height, width), request["classes"], request["started_at"])


if __name__ == "__main__":
    main()
