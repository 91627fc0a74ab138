"""Statements of the documents that can be compared with the code."""

from __future__ import annotations

import re
import tomllib
from typing import TYPE_CHECKING

import pytest
from documents import ROOT

from search_spaces.files import shipped_study_names
from search_spaces.loader import load_study
from search_spaces.resolve import resolve
from trainables.extensions import ENTRY_POINT_GROUPS
from trainables.methods import METHODS, method_of
from trainables.methods.published import first_match

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


def test_fidelity_compares_every_method_and_published_recipe() -> None:
    text = (ROOT / "docs" / "fidelity.md").read_text(encoding="utf-8")
    section = text.partition("## Comparison methods")[2].partition("\n## ")[0]
    methods_table, recipes_table = re.findall(r"(?:^\|.*\n)+", section, re.MULTILINE)
    comparison_methods = {
        name: kind for name, kind in METHODS.items() if not name.startswith("nal")
    }

    def names_in(table: str) -> set[str]:
        first_cells = [row.split("|")[1] for row in table.splitlines()[2:]]
        return {name for cell in first_cells for name in re.findall("`([^`]+)`", cell)}

    assert names_in(methods_table) == set(comparison_methods)
    assert names_in(recipes_table) == set(comparison_methods)
    for row in recipes_table.splitlines()[2:]:
        _, names, _, verdict, _ = row.split("|")
        assert re.match(r" \*(equal|equal but for|departs:|no public code)\*", verdict), verdict
        for name in re.findall("`([^`]+)`", names):
            has_recipe = bool(comparison_methods[name].published_recipes)
            assert has_recipe == ("*no public code*" not in verdict)


def test_fidelity_describes_nal_as_the_shipped_studies_have_it() -> None:
    text = (ROOT / "docs" / "fidelity.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| `nal` of (.*?) \| (.*?) \| (.*?) \|$", text, re.MULTILINE)
    loss_of = {name: loss for names, loss, _ in rows for name in re.findall("`([^`]+)`", names)}
    state_of = {name: state for names, _, state in rows for name in re.findall("`([^`]+)`", names)}
    general_state = state_of["cifar10"]
    for name in shipped_study_names():
        study = load_study(name).study
        nal = resolve(study, "nal", study.scenarios[0]).hyperparameters
        official = first_match(method_of("nal").presets["official"], study.dataset, "")
        has_epochs_of_code = official is not None and all(
            nal[key] == official.values[key] for key in ("first_target_epoch", "target_interval")
        )
        has_no_code = study.scenarios[0].startswith(("pmd-", "human-"))
        state = state_of.get(name, general_state)

        assert nal["clamps"] is False
        assert ("reverse term" in loss_of.get(name, loss_of["cifar10"])) == (nal["beta"] == 0.1)
        assert state.startswith("*no public code*") == has_no_code
        assert state.startswith("*equal but for*") == (has_epochs_of_code and not has_no_code)
