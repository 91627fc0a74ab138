"""Writing of a page as one HTML file, whose content security policy allows no request."""

from __future__ import annotations

import base64
import hashlib
from importlib import resources
from typing import TYPE_CHECKING

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from reports.page.plot import HEIGHT, WIDTH
from reports.pairs import PAIRS_NOTE
from reports.verdict import VERDICTS_NOTE
from reports.words import format_p_value

if TYPE_CHECKING:
    from reports.page.content import Page, PageCell
    from reports.table import Entry


def format_page(page: Page) -> str:
    """Return a page as HTML: one file, with its style and script.

    All texts are escaped. The policy in the page lets a browser run the page's own script and load
    nothing from elsewhere.
    """
    style, script = _read_asset("page.css"), _read_asset("page.js")
    policy = (
        f"default-src 'none'; style-src {_policy_hash(style)}; script-src {_policy_hash(script)}; "
        "img-src data:; base-uri 'none'; form-action 'none'"
    )
    environment = Environment(
        loader=PackageLoader("reports"),
        undefined=StrictUndefined,
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters.update(image=_image_address, signed=_format_signed)
    cells = page.cells_by_digest
    return environment.get_template("page.html.j2").render(
        page=page,
        table=page.table,
        cell_of=lambda entry: cells.get(entry.digests[0]) if entry.digests else None,
        difference_of=_difference_from_paper,
        plot_size=(WIDTH, HEIGHT),
        policy=policy,
        style=Markup(style),  # noqa: S704 - a file of this package
        script=Markup(script),  # noqa: S704 - a file of this package
        verdicts_note=VERDICTS_NOTE,
        pairs_note=PAIRS_NOTE,
        format_p_value=format_p_value,
    )


def _difference_from_paper(cell: PageCell | None, entry: Entry) -> float | None:
    """Return the measured minus the published accuracy of an entry; None if not comparable."""
    for replication in cell.replications if cell else ():
        verdict = replication.verdict
        if replication.kind == entry.kind and verdict.kind != "not comparable":
            return verdict.difference
    return None


def _format_signed(number: float) -> str:
    """Format a difference in points with its sign, such as "−0.32"; zero has no sign."""
    text = f"{number:+.2f}"
    return "0.00" if float(text) == 0 else text.replace("-", "−")


def _image_address(svg: str) -> str:
    """Return an SVG document as an address for images, where its scripts and IDs have no effect."""
    return f"data:image/svg+xml;base64,{base64.b64encode(svg.encode()).decode()}"


def _read_asset(name: str) -> str:
    return resources.files("reports").joinpath("templates", name).read_text(encoding="utf-8")


def _policy_hash(text: str) -> str:
    """Return the source expression by which a content security policy allows an inline text."""
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"
