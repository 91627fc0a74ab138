"""Safe reading of pickles that contain NumPy arrays.

`pickle.load` imports and calls every function that a pickle names, and thereby executes code from
the file. Here, only the functions that rebuild NumPy arrays and byte strings are allowed.
"""

from __future__ import annotations

import io
import pickle
from typing import IO

import numpy as np

_RECONSTRUCT_ARRAY = np.empty(0).__reduce__()[0]


def _encode_latin1(text: str, encoding: str) -> bytes:
    """Return a text as Latin-1 bytes.

    Pickles before protocol 3 call `codecs.encode` to rebuild bytes; this function replaces it.
    """
    if encoding != "latin1":
        raise pickle.UnpicklingError(
            f"the pickle contains bytes in {encoding}, only latin1 is allowed"
        )
    return text.encode("latin1")


_ALLOWED_GLOBALS: dict[tuple[str, str], object] = {
    ("_codecs", "encode"): _encode_latin1,
    ("numpy.core.multiarray", "_reconstruct"): _RECONSTRUCT_ARRAY,
    ("numpy._core.multiarray", "_reconstruct"): _RECONSTRUCT_ARRAY,
    ("numpy", "ndarray"): np.ndarray,
    ("numpy", "dtype"): np.dtype,
}


class _ArrayUnpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> object:
        if (module, name) not in _ALLOWED_GLOBALS:
            raise pickle.UnpicklingError(f"the pickle names {module}.{name}, which is not allowed")
        return _ALLOWED_GLOBALS[module, name]


def load_arrays(content: bytes | IO[bytes]) -> object:
    """Return the object in a pickle of plain values and NumPy arrays, without executing code.

    Text that Python 2 pickled is decoded as Latin-1.

    Args:
        content: bytes of the pickle, or a stream positioned at the beginning of the pickle.

    Raises:
        ValueError: if the pickle is incomplete or damaged, or contains objects other than arrays
            and plain values.
    """
    try:
        stream = io.BytesIO(content) if isinstance(content, bytes) else content
        return _ArrayUnpickler(stream, encoding="latin1").load()
    except Exception as error:  # damaged bytes make the unpickler raise nearly anything
        raise ValueError(str(error) or type(error).__name__) from error
