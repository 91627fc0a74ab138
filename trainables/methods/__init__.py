"""Methods of learning from noisy labels, one file each; list a new one's class in `METHODS`."""

from __future__ import annotations

from trainables.errors import FieldError, suggest
from trainables.methods.base import Batch, Context, Method
from trainables.methods.ce import CrossEntropy
from trainables.methods.nal import NoiseAttention

METHODS: dict[str, type[Method]] = {
    method.name: method for method in (CrossEntropy, NoiseAttention)
}


def method_of(name: str) -> type[Method]:
    """Return the method of that name.

    Raises:
        FieldError: there is none; names the nearest.
    """
    if name not in METHODS:
        raise FieldError("method", f"unknown method '{name}': {suggest(name, METHODS)}")
    return METHODS[name]


__all__ = ["METHODS", "Batch", "Context", "Method", "method_of"]
