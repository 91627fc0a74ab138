"""Reading of the YAML files that lay out joined tables."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Annotated

from pydantic import BaseModel, Field, ValidationError, model_validator

from reports.joined import JoinedLayout, Poolable
from search_spaces.validation import in_words_of_yaml
from search_spaces.yaml_lines import YamlError, parse_yaml
from trainables.errors import UserError, suggest

if TYPE_CHECKING:
    from pathlib import Path

    from pydantic_core import ErrorDetails

    from search_spaces.yaml_lines import Document


class LayoutSweep(BaseModel, frozen=True, extra="forbid"):
    """A sweep of a joined table.

    Attributes:
        sweep: name of a study, for its latest sweep, or beginning of a sweep's digest.
        home: home folder in which the sweep is recorded, relative to the layout's folder; "" for
            that of the command.
        tracking: URI of the MLflow store in which the sweep is recorded; "" for that of the home.
    """

    sweep: Annotated[str, Field(min_length=1)]
    home: str = ""
    tracking: str = ""

    @model_validator(mode="after")
    def _check_one_store(self) -> LayoutSweep:
        if self.home and self.tracking:
            raise ValueError("home and tracking exclude each other")
        return self


class TableLayout(BaseModel, frozen=True, extra="forbid"):
    """The content of a layout file.

    Attributes:
        title: title of the table; "" for the titles of the studies.
        metric: name or title of the accuracy; "" for the first one of the sweeps.
        sweeps: sweeps that the table joins.
        rows: names of methods, in order; empty for all.
        columns: names of label-noise scenarios, in order; empty for all.
        pool: what may differ within a column.
    """

    sweeps: Annotated[tuple[LayoutSweep, ...], Field(min_length=1)]
    title: str = ""
    metric: str = ""
    rows: tuple[str, ...] = ()
    columns: tuple[str, ...] = ()
    pool: tuple[Poolable, ...] = ()

    @property
    def joined(self) -> JoinedLayout:
        """What the table shows, without the places of its sweeps."""
        return JoinedLayout(self.title, self.metric, self.rows, self.columns, frozenset(self.pool))


def read_layout(path: Path) -> TableLayout:
    """Read a layout file.

    Raises:
        UserError: if the file cannot be read or violates the schema; the message begins with the
            file and the line.
    """
    try:
        document = parse_yaml(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise UserError(f"--layout {path}: cannot be read ({error.strerror})") from error
    except UnicodeDecodeError as error:
        raise UserError(f"--layout {path}: not UTF-8: save the file as UTF-8") from error
    except YamlError as error:
        raise UserError(f"{path}:{error.line}: {error.message}") from error
    if not isinstance(document.value, dict):
        raise UserError(f"{path}:1: must be a mapping with the key sweeps")
    try:
        return TableLayout.model_validate_json(json.dumps(document.value), strict=True)
    except ValidationError as error:
        # A misspelt required key is reported as unknown and as missing; "unknown" is more helpful.
        details = min(error.errors(), key=lambda each: each["type"] != "extra_forbidden")
        raise UserError(f"{path}:{_line(document, details)}: {_message(details)}") from error


def _line(document: Document, details: ErrorDetails) -> int:
    """Return the line of the nearest key or list item above an error."""
    key_path = details["loc"]
    while key_path and key_path not in document.lines:
        key_path = key_path[:-1]
    return document.lines.get(key_path, 1)


def _message(details: ErrorDetails) -> str:
    key = ".".join(map(str, details["loc"]))
    if details["type"] == "extra_forbidden":
        known = LayoutSweep.model_fields if len(details["loc"]) > 1 else TableLayout.model_fields
        return f"unknown key '{key}': {suggest(str(details['loc'][-1]), known)}"
    if details["type"] == "missing":
        return f"{key}: is missing"
    text = in_words_of_yaml(details["msg"].removeprefix("Value error, "))
    return f"{key}: {text[0].lower()}{text[1:]}"
