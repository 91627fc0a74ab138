from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from reports.words import format_space, shortened_list
from trainables.run.parameters import ChoiceSpace, Prior, Space

if TYPE_CHECKING:
    from trainables.run.parameters import AnySpace


@pytest.mark.parametrize(
    ("names", "text"), [([], ""), (["a", "b"], "a, b"), (["a", "b", "c"], "a, b, …")]
)
def test_a_list_that_was_cut_says_so(names: list[str], text: str) -> None:
    assert shortened_list(names, 2) == text


@pytest.mark.parametrize(
    ("name", "space", "text"),
    [
        ("lambda", Space(0.05, 20, log=True), "λ in [0.05, 20], log"),
        ("alpha", Space(0.5, 0.99, prior=Prior(0.2)), "α in [0.5, 0.99], prior of width 0.2"),
        ("n", Space(1, 64, log=True, integer=True), "n in [1, 64], integers, log"),
        ("kind", ChoiceSpace(("soft", "hard")), "kind in {soft, hard}"),
        (
            "beta",
            Space(0, 1, when={"kind": ("soft", "mixed"), "clamps": (True,)}),
            "β in [0, 1], where kind is soft or mixed and clamps is true",
        ),
    ],
)
def test_search_spaces_are_described(name: str, space: AnySpace, text: str) -> None:
    assert format_space(name, space) == text
