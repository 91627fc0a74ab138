"""Files in which a table is written: the suffix of a file name chooses the format."""

from __future__ import annotations

import csv
import io
import json
import re
import textwrap
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from jinja2 import Environment, PackageLoader, StrictUndefined, Template

from reports.render import render_text
from reports.spread import Spread
from trainables.errors import UserError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from reports.table import Entry, Table

CSV_FIELDS = (
    *("study", "sweep", "state", "dataset", "backbone", "scenario", "accuracy", "method", "row"),
    *(
        "origin",
        "source",
        "quantity",
        "seed",
        "value",
        "unit",
        "n",
        "bold",
        "marks",
        "remark",
        "run",
    ),
)
"""Columns of CSV files, in order."""

_FORMULA_STARTS = ("=", "+", "-", "@", "\t", "\r")
"""Characters with which a text starts that a spreadsheet would execute."""

_LATEX_CHARACTERS = {
    "\\": r"\textbackslash{}",
    **{character: f"\\{character}" for character in "&%$#_{}"},
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    '"': "''",
    "[": "{[}",
    "*": "{*}",
    "]": "{]}",
    "–": "--",
    "’": "'",
    "α": r"$\alpha$",
    "β": r"$\beta$",
    "δ": r"$\delta$",
    "ε": r"$\varepsilon$",
    "λ": r"$\lambda$",
    "τ": r"$\tau$",
    "±": r"$\pm$",
    "×": r"$\times$",
    "÷": r"$\div$",
    "≤": r"$\leq$",
    "≥": r"$\geq$",
    "∞": r"$\infty$",
    "√": r"$\surd$",
    "→": r"$\to$",
    "⊖": r"$\ominus$",
    "†": r"\dag{}",
    "‡": r"\ddag{}",
    "\N{COMBINING CIRCUMFLEX ACCENT}": r"\textasciicircum{}",
}
"""LaTeX source of characters that are not typeset as they are."""


_LAST_LATIN_LETTER = "ſ"
_LATIN_LETTERS_NOT_IN_T1 = frozenset("ĦħĸĿŀŉŦŧſ")
"""The encoding T1 covers Latin letters with accents up to the first, except the others."""

_MARKDOWN_SYNTAX = re.compile(
    r"[\\`*<|~]|&(?=#?\w+;)|(?<![^\W_])_|_(?![^\W_])"
    r"|(?<=\])[(:\[]"  # links and their targets
    r"|:(?=//)|(?<=\bwww)\.|(?<=\w)@(?=\w)"  # addresses, which become links
)
"""Characters of a text that Markdown would not show as they are."""


def format_csv(table: Table) -> str:
    """Format a table as CSV in long form: one number a row, with everything that qualifies it."""
    buffer = io.StringIO()
    writer = csv.DictWriter(buffer, CSV_FIELDS, lineterminator="\n", restval="")
    writer.writeheader()
    sources = [asdict(source) for source in table.sources]
    for section in table.sections:
        for row in section.rows:
            for entry in row.entries:
                common = _csv_values(sources[entry.source]) | _csv_values(
                    {
                        "scenario": entry.scenario,
                        "accuracy": entry.kind,
                        "method": row.method,
                        "row": row.name,
                        "origin": row.marker,
                        "source": row.kind,
                        "unit": entry.unit,
                        "n": entry.n,
                        "bold": "yes" if entry.bold else "",
                        "marks": " ".join(entry.marks),
                        "remark": entry.remark,
                    }
                )
                writer.writerows(common | _csv_values(numbers) for numbers in _numbers_of(entry))
    return buffer.getvalue()


def _csv_values(values: Mapping[str, Any]) -> dict[str, Any]:
    """Return values of a CSV file by column; texts that spreadsheets would execute start with '."""
    return {
        name: f"'{value}" if isinstance(value, str) and value.startswith(_FORMULA_STARTS) else value
        for name, value in values.items()
    }


def _numbers_of(entry: Entry) -> list[dict[str, Any]]:
    """Return the numbers of an entry: mean, ± and the accuracy of each run.

    The standard deviation of measured accuracies is among them, whatever ± is.

    An entry without any, such as one whose runs have all failed, has a mean without a value.
    """
    if entry.is_empty:
        return []
    if entry.values:
        return [{"quantity": name, "value": value} for name, value in entry.values]
    if entry.mean is None:
        return [{"quantity": "mean", "value": ""}]
    if entry.spread is None:
        statistics = {"mean": entry.mean, "± as printed": entry.std}
    else:
        statistics = {
            "mean": entry.mean,
            Spread.SD.label: entry.std,
            entry.spread.label: entry.plus_minus,
        }
    return [
        *(
            {"quantity": name, "value": value}
            for name, value in statistics.items()
            if value is not None
        ),
        *(
            {"quantity": "run", "seed": run.seed, "value": run.accuracy, "run": run.digest}
            for run in entry.runs
        ),
    ]


