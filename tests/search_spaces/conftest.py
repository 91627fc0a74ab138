"""Fixtures: a small study file, of which tests change a line."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

STUDY = """\
title: a small study
dataset: digits
backbone:
  name: mlp
  hidden: [16]
scenarios: [symmetric-0.4, clean]
recipe:
  epochs: 60
  batch_size: 64
  learning_rate: 0.05
  schedule:
    kind: constant
  window: 10
methods: [ce, nal]
tune: [nal]
hyperparameters:
  nal:
    first_target_epoch: 10
reference:
  nal:
    lambda: 0.5
    alpha: 0.9
search:
  scenario: symmetric-0.4
  trials: 4
  seeds: [1000]
  hold_out: 0.3
  space:
    nal:
      lambda: {low: 0.05, high: 20, log: true}
      alpha: {low: 0.5, high: 0.99}
select:
  seeds: [2000, 2001]
confirm:
  seeds: [0, 1, 2]
  hold_out: true
"""


@pytest.fixture
def study_text() -> str:
    """Text of the small study."""
    return STUDY


@pytest.fixture
def write_study(tmp_path: Path) -> Callable[..., Path]:
    """Return a function that writes the small study to a file and returns its path.

    The first occurrence of `old` in the study is replaced by `new`.
    """

    def write(old: str = "", new: str = "", name: str = "small.yaml") -> Path:
        assert old in STUDY
        path = tmp_path / name
        path.write_text(STUDY.replace(old, new, 1) if old else STUDY)
        return path

    return write
