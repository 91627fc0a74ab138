"""The table in which `train` prints the result of a run."""

from __future__ import annotations

from dataclasses import replace

import pytest
from factories import make_result, make_spec
from rich.console import Console

from orchestrator.commands.train import _result_table


@pytest.mark.parametrize(
    ("hold_out", "skipped", "dataset_size", "text"),
    [
        (0.0, 0, 1437, "all images"),
        (0.0, 0, 2000, "1437 of 2000 images"),
        (0.0, 2, 1437, "1435 of 1437 images"),
        (0.3, 0, 1437, "1006 of 1437 images; the noisy labels of 431 others are held out"),
        (0.3, 2, 1437, "1004 of 1437 images; the noisy labels of 431 others are held out"),
    ],
)
def test_images_that_are_held_out_or_left_out_are_not_all_images(
    hold_out: float, skipped: int, dataset_size: int, text: str
) -> None:
    spec = make_spec(hold_out=hold_out, evaluate=("test",))
    result = replace(make_result(spec), skipped=skipped)
    console = Console(width=120, color_system=None)
    with console.capture() as capture:
        console.print(_result_table(result, {}, dataset_size, "folder"))
    (line,) = [line for line in capture.get().splitlines() if line.startswith("trained on")]
    assert line.removeprefix("trained on").strip() == text
    assert ("left out" in capture.get()) == bool(skipped)
