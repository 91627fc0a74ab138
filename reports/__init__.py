"""Comparison tables, rankings of suspect samples and contact sheets, made from recorded runs.

`Results` is the beginning of the Python API, which `docs/python-api.md` describes.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from reports.results import Results

__all__ = ["Results"]


def __getattr__(name: str) -> object:
    # pandas takes half a second to import, which commands do not need.
    if name in __all__:
        from reports import results

        return getattr(results, name)
    raise AttributeError(f"module '{__name__}' has no attribute '{name}'")
