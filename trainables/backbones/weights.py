"""Initial weights of a backbone from a user's file."""

from __future__ import annotations

import hashlib
import pickle
from pathlib import Path

from trainables.errors import DataError
from trainables.lazy import nn, torch

UNREADABLE_FILE_ERRORS = (
    *(OSError, RuntimeError, EOFError, pickle.UnpicklingError),
    *(ValueError, KeyError, IndexError, AttributeError, TypeError),
)
"""Exceptions that `torch.load` raises on files that are not, or only partly, written by torch."""


def load_weights(body: nn.Module, name: str, digest: str, head: str) -> None:
    """Load weights from a file into a network, in place.

    Args:
        body: network whose weights are replaced.
        name: absolute path of a state dict written by `torch.save`. Only tensors are read; code in
            the file is not executed.
        digest: SHA-256 that the file must have, in hexadecimal. It identifies the initial weights
            in the spec of a run.
        head: prefix of the classifier's keys, which are skipped.

    Raises:
        DataError: if the file cannot be read, has another SHA-256, or is not a state dict of the
            same architecture.
    """
    path = Path(name)
    if not path.is_absolute():
        raise DataError(f"weights '{name}': give an absolute path, since runs begin in any folder")
    try:
        with path.open("rb") as file:
            actual = hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise DataError(
            f"weights '{name}' cannot be read ({error.strerror}): name a file written by "
            "torch.save, or '' to start from scratch"
        ) from error
    if not digest:
        raise DataError(f"weights '{name}': give weights_sha256 too, its SHA-256 is {actual}")
    if actual != digest.lower():
        raise DataError(
            f"weights '{name}' have SHA-256 {actual[:12]}, weights_sha256 says "
            f"{digest[:12].lower()}: name the right file, or correct weights_sha256"
        )
    weights = {
        key: value for key, value in _read_state_dict(path).items() if not key.startswith(head)
    }
    initial = body.state_dict()
    difference = _first_difference(weights, initial)
    if difference:
        raise DataError(
            f"weights '{name}' are of another network: {difference}; "
            "name some of the same architecture"
        )
    body.load_state_dict({**initial, **weights})


def _read_state_dict(path: Path) -> dict[str, torch.Tensor]:
    """Return the tensors of a state dict from a file, by name.

    Raises:
        DataError: if the file is not a state dict written by `torch.save`.
    """
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except UNREADABLE_FILE_ERRORS as error:
        raise DataError(
            f"weights '{path}' are not a file of tensors written by torch.save: "
            "name another, or '' to start from scratch"
        ) from error
    if not isinstance(content, dict) or not all(
        isinstance(key, str) and isinstance(value, torch.Tensor) for key, value in content.items()
    ):
        raise DataError(
            f"weights '{path}' are not a state dict, from names to tensors: save model.state_dict()"
        )
    return dict(content)


def _first_difference(weights: dict[str, torch.Tensor], initial: dict[str, torch.Tensor]) -> str:
    """Return a text on the first difference between two state dicts; "" if there is none.

    Names, shapes and types are compared. `num_batches_tracked` may be missing in `weights`, as in
    files of PyTorch before 0.4.1; it has no effect.
    """
    for key, value in initial.items():
        if key not in weights:
            if key.endswith(".num_batches_tracked"):
                continue
            return f"{key} is missing"
        if weights[key].shape != value.shape:
            return f"{key} has shape {tuple(weights[key].shape)} instead of {tuple(value.shape)}"
        if weights[key].is_floating_point() != value.is_floating_point():
            return f"{key} is of {weights[key].dtype} instead of {value.dtype}"
    unknown = next((key for key in weights if key not in initial), None)
    return "" if unknown is None else f"{unknown} is not in it"
