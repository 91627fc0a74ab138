from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest

from search_spaces.files import study_names, study_titles
from search_spaces.loader import load_study
from search_spaces.schema import Phase
from search_spaces.yaml_lines import parse_yaml
from trainables.parameters import Space
from trainables.schedules import CosineRestarts

if TYPE_CHECKING:
    from pathlib import Path


def test_the_list_of_studies() -> None:
    assert study_names() == ["cifar10", "cifar100", "digits", "digits-methods"]
    assert study_titles() == {
        "cifar10": "CIFAR-10, symmetric noise (Table 1)",
        "cifar100": "CIFAR-100, symmetric noise (Table 1)",
        "digits": "scikit-learn digits, 40 % symmetric noise",
        "digits-methods": "scikit-learn digits, 40 % symmetric noise, every method",
    }


@pytest.mark.parametrize("name", study_names())
def test_every_value_that_a_study_gives_has_a_source(name: str) -> None:
    loaded = load_study(name)
    assert loaded.name == name
    unsaid = {k: v for k, v in loaded.sources.items() if re.search(r"\.yaml:\d+$", v)}
    assert unsaid == {}
    assert loaded.study.deviations
    assert not any("\n" in text for text in loaded.study.deviations)


@pytest.mark.parametrize("name", study_names())
def test_every_study_survives_its_yaml(name: str, tmp_path: Path) -> None:
    loaded = load_study(name)
    path = tmp_path / f"{name}.yaml"
    path.write_text(loaded.to_yaml())
    again = load_study(str(path))
    assert again == loaded


@pytest.mark.parametrize("name", study_names())
def test_the_reference_lies_inside_the_space(name: str) -> None:
    study = load_study(name).study
    reference = study.reference_of("nal")
    assert reference is not None
    for parameter, space in study.space_of("nal").items():
        assert 0 < space.position(reference.number(parameter)) < 1


def test_digits() -> None:
    study = load_study("digits").study
    assert study.reference_of("nal") == {"lambda": 0.5, "alpha": 0.9}
    assert study.space_of("nal")["lambda"] == Space(0.05, 20, log=True)
    assert (study.search.trials, study.select.candidates) == (12, 3)
    assert (len(study.select.seeds), len(study.confirm.seeds)) == (3, 5)
    assert study.fraction_held_out(Phase.CONFIRM, "nal", "symmetric-0.4") == 0.3
    assert (study.recipe.learning_rate, study.recipe.weight_decay) == (0.05, 0.0005)
    assert study.recipe.mean is None
    assert study.resources.gpus == 0


def test_the_papers_studies() -> None:
    ten, hundred = load_study("cifar10").study, load_study("cifar100").study
    assert ten.reference_of("nal") == {"lambda": 0.5, "alpha": 0.9}
    assert hundred.reference_of("nal") == {"lambda": 10, "alpha": 0.9}
    assert hundred.space_of("nal")["lambda"] == Space(0.5, 200, log=True)
    for study in (ten, hundred):
        assert study.backbone.name == "resnet34"
        assert study.recipe.schedule == CosineRestarts(period=10, minimum=0.001)
        assert study.recipe.augmentation == ("crop", "flip")
        assert study.scenarios == tuple(f"symmetric-0.{n}" for n in (2, 4, 6, 8))
        assert study.searched == {"symmetric-0.4": study.scenarios}
        assert study.fraction_held_out(Phase.CONFIRM, "nal", "symmetric-0.4") == 0
        targets = {"first_target_epoch": 60, "target_interval": 10, "clamps": False, "beta": 0.0}
        assert study.hyperparameters["nal"].items() >= targets.items()
    assert ten.recipe.mean != hundred.recipe.mean


def test_resolved_studies_are_plain_yaml() -> None:
    text = load_study("cifar100").to_yaml()
    value = parse_yaml(text).value
    assert isinstance(value, dict)
    assert "extends" not in value
    assert "&" not in text
