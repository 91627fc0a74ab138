"""Safe reading of pickled arrays.

`pickle.load` calls any function that a file names. The distributors' files need only those that
rebuild NumPy arrays, and the one with which Python 2 wrote bytes; every other name is refused
before it is looked up.
"""

from __future__ import annotations

import io
import pickle
from typing import IO

import numpy as np

_RECONSTRUCT = np.empty(0).__reduce__()[0]


def _latin1(text: str, encoding: str) -> bytes:
    """Replace `codecs.encode`, with which pickles before protocol 3 write bytes."""
    if encoding != "latin1":
        raise pickle.UnpicklingError(f"bytes in {encoding} are not allowed")
    return text.encode("latin1")


_ALLOWED: dict[tuple[str, str], object] = {
    ("_codecs", "encode"): _latin1,
    ("numpy.core.multiarray", "_reconstruct"): _RECONSTRUCT,
    ("numpy._core.multiarray", "_reconstruct"): _RECONSTRUCT,
    ("numpy", "ndarray"): np.ndarray,
    ("numpy", "dtype"): np.dtype,
}


class _ArrayUnpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> object:
        if (module, name) not in _ALLOWED:
            raise pickle.UnpicklingError(f"it names {module}.{name}, which is not allowed")
        return _ALLOWED[module, name]


def load_arrays(content: bytes | IO[bytes]) -> object:
    """Read plain values and NumPy arrays from a pickle; text of Python 2 is decoded as Latin-1.

    Args:
        content: bytes of the pickle, or a stream from which the next pickle is read.

    Raises:
        ValueError: if the content is not a whole pickle, or contains other objects than arrays and
            plain values.
    """
    try:
        stream = io.BytesIO(content) if isinstance(content, bytes) else content
        return _ArrayUnpickler(stream, encoding="latin1").load()
    except Exception as error:  # damaged bytes make the unpickler raise nearly anything
        raise ValueError(str(error) or type(error).__name__) from error
