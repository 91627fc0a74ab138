"""Drawing of Fig. 4 e and f: test accuracy against each hyperparameter."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from reports.figures.drawings.panels import add_legend, add_title, new_figure, use_logarithmic_axis
from reports.figures.style import BLACK, GREEN, GREY
from reports.words import format_values

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from reports.figures.lines import Band
    from reports.figures.sensitivity import Sensitivity, SensitivityPanel


def draw_sensitivity(data: Sensitivity) -> Figure:
    """Draw one panel for each hyperparameter, with cross entropy as a horizontal line."""
    figure, axes = new_figure(2.35, 1, len(data.panels), share_y=True)
    for number, (panel, panel_axes) in enumerate(zip(data.panels, axes, strict=True)):
        _draw_baseline(panel_axes, data.baseline)
        _draw_values(panel_axes, panel)
        fixed = format_values(panel.fixed)
        title = f"{panel.letter}, with {fixed}" if fixed else panel.letter
        # Panels (a) to (d) of the paper's figure show matrices and the correction of labels.
        add_title(panel_axes, number, title, first_letter="e")
        panel_axes.set_xlabel(panel.letter)
    axes[0].set_ylabel("test accuracy (%)")
    add_legend(figure, axes)
    return figure


def _draw_baseline(axes: Axes, baseline: Band) -> None:
    """Draw the accuracy of cross entropy as a line with its band."""
    for mean, std in zip(baseline.mean, baseline.std, strict=True):
        axes.axhline(
            mean, color=BLACK, linestyle=(0, (2.2, 1.2)), linewidth=1, label="Cross Entropy"
        )
        if not np.isnan(std):
            axes.axhspan(mean - std, mean + std, color=GREY, alpha=0.2, linewidth=0)


def _draw_values(axes: Axes, panel: SensitivityPanel) -> None:
    """Draw the accuracies of NAL with their error bars; the value kept elsewhere is ringed."""
    band = panel.band
    axes.errorbar(
        band.x,
        band.mean,
        yerr=np.nan_to_num(np.array(band.std)),
        color=GREEN,
        marker="o",
        capsize=2,
        elinewidth=0.8,
        label="NAL",
    )
    if panel.centre is not None and panel.centre in band.x:
        mean = band.mean[band.x.index(panel.centre)]
        axes.plot(
            panel.centre, mean, marker="o", markersize=8, color=BLACK, fillstyle="none", linewidth=0
        )
    if panel.is_logarithmic:
        use_logarithmic_axis(axes)
