"""Weights that a body starts from, read from a file that the user names."""

from __future__ import annotations

import hashlib
import pickle
from pathlib import Path

from trainables.errors import DataError
from trainables.lazy import nn, torch

UNREADABLE = (
    *(OSError, RuntimeError, EOFError, pickle.UnpicklingError),
    *(ValueError, KeyError, IndexError, AttributeError, TypeError),
)
"""What reading a file that torch did not write, or not whole, may raise."""


def load_weights(body: nn.Module, name: str, digest: str, head: str) -> None:
    """Put the weights of a state dict into a body.

    Args:
        body: what is loaded into; in place.
        name: absolute path of a file that `torch.save` wrote. Only tensors are read from it, no
            code is run.
        digest: SHA-256 that the file must have, in hexadecimal: the file is part of what is
            trained, and so of its spec.
        head: prefix of the keys that are left out, those of the classifier.

    Raises:
        DataError: no such file, another digest, not a state dict, or one of another network.
    """
    path = Path(name)
    if not path.is_absolute():
        raise DataError(f"weights '{name}': give an absolute path, since runs begin in any folder")
    try:
        with path.open("rb") as file:
            found = hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise DataError(
            f"weights '{name}' cannot be read ({error.strerror}): name a file written by "
            "torch.save, or '' to start from scratch"
        ) from error
    if not digest:
        raise DataError(f"weights '{name}': give weights_sha256 too, its SHA-256 is {found}")
    if found != digest.lower():
        raise DataError(
            f"weights '{name}' have SHA-256 {found[:12]}, weights_sha256 says "
            f"{digest[:12].lower()}: name the right file, or correct weights_sha256"
        )
    given = {key: value for key, value in _read(path).items() if not key.startswith(head)}
    own = body.state_dict()
    wrong = _difference(given, own)
    if wrong:
        raise DataError(
            f"weights '{name}' are of another network: {wrong}; name some of the same architecture"
        )
    body.load_state_dict({**own, **given})


def _read(path: Path) -> dict[str, torch.Tensor]:
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except UNREADABLE as error:
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


def _difference(given: dict[str, torch.Tensor], own: dict[str, torch.Tensor]) -> str:
    """Say how the names and shapes differ first; "" where they do not.

    Files older than PyTorch 0.4.1 lack `num_batches_tracked`, which nothing depends on.
    """
    for key, value in own.items():
        if key not in given:
            if key.endswith(".num_batches_tracked"):
                continue
            return f"{key} is missing"
        if given[key].shape != value.shape:
            return f"{key} has shape {tuple(given[key].shape)} instead of {tuple(value.shape)}"
        if given[key].is_floating_point() != value.is_floating_point():
            return f"{key} is of {given[key].dtype} instead of {value.dtype}"
    unknown = next((key for key in given if key not in own), None)
    return "" if unknown is None else f"{unknown} is not in it"
