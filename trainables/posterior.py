"""Class probabilities that label noise is drawn from: what a run on clean labels leaves."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

POSTERIOR = "posterior"
"""Role of that run among the needs of those whose labels are drawn from it."""
OUTCOME = "predictions"
"""What is taken from it: the softmax of all training samples after its last epoch."""


def posterior_path(home: Path, digest: str) -> Path:
    """Return the file in which a run leaves its predictions, float32, shape (n, K)."""
    return home / "runs" / digest / f"{OUTCOME}.npy"