def table_values(table: Table) -> dict[str, Any]:
    """Return a table as values that can be written as JSON, with the printed text of each entry.

    The names of one source are keys of the table; several sources are a list, to whose positions
    the entries refer.
    """
    values = asdict(table)
    source, further_sources = values.pop("source"), values.pop("further_sources")
    for section, section_values in zip(table.sections, values["sections"], strict=True):
        for row, row_values in zip(section.rows, section_values["rows"], strict=True):
            for entry, entry_values in zip(row.entries, row_values["entries"], strict=True):
                entry_values |= {"text": entry.text, "plus_minus": entry.plus_minus}
    origin = {"sources": [source, *further_sources]} if further_sources else source
    return {**origin, **values}


def format_json(table: Table) -> str:
    """Format a table as JSON."""
    return json.dumps(table_values(table), indent=1, ensure_ascii=False) + "\n"


def format_markdown(table: Table) -> str:
    """Format a table as Markdown."""
    return _template("table.md.j2", {"cell": _escape_markdown}).render(table=table)


_LATEX_HEADING_WIDTH = 16
"""Largest number of characters in a line of a column's heading in LaTeX."""

_LATEX_COLUMN_FRACTION = 0.15
"""Width of a column of accuracies in LaTeX, as a fraction of the width of the text."""


def format_latex(table: Table) -> str:
    """Format a table as a LaTeX document with booktabs, which compiles as it stands.

    A paper that loads booktabs can include it, which leaves out the preamble.
    """
    name_fraction = max(0.2, min(0.45, 0.97 - _LATEX_COLUMN_FRACTION * len(table.columns)))
    filters = {"tex": escape_latex, "heading": _latex_heading}
    return _template("table.tex.j2", filters).render(table=table, name_fraction=name_fraction)


def _latex_heading(text: str) -> str:
    """Return the LaTeX source of a column's heading, in several lines if it is long."""
    lines = textwrap.wrap(text, _LATEX_HEADING_WIDTH, break_long_words=False) or [""]
    return r"\shortstack[r]{" + r"\\".join(map(escape_latex, lines)) + "}"


def format_html(table: Table) -> str:
    """Format a table as an HTML page without scripts or references to other files."""
    return _template("table.html.j2", {}, escapes_html=True).render(table=table)


def format_html_fragment(table: Table) -> str:
    """Format a table as a part of an HTML page, such as a notebook, whose style it takes on."""
    return _template("table_fragment.html.j2", {}, escapes_html=True).render(table=table)


FORMATS: dict[str, Callable[[Table], str]] = {
    ".md": format_markdown,
    ".txt": render_text,
    ".tex": format_latex,
    ".csv": format_csv,
    ".html": format_html,
    ".json": format_json,
}
"""Function that formats a table, by the suffix of the file."""


def find_format(path: Path) -> Callable[[Table], str]:
    """Return the function that formats a table for a file.

    Raises:
        UserError: if no format has the file's suffix.
    """
    try:
        return FORMATS[path.suffix.lower()]
    except KeyError:
        *suffixes, last_suffix = FORMATS
        raise UserError(
            f"{path}: no format has the suffix '{path.suffix}'; write a file that ends in "
            f"{', '.join(suffixes)} or {last_suffix}"
        ) from None


def escape_latex(text: str) -> str:
    """Return the LaTeX source that typesets a text as it is.

    Control characters are left out. Characters that LaTeX's standard fonts lack are written as
    their code point, such as "U+1F600".
    """
    # Two hyphens, as before the name of a flag, would become a dash.
    parts = re.split(r"(?<=-)(?=-)", text)
    return "{}".join("".join(map(_escape_latex_character, part)) for part in parts)


def _escape_latex_character(character: str) -> str:
    if character in _LATEX_CHARACTERS:
        return _LATEX_CHARACTERS[character]
    if character.isspace():
        return " "
    if not character.isprintable():
        return ""
    is_typeset = character <= _LAST_LATIN_LETTER and character not in _LATIN_LETTERS_NOT_IN_T1
    return character if is_typeset else f"U+{ord(character):04X}"


def _escape_markdown(text: str) -> str:
    """Return Markdown that shows a text as it is, in one cell of a table."""
    one_line = " ".join(text.split())
    return _MARKDOWN_SYNTAX.sub(r"\\\g<0>", one_line)


def _template(
    name: str, filters: Mapping[str, Callable[[str], str]], *, escapes_html: bool = False
) -> Template:
    environment = Environment(
        loader=PackageLoader("reports"),
        undefined=StrictUndefined,
        autoescape=escapes_html,  # noqa: S701 - other formats have filters of their own
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters.update(filters)
    return environment.get_template(name)
