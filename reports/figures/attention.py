"""Figure 2 of the NAL paper: the distribution of the attention weights τ."""

from __future__ import annotations

from dataclasses import dataclass
from math import isfinite, nan
from statistics import fmean, stdev
from typing import TYPE_CHECKING

import numpy as np

from reports.figures.lines import seeds_text
from reports.figures.source import NAL, MissingDataError, cell_label
from trainables.diagnostics.reduce import (
    LOG_COMPLEMENT_BIN_EDGES,
    TAU_BIN_EDGES,
    attention_weight,
    auroc,
)

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from reports.figures.lines import CsvRow
    from reports.figures.source import FigureSource
    from trainables.diagnostics.store import Diagnostics

HIGH_TAU = 0.9
"""Attention weight above which differences are shown by log10(1 - τ)."""


@dataclass(frozen=True, slots=True)
class AttentionPanel:
    """Histogram of the attention weights on one scenario.

    Attributes:
        title: title of the scenario.
        shares: share of all samples in each bin in percent, by group of samples; mean over seeds.
        aurocs: AUROC of detecting wrong labels by a low τ, one for each seed; empty if no label is
            wrong or true labels are unknown.
        n: number of seeds.
    """

    title: str
    shares: dict[str, tuple[float, ...]]
    aurocs: tuple[float, ...]
    n: int

    @property
    def auroc_mean(self) -> float:
        """Mean AUROC over the seeds; NaN if there is none."""
        return fmean(self.aurocs) if self.aurocs else nan

    @property
    def auroc_std(self) -> float:
        """Sample standard deviation of the AUROC over the seeds; NaN for fewer than two."""
        return stdev(self.aurocs) if len(self.aurocs) > 1 else nan


@dataclass(frozen=True, slots=True)
class AttentionHistograms:
    """Histograms of the attention weights in the last epoch, on one or more scenarios.

    Attributes:
        edges: edges of the bins.
        is_logarithmic: whether the horizontal axis is log10(1 - τ) instead of τ.
        panels: one panel for each scenario.
        caption: what the figure shows.
    """

    edges: tuple[float, ...]
    is_logarithmic: bool
    panels: tuple[AttentionPanel, ...]
    caption: str

    @property
    def x_label(self) -> str:
        """Title of the horizontal axis."""
        return "log10(1 − τ)" if self.is_logarithmic else "attention weight τ"

    def rows(self) -> Iterator[CsvRow]:
        """Yield the lines of the CSV file."""
        for panel in self.panels:
            for group, shares in panel.shares.items():
                for low, high, share in zip(self.edges, self.edges[1:], shares, strict=False):
                    yield {
                        "panel": panel.title,
                        "samples": group,
                        "axis": self.x_label,
                        "bin_low": low,
                        "bin_high": high,
                        "share_percent": share,
                        "n": panel.n,
                        "auroc_mean": panel.auroc_mean,
                        "auroc_std": panel.auroc_std,
                    }


def collect_attention(source: FigureSource) -> AttentionHistograms:
    """Compute Fig. 2 from the diagnostics of NAL on every scenario that has them.

    The axis is log10(1 - τ) if in every scenario at least 90 % of the samples have a τ above 0.9,
    as with a large boost weight λ.

    Raises:
        MissingDataError: if no scenario has diagnostics with attention weights.
    """
    titles, labels, groups = [], [], []
    problem: MissingDataError | None = None
    for scenario in source.scenarios:
        try:
            cell = source.require_cell(NAL, scenario)
            diagnostics = source.load_diagnostics(cell)
        except MissingDataError as error:
            problem = problem or error
            continue
        titles.append(cell.scenario_title)
        labels.append(cell_label(cell))
        groups.append(diagnostics)
    if not groups:
        raise problem or MissingDataError("the sweep has no scenario")
    is_logarithmic = all(_is_saturated(diagnostics) for diagnostics in groups)
    panels = tuple(
        attention_panel(title, diagnostics, is_logarithmic=is_logarithmic)
        for title, diagnostics in zip(titles, groups, strict=True)
    )
    edges = LOG_COMPLEMENT_BIN_EDGES if is_logarithmic else TAU_BIN_EDGES
    return AttentionHistograms(
        tuple(edges.tolist()),
        is_logarithmic,
        panels,
        f"Attention weights of the training samples in the last epoch on "
        f"{source.plan.dataset.title}: {'; '.join(dict.fromkeys(labels))}. Shares of all samples, "
        "mean over seeds; AUROC of detecting wrong labels by a low τ, mean ± sample standard "
        f"deviation (ddof 1) over seeds, {seeds_text(panel.n for panel in panels)}.",
    )


def attention_panel(
    title: str, diagnostics: Sequence[Diagnostics], *, is_logarithmic: bool
) -> AttentionPanel:
    """Return the histogram of one scenario.

    Args:
        title: title of the scenario.
        diagnostics: diagnostics of the runs, one for each seed.
        is_logarithmic: whether the histogram is of log10(1 - τ) instead of τ.
    """
    name = "log_histogram" if is_logarithmic else "histogram"
    # Each seed counts alike, although its number of samples may differ.
    seed_shares = [
        100 * item.floats(name)[-1] / item.floats(name)[-1].sum() for item in diagnostics
    ]
    shares = np.mean(seed_shares, axis=0)
    names = ("clean", "mislabelled") if len(shares) > 1 else ("all",)
    aurocs = [
        auroc(-item.floats("last_attention"), item.integers("given") != item.integers("true"))
        for item in diagnostics
        if item.true_labels_known
    ]
    return AttentionPanel(
        title,
        {group: tuple(row.tolist()) for group, row in zip(names, shares, strict=True)},
        tuple(value for value in aurocs if isfinite(value)),
        len(diagnostics),
    )


def _is_saturated(diagnostics: Sequence[Diagnostics]) -> bool:
    """Return whether at least 90 % of the samples of the runs have a τ above 0.9."""
    tau = np.concatenate([attention_weight(item.floats("last_attention")) for item in diagnostics])
    return bool(np.mean(tau > HIGH_TAU) >= 0.9)
