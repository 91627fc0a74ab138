"""Pickles of arrays, read with an allow-list: nothing that a file names is ever called.

`pickle.load` runs whatever a file asks for. The distributors' files need three names, those of
NumPy's array reconstruction; every other name is refused before it is looked up.
"""

from __future__ import annotations

import io
import pickle

import numpy as np

_RECONSTRUCT = np.empty(0).__reduce__()[0]
_ALLOWED: dict[tuple[str, str], object] = {
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


def load_arrays(content: bytes) -> object:
    """Read plain values and NumPy arrays from a pickle; Python 2's text is read as Latin-1.

    Raises:
        ValueError: not a pickle, cut short, or one that names anything else than arrays.
    """
    try:
        return _ArrayUnpickler(io.BytesIO(content), encoding="latin1").load()
    except Exception as error:  # damaged bytes make the unpickler raise nearly anything
        raise ValueError(str(error) or type(error).__name__) from error
