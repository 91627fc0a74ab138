"""Loading of initial weights of a backbone from a user's file."""

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
"""Exceptions that `torch.load` raises on damaged files and on files not written by torch."""


def load_weights(body: nn.Module, file_path: str, sha256: str, classifier_prefix: str) -> None:
    """Replace the weights of a network by those in a file, except the classifier's.

    Args:
        body: network whose weights are replaced.
        file_path: absolute path of a state dict written by `torch.save`. Only tensors are read;
            code in the file is not executed.
        sha256: SHA-256 that the file must have, in hexadecimal. The spec of a run identifies the
            initial weights by this hash.
        classifier_prefix: prefix of the classifier's keys in the state dict; they are skipped.

    Raises:
        DataError: if the file cannot be read, has another SHA-256, or is not a state dict of the
            same architecture.
    """
    path = Path(file_path)
    if not path.is_absolute():
        raise DataError(
            f"weights '{file_path}': give an absolute path, since runs start in different folders"
        )
    try:
        with path.open("rb") as file:
            actual = hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise DataError(
            f"weights '{file_path}' cannot be read ({error.strerror}): set weights to a file "
            "written by torch.save, or to '' to start from scratch"
        ) from error
    if not sha256:
        raise DataError(
            f"weights '{file_path}': set weights_sha256 too; the SHA-256 of the file is {actual}"
        )
    if actual != sha256.lower():
        raise DataError(
            f"weights '{file_path}' have SHA-256 {actual[:12]}, weights_sha256 says "
            f"{sha256[:12].lower()}: set weights to the right file, or correct weights_sha256"
        )
    weights = {
        key: tensor
        for key, tensor in _read_state_dict(path).items()
        if not key.startswith(classifier_prefix)
    }
    initial = body.state_dict()
    difference = _first_difference(weights, initial)
    if difference:
        raise DataError(
            f"weights '{file_path}' do not fit the network: {difference}; "
            "use weights of the same architecture"
        )
    body.load_state_dict({**initial, **weights})


def _read_state_dict(path: Path) -> dict[str, torch.Tensor]:
    """Return the tensors of the state dict in a file, by key.

    Raises:
        DataError: if the file is not a state dict written by `torch.save`.
    """
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except UNREADABLE_FILE_ERRORS as error:
        raise DataError(
            f"weights '{path}' are not a file of tensors written by torch.save: "
            "set weights to such a file, or to '' to start from scratch"
        ) from error
    if not isinstance(content, dict) or not all(
        isinstance(key, str) and isinstance(tensor, torch.Tensor) for key, tensor in content.items()
    ):
        raise DataError(
            f"weights '{path}' are not a state dict, which maps names to tensors: save "
            "model.state_dict()"
        )
    return dict(content)


def _first_difference(weights: dict[str, torch.Tensor], initial: dict[str, torch.Tensor]) -> str:
    """Describe the first difference between two state dicts in keys, shapes or types; "" if none.

    `num_batches_tracked` may be missing in `weights`, as in files written by PyTorch before 0.4.1;
    this counter has no effect.
    """
    for key, tensor in initial.items():
        if key not in weights:
            if key.endswith(".num_batches_tracked"):
                continue
            return f"{key} is missing"
        if weights[key].shape != tensor.shape:
            return f"{key} has shape {tuple(weights[key].shape)} instead of {tuple(tensor.shape)}"
        if weights[key].is_floating_point() != tensor.is_floating_point():
            return f"{key} has type {weights[key].dtype} instead of {tensor.dtype}"
    unknown_key = next((key for key in weights if key not in initial), None)
    return "" if unknown_key is None else f"the network has no {unknown_key}"
