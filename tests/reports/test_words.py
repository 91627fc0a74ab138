from __future__ import annotations

import pytest

from reports.words import shortened_list


@pytest.mark.parametrize(
    ("names", "text"), [([], ""), (["a", "b"], "a, b"), (["a", "b", "c"], "a, b, …")]
)
def test_a_list_that_was_cut_says_so(names: list[str], text: str) -> None:
    assert shortened_list(names, 2) == text
