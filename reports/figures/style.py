"""The common look of all figures, and their files.

The width is that of the text of a NeurIPS paper. The colours are those of Okabe and Ito, which
people with a colour vision deficiency can tell apart; dashes, markers and hatches tell lines and
areas apart in grey print. Fonts are those that matplotlib contains, so that a figure is the same on
every machine. Dates and random names are left out of the files, so that the same numbers give the
same bytes.
"""

from __future__ import annotations

import io
import warnings
from typing import TYPE_CHECKING, Any, NamedTuple

from reports.words import printable

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from matplotlib.figure import Figure

TEXT_WIDTH = 5.5
"""Width of the text of a NeurIPS paper, in inches."""

PNG_DPI = 300
"""Resolution of PNG files, in dots per inch."""

SUFFIXES = ("svg", "pdf", "png")
"""Suffixes of the picture files of a figure."""

BLACK, GREY = "#000000", "#6e6e6e"
BLUE, VERMILION, GREEN = "#0072B2", "#D55E00", "#009E73"
ORANGE, SKY, PURPLE = "#E69F00", "#56B4E9", "#CC79A7"

COLOUR_MAP = "viridis"
"""Map of colours for numbers, whose lightness rises with the number."""


class LineLook(NamedTuple):
    """Look of a line: its colour, dashes and marker."""

    colour: str
    dashes: str | tuple[int, tuple[float, ...]]
    marker: str


_LONG_DASHES = (0, (6.0, 1.5))
_DASH_DOTS = (0, (4.0, 1.2, 1.0, 1.2))
_SHORT_DASHES = (0, (2.2, 1.2))
_DOTS = (0, (1.0, 1.2))

LINE_LOOKS = {
    "correct": LineLook(GREEN, "-", "o"),
    "memorised": LineLook(BLUE, _LONG_DASHES, "s"),
    "other": LineLook(VERMILION, _SHORT_DASHES, "^"),
    "clean": LineLook(BLUE, "-", "o"),
    "mislabelled": LineLook(VERMILION, _LONG_DASHES, "s"),
    "ce": LineLook(BLACK, _SHORT_DASHES, "D"),
    "nal": LineLook(GREEN, "-", "o"),
    "line-0": LineLook(BLACK, _SHORT_DASHES, "D"),
    "line-1": LineLook(GREEN, "-", "o"),
    "line-2": LineLook(VERMILION, _LONG_DASHES, "s"),
    "line-3": LineLook(BLUE, _DASH_DOTS, "^"),
    "line-4": LineLook(PURPLE, "-", "v"),
    "line-5": LineLook(ORANGE, _LONG_DASHES, "P"),
    "line-6": LineLook(SKY, _DOTS, "X"),
}
"""Looks of lines by role; lines without a meaning of their own are "line-0", "line-1" and so on."""

NUMBERED_LOOKS = sum(role.startswith("line-") for role in LINE_LOOKS)
"""Number of looks for lines without a meaning of their own."""

_SETTINGS: Any = {
    "font.family": ["STIXGeneral", "DejaVu Sans"],
    "font.size": 8.5,
    "axes.titlesize": 8.5,
    "axes.labelsize": 8.5,
    "xtick.labelsize": 7.5,
    "ytick.labelsize": 7.5,
    "legend.fontsize": 8,
    "legend.frameon": False,
    "legend.handlelength": 2.6,
    "legend.columnspacing": 1.4,
    "legend.handletextpad": 0.5,
    "legend.borderaxespad": 0.2,
    "axes.linewidth": 0.6,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.titlelocation": "left",
    "axes.titlepad": 4,
    "axes.labelpad": 2.5,
    "axes.unicode_minus": True,
    "xtick.major.width": 0.6,
    "ytick.major.width": 0.6,
    "xtick.major.size": 2.5,
    "ytick.major.size": 2.5,
    "xtick.minor.size": 1.5,
    "xtick.minor.width": 0.4,
    "lines.linewidth": 1.2,
    "lines.markersize": 3.2,
    "patch.linewidth": 0.6,
    "hatch.linewidth": 0.5,
    "figure.constrained_layout.use": True,
    "figure.constrained_layout.h_pad": 0.03,
    "figure.constrained_layout.w_pad": 0.03,
    "pdf.fonttype": 42,
    "svg.fonttype": "path",
    "svg.hashsalt": "nal-orchestrator",
    # Titles of studies are text; a "$" in them does not begin a formula.
    "text.parse_math": False,
    "text.usetex": False,
}


def numbered_role(number: int) -> str:
    """Return the role of the line with a number; looks repeat if there are too many lines."""
    return f"line-{number % NUMBERED_LOOKS}"


def render(
    draw: Callable[[], Figure], title: str, suffixes: Sequence[str] = SUFFIXES
) -> dict[str, bytes]:
    """Draw a figure, and return its picture files by suffix.

    Args:
        draw: function that returns the figure; it is called with the common look in effect.
        title: title for the metadata of the files.
        suffixes: kinds of files, some of `SUFFIXES`.

    Returns:
        The files by suffix; the same bytes for the same figure.
    """
    import matplotlib as mpl

    metadata: dict[str, dict[str, Any]] = {
        "svg": {"Title": printable(title), "Date": None, "Creator": None},
        "pdf": {
            "Title": printable(title),
            "CreationDate": None,
            "ModDate": None,
            "Creator": None,
            "Producer": None,
        },
        "png": {"Title": printable(title), "Software": None},
    }
    files = {}
    # The user's own settings of matplotlib have no effect.
    with mpl.rc_context(), warnings.catch_warnings():
        mpl.rcdefaults()
        mpl.rcParams.update(_SETTINGS)
        # A title may have characters that the fonts lack; they appear as boxes.
        warnings.filterwarnings("ignore", message="Glyph .* missing from")
        figure = draw()
        # The places of all parts are computed once, not for each file.
        figure.draw_without_rendering()
        figure.set_layout_engine("none")
        for suffix in suffixes:
            buffer = io.BytesIO()
            figure.savefig(buffer, format=suffix, dpi=PNG_DPI, metadata=metadata[suffix])
            files[suffix] = buffer.getvalue()
    return files
