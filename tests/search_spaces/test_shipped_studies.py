from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
from documents import shown_files

from orchestrator.planning.plan import Plan
from orchestrator.planning.sizes import phase_sizes
from reports.paper import find_paper_results, paper_noise_of, paper_results
from search_spaces.deviations import applicable_deviations
from search_spaces.files import shipped_study_names, shipped_study_titles
from search_spaces.loader import load_study
from search_spaces.resolve import matched_recipe, posterior_recipe, reference_of, resolve
from search_spaces.schema import Phase
from search_spaces.yaml_lines import parse_yaml
from trainables.backbones import backbone_of
from trainables.datasets import source_of
from trainables.datasets.base import Dataset, Split
from trainables.datasets.pictures import Pictures
from trainables.methods import METHODS, check_state_size, method_of
from trainables.run.parameters import Space
from trainables.run.schedules import CosineRestarts, MultiStep

if TYPE_CHECKING:
    from trainables.datasets.base import Source


TITLES = {
    "animal10n": "ANIMAL-10N, real noise (Table 3)",
    "cifar10": "CIFAR-10, symmetric and asymmetric noise (Table 1)",
    "cifar10-ablation": "CIFAR-10, ablations of NAL (Table 6)",
    "cifar10-pmd": "CIFAR-10, PMD noise (Table 2)",
    "cifar10-sensitivity": "CIFAR-10, sensitivity to λ and α (Fig. 4 e, f)",
    "cifar10-small": "CIFAR-10, ResNet-20 on 10,000 images",
    "cifar100": "CIFAR-100, symmetric and asymmetric noise (Table 1)",
    "cifar100-ablation": "CIFAR-100, ablations of NAL (Table 6)",
    "cifar100-pmd": "CIFAR-100, PMD noise (Table 2)",
    "cifar100n": "CIFAR-100N, labels by human annotators",
    "cifar10n": "CIFAR-10N, labels by human annotators",
    "clothing1m": "Clothing1M, real noise (Table 4)",
    "digits": "scikit-learn digits, 40 % symmetric noise",
    "digits-methods": "scikit-learn digits, 40 % symmetric noise, every method",
    "digits-variance": "scikit-learn digits, sources of the variation between seeds",
    "webvision": "mini-WebVision, real noise (Table 5)",
}
TABLES = {
    "cifar10": (1, "CIFAR-10"),
    "cifar100": (1, "CIFAR-100"),
    "cifar10-pmd": (2, "CIFAR-10"),
    "cifar100-pmd": (2, "CIFAR-100"),
    "animal10n": (3, "ANIMAL-10N"),
    "clothing1m": (4, "Clothing1M"),
    "webvision": (5, "mini-WebVision"),
    "cifar10-ablation": (6, "CIFAR-10"),
    "cifar100-ablation": (6, "CIFAR-100"),
}
"""Number and dataset of the paper's table that each study reproduces."""


def test_the_list_of_studies() -> None:
    assert sorted(shipped_study_names()) == sorted(TITLES)
    assert shipped_study_titles() == TITLES


@pytest.mark.parametrize("name", TABLES)
def test_a_study_has_the_columns_and_rows_of_its_table(name: str) -> None:
    study = load_study(name).study
    number, dataset = TABLES[name]
    table = [
        r
        for r in paper_results()
        if (r.table, r.dataset) == (number, dataset)
        and (r.mean is not None or "converge" in r.note)
    ]
    settings = {paper_noise_of(scenario) for scenario in study.scenarios}
    noises = {(r.noise_type, 0.0 if r.noise_type == "real" else r.noise_rate) for r in table}
    assert {(s.noise_type, s.noise_rate) for s in settings if s} == noises

    titles = {method_of(method).title for method in METHODS}
    rows = {r.method for r in table} & titles
    beside = {"Cross Entropy", "ELR"}  # Table 5 has no such row, and a name without numbers
    assert {method_of(method).title for method in study.methods} | beside == rows | beside
    backbone = backbone_of(study.backbone.name).title
    scenario = study.scenarios[0]
    shown = find_paper_results(source_of(study.dataset).title, scenario, backbone)
    assert rows <= {r.method for r in shown} | {"NAL + RNAL"}


