"""The command `noise`."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import numpy as np
import pytest

from orchestrator.commands import noise
from orchestrator.flags import Locations, StudyFlags
from trainables.datasets import load
from trainables.run.seeds import Seeds
from trainables.run_data.realisation import draw_realisation, labels_digest

if TYPE_CHECKING:
    from pathlib import Path


def test_noise_prints_and_saves_a_draw(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    study_flags = StudyFlags("digits", scenarios=("symmetric-incl-0.4",))
    locations = Locations(home_dir=tmp_path)
    assert noise.run(study_flags, locations, 5, as_json=True) == 0
    output = json.loads(capsys.readouterr().out)

    realisation = draw_realisation(
        load("digits", tmp_path, None), "symmetric-incl-0.4", Seeds.from_base_seed(5, subset=0)
    )
    assert output["sha256"] == realisation.digest
    assert output["nominal_rate"] == 0.4
    assert output["true_rate"] == realisation.flip_rate
    assert output["transition"] == realisation.transition
    saved = np.load(output["file"])
    assert labels_digest(saved) == realisation.digest

    assert noise.run(study_flags, locations, 5, as_json=False) == 0
    page = capsys.readouterr().out
    assert realisation.digest in page.replace("\n", "").replace(" ", "")
    assert f"{realisation.flip_rate:.2%}" in page
    for row in range(10):
        assert f"{100 * realisation.transition[row][row]:.1f}" in page


@pytest.mark.slow
def test_pmd_noise_trains_its_network_once(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    study_flags = StudyFlags("digits", scenarios=("pmd-1-0.35",), epochs=20)
    outputs = []
    for _ in range(2):
        assert noise.run(study_flags, Locations(home_dir=tmp_path), 0, as_json=True) == 0
        outputs.append(json.loads(capsys.readouterr().out))

    assert outputs[0] == outputs[1]
    assert abs(outputs[0]["true_rate"] - 0.35) < 5 * (0.35 * 0.65 / 1437) ** 0.5
    assert len(list((tmp_path / "runs").glob("*/predictions.npy"))) == 1
