"""Example of docs/adding-a-backbone.md, added as a user would add it."""

from __future__ import annotations

import importlib.util
import re
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from networks import build, count

from trainables.backbones import BACKBONES

ROOT = Path(__file__).parents[3]
DOCUMENT = ROOT / "docs" / "adding-a-backbone.md"


@pytest.fixture
def example(tmp_path: Path) -> Path:
    (code,) = re.findall(r"```python\n(.*?)```", DOCUMENT.read_text(), re.DOTALL)
    path = tmp_path / "lenet.py"
    path.write_text(code)
    return path


def test_it_is_a_backbone(example: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    spec = importlib.util.spec_from_file_location("lenet", example)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    monkeypatch.setitem(BACKBONES, "lenet", module.LeNet())
    network = build("lenet", (1, 8, 8), outputs=4, values={"width": 32})

    assert count(network) == (25 * 32 + 32) + (32 * 4 + 4) + 33
    logits, attention = network(torch.randn(5, 1, 8, 8))
    assert (logits.shape, attention.shape) == ((5, 4), (5,))


def test_its_declaration_needs_no_torch(example: Path) -> None:
    code = (
        "import sys, lenet, trainables.backbones; print('torch' in sys.modules, lenet.LeNet.name)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        env={"PYTHONPATH": f"{ROOT}:{example.parent}"},
        check=False,
    )

    assert (done.stdout, done.stderr) == ("False lenet\n", "")
