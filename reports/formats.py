"""Files in which a table is written: the suffix of a file name chooses the format."""

from __future__ import annotations

import csv
import io
import json
import re
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from jinja2 import Environment, PackageLoader, StrictUndefined, Template

from reports.render import render_text
from trainables.errors import UserError

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from reports.table import Entry, Table

CSV_FIELDS = (
    *("study", "sweep", "state", "dataset", "backbone", "scenario", "accuracy", "method", "row"),
    *("origin", "source", "quantity", "seed", "value", "n", "bold", "marks", "remark", "run"),
)
"""Columns of CSV files, in order."""

_LATEX_CHARACTERS = {
    "\\": r"\textbackslash{}",
    **{character: f"\\{character}" for character in "&%$#_{}"},
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    '"': "''",
    "[": "{[}",
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


def format_csv(table: Table) -> str:
    """Format a table as CSV in long form: one number a row, with everything that qualifies it."""
    buffer = io.StringIO()
    writer = csv.DictWriter(buffer, CSV_FIELDS, lineterminator="\n", restval="")
    writer.writeheader()
    source = asdict(table.source)
    for section in table.sections:
        for row in section.rows:
            for entry in row.entries:
                common = source | {
                    "scenario": entry.scenario,
                    "accuracy": entry.kind,
                    "method": row.method,
                    "row": row.name,
                    "origin": row.marker,
                    "source": row.kind,
                    "n": entry.n,
                    "bold": "yes" if entry.bold else "",
                    "marks": " ".join(entry.marks),
                    "remark": entry.remark,
                }
                for numbers in _numbers_of(entry):
                    row_values = common | numbers
                    writer.writerow({name: _csv_value(row_values[name]) for name in row_values})
    return buffer.getvalue()


def _csv_value(value: object) -> object:
    """Return a value of a CSV file; a text that spreadsheets would execute starts with '."""
    is_formula = isinstance(value, str) and value.startswith(("=", "+", "-", "@", "\t", "\r"))
    return f"'{value}" if is_formula else value


def _numbers_of(entry: Entry) -> list[dict[str, Any]]:
    """Return the numbers of an entry: mean, standard deviation and the accuracy of each run.

    An entry without any, such as one whose runs have all failed, has a mean without a value.
    """
    if entry.is_empty:
        return []
    if entry.mean is None:
        return [{"quantity": "mean", "value": ""}]
    statistics = {"mean": entry.mean, "standard deviation": entry.std}
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
    """Return a table as values that can be written as JSON, with the printed text of each entry."""
    values = asdict(table)
    source = values.pop("source")
    for section, section_values in zip(table.sections, values["sections"], strict=True):
        for row, row_values in zip(section.rows, section_values["rows"], strict=True):
            for entry, entry_values in zip(row.entries, row_values["entries"], strict=True):
                entry_values["text"] = entry.text
    return {**source, **values}


def format_json(table: Table) -> str:
    """Format a table as JSON."""
    return json.dumps(table_values(table), indent=1, ensure_ascii=False) + "\n"


def format_markdown(table: Table) -> str:
    """Format a table as Markdown."""
    return _template("table.md.j2", {"cell": _escape_markdown}).render(table=table)


def format_latex(table: Table) -> str:
    """Format a table as a LaTeX document with booktabs, which compiles as it stands.

    A paper that loads booktabs can include it, which leaves out the preamble.
    """
    return _template("table.tex.j2", {"tex": escape_latex}).render(table=table)


FORMATS: dict[str, Callable[[Table], str]] = {
    ".md": format_markdown,
    ".txt": render_text,
    ".tex": format_latex,
    ".csv": format_csv,
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
            f"--out {path}: no format has the suffix '{path.suffix}'; write a file that ends in "
            f"{', '.join(suffixes)} or {last_suffix}; --html FILE writes a page"
        ) from None


def escape_latex(text: str) -> str:
    """Return the LaTeX source that typesets a text as it is.

    Control characters are left out. Characters that LaTeX's standard fonts lack are written as
    their code point, such as "U+1F600".
    """
    return "".join(map(_escape_latex_character, text))


def _escape_latex_character(character: str) -> str:
    if character in _LATEX_CHARACTERS:
        return _LATEX_CHARACTERS[character]
    if character.isspace():
        return " "
    if not character.isprintable():
        return ""
    # The encoding T1 covers Latin letters with accents up to this one.
    return character if character <= "ſ" else f"U+{ord(character):04X}"


def _escape_markdown(text: str) -> str:
    """Return Markdown that shows a text as it is, in one cell of a table."""
    one_line = " ".join(text.split())
    return re.sub(r"[\\`*<|]|(?<!\w)_|_(?!\w)|(?<=\])\(", r"\\\g<0>", one_line)


def _template(name: str, filters: dict[str, Callable[[str], str]]) -> Template:
    environment = Environment(
        loader=PackageLoader("reports"),
        undefined=StrictUndefined,
        autoescape=False,  # noqa: S701 - each format escapes texts by a filter of its own
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters.update(filters)
    return environment.get_template(name)