def fake_dataset(source: Source) -> Dataset:
    """Return a dataset with the sizes and shapes of a source but without pixels, for planning."""
    classes = source.class_count or 10

    def split(count: int) -> Split:
        labels = np.arange(count, dtype=np.int64) % classes
        if source.image_shape is not None:
            return Split(np.broadcast_to(np.uint8(0), (count, *source.image_shape)), labels)
        empty = np.zeros(count, dtype=np.int64)
        return Split(Pictures(Path("nowhere"), np.zeros(0, np.uint8), empty, empty), labels)

    small = split(classes)
    train = split(source.train_size or 0)
    return Dataset(
        source.name,
        tuple(map(str, range(classes))),
        train,
        small,
        digest="d" * 64,
        validation=small if source.has_validation else None,
        annotations=dict.fromkeys(source.annotation_names, train.labels),
    )


@pytest.mark.parametrize("name", TITLES)
def test_every_study_can_be_planned(name: str) -> None:
    study = load_study(name).study
    source = source_of(study.dataset)
    plan = Plan(name, study, fake_dataset(source))
    assert all(size.max_run_count > 0 for size in phase_sizes(plan))
    for size in phase_sizes(plan):
        for group in size.groups:
            kind = method_of(group.spec.method)
            kind.check(group.spec.hyperparameters, group.spec.recipe.epochs)
            check_state_size(
                kind, group.spec.hyperparameters, group.train_count, source.class_count or 10
            )
            chooses = size.phase is not Phase.CONFIRM
            assert ("test" in group.spec.evaluate) != chooses
    (shape,) = {
        group.spec.recipe.input_shape(source.image_shape)
        for size in phase_sizes(plan)
        for group in size.groups
    }
    backbone_of(study.backbone.name).check(shape)


@pytest.mark.parametrize("name", shipped_study_names())
def test_every_value_of_a_study_has_a_source(name: str) -> None:
    loaded = load_study(name)
    assert loaded.name == name
    unsourced = {k: v for k, v in loaded.sources.items() if re.search(r"\.yaml:\d+$", v)}
    assert unsourced == {}
    assert loaded.study.deviations
    assert not any("\n" in deviation.text for deviation in loaded.study.deviations)


@pytest.mark.parametrize("name", shipped_study_names())
def test_every_study_survives_export(name: str, tmp_path: Path) -> None:
    loaded = load_study(name)
    path = tmp_path / f"{name}.yaml"
    path.write_text(loaded.to_yaml())
    again = load_study(str(path))
    assert again == loaded


@pytest.mark.parametrize("name", shipped_study_names())
def test_the_reference_lies_inside_the_space(name: str) -> None:
    study = load_study(name).study
    reference = reference_of(study, "nal")
    assert reference is not None
    for parameter, space in study.space_of("nal").items():
        assert isinstance(space, Space)
        assert 0 < space.position(reference.number(parameter)) < 1


PUBLIC_RECIPES = {
    "cifar10": ("symmetric-0.4", 500, 64, 0.02, 0.9, 1e-3, CosineRestarts(10, 1e-3)),
    "cifar100": ("asymmetric-0.4", 300, 64, 0.02, 0.9, 1e-3, CosineRestarts(10, 1e-3)),
    "animal10n": ("clean", 100, 128, 0.1, 0.0, 1e-3, MultiStep((50, 75), 0.2)),
    "clothing1m": ("clean", 400, 64, 0.02, 0.9, 1e-3, CosineRestarts(10, 1e-4)),
    "webvision": ("clean", 500, 32, 0.02, 0.9, 5e-4, CosineRestarts(10, 1e-3)),
}
"""Recipes of NAL's public code: scenario, epochs, batch size, learning rate, momentum, weight
decay and schedule. Its numbers are in train_cifar.py, train_animal10n.py, train_clothing1m.py and
train_webvision.py."""


