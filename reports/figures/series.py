"""Scalar diagnostics of several runs, as lines with a band over seeds."""

from __future__ import annotations

from typing import TYPE_CHECKING

from reports.figures.lines import Band
from reports.figures.source import MissingDataError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from reports.plan_record import CellRecord
    from trainables.diagnostics.store import Diagnostics


def diagnostic_band(diagnostics: Sequence[Diagnostics], name: str, scale: float = 1) -> Band:
    """Summarise a scalar of `trainables.diagnostics.reduce.epoch_scalars` over the seeds.

    Args:
        diagnostics: diagnostics of the runs, one for each seed.
        name: name of the scalar; runs without it do not count.
        scale: factor by which the values are multiplied.
    """
    return Band.over_seeds(
        dict(zip(item.integers("epochs"), scale * item.floats(f"series/{name}"), strict=True))
        for item in diagnostics
        if f"series/{name}" in item
    )


def require_true_labels(diagnostics: Sequence[Diagnostics], cell: CellRecord) -> None:
    """Check that the true labels of the training samples of a cell are known.

    Raises:
        MissingDataError: if they are unknown.
    """
    if not all(item.true_labels_known for item in diagnostics):
        raise MissingDataError(
            f"the true labels of the training samples on {cell.scenario} are not known, so that "
            "clean and mislabelled samples cannot be told apart"
        )
