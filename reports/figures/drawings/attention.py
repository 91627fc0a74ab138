"""Drawing of Fig. 2: histograms of the attention weights."""

from __future__ import annotations

from math import isnan
from typing import TYPE_CHECKING, Any

from reports.figures.drawings.panels import add_legend, add_title, new_figure
from reports.figures.style import BLUE, GREY, VERMILION
from reports.words import printable

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from reports.figures.attention import AttentionHistograms, AttentionPanel

PANELS_PER_ROW = 3

LOOKS: dict[str, dict[str, Any]] = {
    "clean": {"facecolor": BLUE, "alpha": 0.55, "edgecolor": BLUE},
    "mislabelled": {"facecolor": "none", "edgecolor": VERMILION, "hatch": "//////"},
    "all": {"facecolor": GREY, "alpha": 0.55, "edgecolor": GREY},
}
"""Looks of the areas by group of samples."""

LABELS = {"clean": "clean samples", "mislabelled": "mislabelled samples", "all": "all samples"}
"""Texts of the legend by group of samples."""


def draw_attention(data: AttentionHistograms) -> Figure:
    """Draw one histogram for each scenario."""
    # Four panels fill two rows of two.
    columns = 2 if len(data.panels) == 4 else min(len(data.panels), PANELS_PER_ROW)
    rows = -(-len(data.panels) // columns)
    figure, axes = new_figure(0.4 + 1.55 * rows, rows, columns)
    for number, (panel, panel_axes) in enumerate(zip(data.panels, axes, strict=False)):
        for group, shares in panel.shares.items():
            look = LOOKS[group]
            if any(shares):
                panel_axes.stairs(shares, data.edges, fill=True, label=LABELS[group], **look)
                panel_axes.stairs(shares, data.edges, color=look["edgecolor"], linewidth=0.8)
        panel_axes.set_yscale("symlog", linthresh=1, linscale=0.6)
        panel_axes.set_ylim(0, 130)
        panel_axes.set_yticks([0, 1, 10, 100], ["0", "1", "10", "100"])
        panel_axes.set_xlim(*_filled_range(data))
        panel_axes.set_xlabel(data.x_label)
        if number % columns == 0:
            panel_axes.set_ylabel("share of samples (%)")
        if len(data.panels) > 1:
            add_title(panel_axes, number, panel.title)
        else:
            panel_axes.set_title(printable(panel.title))
        panel_axes.text(
            0.5,
            0.97,
            auroc_text(panel),
            ha="center",
            va="top",
            fontsize=7.5,
            transform=panel_axes.transAxes,
        )
    for unused_axes in axes[len(data.panels) :]:
        unused_axes.remove()
    add_legend(figure, axes[: len(data.panels)])
    return figure


def _filled_range(data: AttentionHistograms) -> tuple[float, float]:
    """Return the range of τ, or on the logarithmic axis the range of the bins with samples."""
    if not data.is_logarithmic:
        return data.edges[0], data.edges[-1]
    histograms = [shares for panel in data.panels for shares in panel.shares.values()]
    filled = [n for n, shares in enumerate(zip(*histograms, strict=True)) if any(shares)]
    return data.edges[max(filled[0] - 1, 0)], data.edges[min(filled[-1] + 2, len(data.edges) - 1)]


def auroc_text(panel: AttentionPanel) -> str:
    """Return the AUROC of a panel, such as "AUROC 0.987 ± 0.004"; "" if there is none."""
    if not panel.aurocs:
        return ""
    spread = "" if isnan(panel.auroc_std) else f" ± {panel.auroc_std:.3f}"
    return f"AUROC {panel.auroc_mean:.3f}{spread}"
