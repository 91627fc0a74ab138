"""The `export` command, which writes the model of a recorded run for use elsewhere."""

from __future__ import annotations

from typing import TYPE_CHECKING

from orchestrator.commands.predict import load_recorded_model
from orchestrator.output import CommandConsole
from trainables.errors import HomeError, UserError
from trainables.run.record import write_atomically

if TYPE_CHECKING:
    from pathlib import Path

    from orchestrator.flags import Locations

SUFFIX = ".pt2"
"""Suffix of the files of `torch.export`."""


def run(
    locations: Locations,
    digest_prefix: str,
    output_path: Path | None,
    *,
    logs_model: bool,
    allow_code: bool,
) -> int:
    """Write the model of a run to a file of `torch.export`, or log it to MLflow, or both.

    Args:
        locations: locations of the home folder and the MLflow store.
        digest_prefix: beginning of the run's digest.
        output_path: file to write; None to write no file.
        logs_model: whether to log the model to the run in MLflow.
        allow_code: whether code files of the run are executed without asking.

    Returns:
        The exit code, 0.

    Raises:
        NalError: if the run has no model, or the file or MLflow cannot be written.
    """
    if output_path is None and not logs_model:
        raise UserError("nothing to do: name a file, such as model.pt2, or set --log")
    if output_path is not None:
        if output_path.suffix != SUFFIX:
            raise UserError(f"{output_path}: the name of the file must end in {SUFFIX}")
        if not output_path.absolute().parent.is_dir():
            raise HomeError(f"{output_path}: the folder does not exist: create it first")
    model = load_recorded_model(locations, digest_prefix, allow_code=allow_code)
    console = CommandConsole()
    if output_path is not None:
        with console.status("exporting the model"):
            content = model.export()
        write_atomically(output_path, content)
        shape = "×".join(map(str, model.input_format.shape))
        console.print(
            f"{output_path}: uint8 images of {shape} → probabilities of "
            f"{len(model.class_names)} classes, {len(content) / 1e6:.1f} MB",
            soft_wrap=True,
        )
    if logs_model:
        from orchestrator.tracking.home_store import open_home_store
        from orchestrator.tracking.models import log_model

        uri = open_home_store(locations.home) if locations.uses_home_store else locations.store_uri
        with console.status("logging the model to MLflow"):
            address = log_model(model, uri)
        console.print(f"MLflow: {address}", soft_wrap=True)
    return 0
