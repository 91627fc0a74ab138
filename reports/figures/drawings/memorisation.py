"""Drawing of Fig. 1: predictions for clean and mislabelled training samples."""

from __future__ import annotations

from typing import TYPE_CHECKING

from reports.figures.drawings.panels import add_legend, add_title, draw_panel, new_figure

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from reports.figures.memorisation import Memorisation


def draw_memorisation(data: Memorisation) -> Figure:
    """Draw the panels of Fig. 1, two in a row."""
    rows = (len(data.panels) + 1) // 2
    figure, axes = new_figure(0.35 + 1.6 * rows, rows, 2, share_y=True)
    for number, (panel, panel_axes) in enumerate(zip(data.panels, axes, strict=False)):
        draw_panel(panel_axes, panel, show_y_label=number % 2 == 0)
        add_title(panel_axes, number, panel.title)
        panel_axes.set_ylim(-2, 102)
    add_legend(figure, axes[-1:] + axes)
    return figure
