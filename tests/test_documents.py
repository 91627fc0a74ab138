"""Statements of the documents that can be compared with the code."""

from __future__ import annotations

import re
import tomllib
from typing import TYPE_CHECKING

import pytest
from documents import ROOT

from trainables.extensions import ENTRY_POINT_GROUPS

if TYPE_CHECKING:
    from pathlib import Path

DOCUMENTS = sorted(
    path
    for path in [*ROOT.glob("*.md"), *ROOT.glob("docs/*.md"), *ROOT.glob("benchmarks/*.md")]
    if path.name != "CHANGELOG.md"
)


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: path.name)
def test_links_and_paths_exist(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    text = re.sub("Move the file to `[^`]+`", "", text)
    links = [
        link.partition("#")[0]
        for link in re.findall(r"\]\(([^)]+)\)", text)
        if not link.startswith("http")
    ]
    missing = [link for link in links if not (path.parent / link).exists()]
    paths = re.findall(r"`((?:orchestrator|trainables|search_spaces|reports)/[\w/.]+)`", text)
    missing += [one for one in paths if "NAME" not in one and not (ROOT / one).exists()]
    assert missing == []


def test_the_entry_points_of_the_example_are_those_that_are_read() -> None:
    text = (ROOT / "docs" / "extensions.md").read_text(encoding="utf-8")
    (example,) = re.findall(r"```toml\n(.*?)```", text, re.DOTALL)
    assert list(tomllib.loads(example)["project"]["entry-points"]) == list(
        ENTRY_POINT_GROUPS.values()
    )
