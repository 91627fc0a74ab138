"""Drawing of Fig. 3: parts of clean and mislabelled samples in the gradient."""

from __future__ import annotations

from typing import TYPE_CHECKING

from reports.figures.drawings.panels import add_title, draw_panel, new_figure
from reports.figures.style import GREY

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from reports.figures.gradients import Gradients


def draw_gradients(data: Gradients) -> Figure:
    """Draw the three panels of Fig. 3 in a row; the first two have the same vertical axis."""
    figure, axes = new_figure(1.95, 1, 3)
    for number, (panel, panel_axes) in enumerate(zip(data.panels, axes, strict=True)):
        draw_panel(panel_axes, panel, show_y_label=number != 1)
        add_title(panel_axes, number, panel.title)
    top = max(panel_axes.get_ylim()[1] for panel_axes in axes[:2])
    for panel_axes in axes[:2]:
        panel_axes.set_ylim(0, top)
    axes[2].axhline(100 * data.noise_rate, color=GREY, linestyle=":", linewidth=0.9, zorder=0)
    axes[2].set_ylim(0, 135)
    axes[2].set_yticks([0, 25, 50, 75, 100])
    for panel_axes in (axes[0], axes[2]):
        panel_axes.legend(loc="upper right", labelspacing=0.2)
    return figure
