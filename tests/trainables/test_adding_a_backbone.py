"""Example of docs/adding-a-backbone.md, in a file beside a study."""

from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING

import torch
from documents import ROOT, write_shown_files
from networks import build, count

from search_spaces.loader import load_study

if TYPE_CHECKING:
    from pathlib import Path

DOCUMENT = "docs/adding-a-backbone.md"


def test_the_study_builds_the_network(tmp_path: Path) -> None:
    path = write_shown_files(DOCUMENT, tmp_path)
    backbone = load_study(str(path), is_allowed=lambda _file: True).study.backbone

    network = build(backbone.name, (1, 8, 8), outputs=4, values=backbone.parameters)

    assert count(network) == (25 * 32 + 32) + (32 * 4 + 4) + 33
    logits, attention = network(torch.randn(5, 1, 8, 8))
    assert (logits.shape, attention.shape) == ((5, 4), (5,))


def test_loading_the_study_does_not_import_torch(tmp_path: Path) -> None:
    path = write_shown_files(DOCUMENT, tmp_path)
    code = (
        "import sys; from search_spaces.loader import load_study;"
        f"load_study({str(path)!r}, is_allowed=lambda file: True);"
        "print('torch' in sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        env={"PYTHONPATH": str(ROOT)},
        check=False,
    )

    assert (done.stdout, done.stderr) == ("False\n", "")
