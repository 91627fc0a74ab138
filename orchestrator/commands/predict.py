"""The `predict` command, which classifies new images by the model of a recorded run."""

from __future__ import annotations

import csv
import io
import sys
from typing import TYPE_CHECKING

import numpy as np

from orchestrator.approval import load_recorded_code
from orchestrator.output import CommandConsole
from reports.words import format_count
from trainables.datasets.class_folders import printable
from trainables.errors import DataError, UserError
from trainables.run.record import Record, write_atomically
from trainables.texts import visible

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from orchestrator.flags import Locations
    from trainables.run_data.input_images import InputFormat
    from trainables.training.classifier import TrainedModel

CSV_COLUMNS = ("file", "index", "class", "probability")
"""Names of the columns of the predictions, in order."""
CHUNK_SIZE = 1000
"""Number of images after which predictions are computed; more are never in memory, except those
of one array."""


def run(
    locations: Locations,
    digest_prefix: str,
    paths: Sequence[Path],
    output_path: Path | None,
    *,
    allow_code: bool,
) -> int:
    """Classify the images in some files, and print or write the predictions as CSV.

    A file that cannot be read is named on standard error; the others are classified all the same.
    Arrays whose pixels are 0 and 1 only are named as well.

    Args:
        locations: locations of the home folder.
        digest_prefix: beginning of the digest of the run whose model is used.
        paths: picture files, or .npy and .npz files with arrays of images.
        output_path: CSV file to write; None for standard output.
        allow_code: whether code files of the run are executed without asking.

    Returns:
        The exit code: 0, or 1 if a file could not be read.

    Raises:
        NalError: if the run has no model, or none of the files can be read.
    """
    model = load_recorded_model(locations, digest_prefix, allow_code=allow_code)
    console = CommandConsole(stderr=True)
    errors: list[str] = []
    warnings: list[str] = []
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(CSV_COLUMNS)
    image_count = 0
    with console.status("classifying"):
        files = _read_files(paths, model.input_format, errors, warnings)
        for rows in _predict_chunks(model, files):
            writer.writerows(rows)
            image_count += len(rows)
    if not image_count:
        raise DataError(f"no predictions: {errors[0]}")
    if output_path is None:
        text = buffer.getvalue()
        sys.stdout.write(visible(text) if sys.stdout.isatty() else text)
    else:
        write_atomically(output_path, buffer.getvalue())
        console.print(f"{format_count(image_count, 'prediction')}: {output_path}", soft_wrap=True)
    for warning in warnings:
        console.print(warning, style="yellow", soft_wrap=True)
    for error in errors:
        console.print(f"left out: {error}", style="yellow", soft_wrap=True)
    return 1 if errors else 0


def load_recorded_model(
    locations: Locations, digest_prefix: str, *, allow_code: bool
) -> TrainedModel:
    """Return the model of a recorded run.

    Args:
        locations: locations of the home folder.
        digest_prefix: beginning of the run's digest.
        allow_code: whether code files of the run are executed without asking.

    Raises:
        NalError: if there is no such run or it has no model, or its code is not allowed.
    """
    home = locations.home
    record = Record(home.path, home.full_digest(digest_prefix))
    spec = record.read_spec()
    if spec is None:
        raise UserError(f"run {record.digest[:12]} has not begun: type its command again")
    load_recorded_code(record, list(map(str, spec.code.values())), allow_code=allow_code)
    from trainables.training.classifier import load_model

    return load_model(record)


def _read_files(
    paths: Iterable[Path], input_format: InputFormat, errors: list[str], warnings: list[str]
) -> Iterator[tuple[Path, bool, NDArray[np.uint8]]]:
    """Yield the images of each readable file, and whether the file is an array of images.

    The messages of the other files are added to `errors`, and those of arrays whose pixels are
    hardly in the range 0 to 255 to `warnings`.
    """
    from trainables.run_data.input_images import ARRAY_SUFFIXES, read_images

    for path in paths:
        try:
            if not path.exists():
                raise DataError(f"there is no file {path}")
            is_array = path.suffix.lower() in ARRAY_SUFFIXES
            images = read_images(path, input_format)
            if is_array and images.max(initial=0) <= 1:
                warnings.append(
                    f"{printable(path)}: no pixel is above 1, so that all images are nearly black "
                    "to the network: multiply pixels in the range 0 to 1 by 255"
                )
            yield path, is_array, images
        except DataError as error:
            errors.append(str(error))


def _predict_chunks(
    model: TrainedModel, files: Iterable[tuple[Path, bool, NDArray[np.uint8]]]
) -> Iterator[list[tuple[str, str, str, str]]]:
    """Yield the predictions of all images, as rows of the CSV file, some images at a time."""
    from trainables.training.devices import pick_device

    device = pick_device()
    names: list[tuple[str, str]] = []
    chunk: list[NDArray[np.uint8]] = []

    def predict() -> list[tuple[str, str, str, str]]:
        probabilities = model.predict(np.concatenate(chunk), device)
        rows = [
            (*name, model.class_names[row.argmax()], f"{row.max():.6g}")
            for name, row in zip(names, probabilities, strict=True)
        ]
        names.clear()
        chunk.clear()
        return rows

    for path, is_array, images in files:
        names += [(printable(path), str(index) if is_array else "") for index in range(len(images))]
        chunk.append(images)
        if len(names) >= CHUNK_SIZE:
            yield predict()
    if names:
        yield predict()