@pytest.mark.parametrize("name", PUBLIC_RECIPES)
def test_recipes_are_those_of_the_public_code(name: str) -> None:
    scenario, *numbers, schedule = PUBLIC_RECIPES[name]
    recipe = resolve(load_study(name).study, "nal", str(scenario)).recipe

    assert [recipe.epochs, recipe.batch_size, recipe.learning_rate, recipe.momentum] == numbers[:4]
    assert (recipe.weight_decay, recipe.schedule) == (numbers[4], schedule)
    assert recipe.augmentation == (("flip",) if name == "animal10n" else ("crop", "flip"))
    assert recipe.drop_last is (name == "animal10n")
    assert not recipe.nesterov


def test_digits() -> None:
    study = load_study("digits").study
    assert dict(reference_of(study, "nal") or {}) == {"lambda": 0.5, "alpha": 0.9}
    assert study.space_of("nal")["lambda"] == Space(0.05, 20, log=True)
    assert (study.search.trials, study.select.candidates) == (12, 3)
    assert (len(study.select.seeds), len(study.confirm.seeds)) == (3, 5)
    assert resolve(study, "nal", "symmetric-0.4").hold_out(Phase.CONFIRM) == 0.3
    assert (matched_recipe(study).learning_rate, matched_recipe(study).weight_decay) == (
        0.05,
        0.0005,
    )
    assert matched_recipe(study).mean is None
    assert study.resources.gpus == 0


def test_the_papers_studies() -> None:
    ten, hundred = load_study("cifar10").study, load_study("cifar100").study
    assert dict(reference_of(ten, "nal") or {}) == {"lambda": 0.5, "alpha": 0.9}
    assert dict(reference_of(hundred, "nal") or {}) == {"lambda": 10, "alpha": 0.9}
    assert hundred.space_of("nal")["lambda"] == Space(0.5, 200, log=True)
    for study in (ten, hundred):
        assert study.backbone.name == "resnet34"
        assert matched_recipe(study).schedule == CosineRestarts(period=10, minimum=0.001)
        assert matched_recipe(study).augmentation == ("crop", "flip")
        symmetric = (f"symmetric-0.{n}" for n in (2, 4, 6, 8))
        assert study.scenarios == (*symmetric, "asymmetric-0.4")
        assert resolve(study, "nal", "asymmetric-0.4").recipe.epochs == 300
        assert study.search_scenarios == {"symmetric-0.4": study.scenarios}
        assert resolve(study, "nal", "symmetric-0.4").hold_out(Phase.CONFIRM) == 0
        targets = {"first_target_epoch": 60, "target_interval": 10, "clamps": False, "beta": 0.0}
        assert resolve(study, "nal", study.scenarios[0]).hyperparameters.items() >= targets.items()
    assert matched_recipe(ten).mean != matched_recipe(hundred).mean


def test_resolved_studies_are_plain_yaml() -> None:
    text = load_study("cifar100").to_yaml()
    value = parse_yaml(text).value
    assert isinstance(value, dict)
    assert "extends" not in value
    assert "&" not in text


def test_the_study_that_the_readme_shows(tmp_path: Path) -> None:
    path = tmp_path / "pictures.yaml"
    path.write_text(shown_files("README.md")["pictures.yaml"], encoding="utf-8")
    study = load_study(str(path)).study
    assert (study.dataset, matched_recipe(study).epochs, matched_recipe(study).mean) == (
        "folder",
        100,
        None,
    )
    assert study.space_of("nal")["lambda"] == Space(0.1, 50, log=True)
    assert not any("quotes" in text for text in applicable_deviations(study))
    assert any("clamps" in text for text in applicable_deviations(study))


@pytest.mark.parametrize(
    ("name", "epochs"),
    [("cifar10", 25), ("cifar10-pmd", 25), ("cifar100", 35), ("cifar100-pmd", 35)],
)
def test_pmd_noise_has_the_network_of_its_authors_in_every_study(name: str, epochs: int) -> None:
    study = load_study(name).study
    posterior = study.posterior
    assert posterior.backbone is not None
    assert posterior.backbone.name == "resnet34"
    recipe = posterior_recipe(study)
    assert (recipe.epochs, recipe.batch_size, recipe.learning_rate) == (epochs, 128, 1e-3)
    assert (recipe.momentum, recipe.nesterov, recipe.weight_decay) == (0.9, True, 5e-4)
    assert posterior.seed == 123
