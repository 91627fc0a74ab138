"""Published recipes and values on combined noise, and on noise that a public code does not have."""

from __future__ import annotations

import pytest

from trainables.methods import method_of
from trainables.methods.published import PublishedRecipe, first_match


def recipe_of(method: str, dataset: str, scenario: str) -> PublishedRecipe | None:
    return first_match(method_of(method).published_recipes, dataset, scenario)


@pytest.mark.parametrize("second", ["symmetric-0.3", "asymmetric-0.3"])
@pytest.mark.parametrize("dataset", ["cifar10", "cifar100"])
def test_combined_noise_has_the_recipe_for_pmd_noise(dataset: str, second: str) -> None:
    scenario = f"pmd-1-0.35+{second}"
    selc = recipe_of("selc", dataset, scenario)
    assert selc is not None
    assert (selc.recipe.epochs, selc.recipe.learning_rate) == (150, 0.1)
    assert [recipe_of(method, dataset, scenario) for method in ("sat", "dac", "elr")] == [None] * 3


@pytest.mark.parametrize(
    ("dataset", "scenario", "epoch"),
    [
        ("cifar100", "pmd-1-0.35+symmetric-0.3", 16),
        ("cifar100", "pmd-1-0.35", 9),
        ("cifar10", "pmd-1-0.35+symmetric-0.3", 9),
    ],
)
def test_plc_corrects_later_under_combined_noise_on_cifar_100(
    dataset: str, scenario: str, epoch: int
) -> None:
    setting = first_match(method_of("plc").settings, dataset, scenario)
    assert setting is not None
    assert setting.values["first_correction_epoch"] == epoch


@pytest.mark.parametrize("method", ["sat", "dac", "dac-abstain"])
@pytest.mark.parametrize("dataset", ["cifar10", "cifar100"])
def test_a_recipe_for_noise_that_the_code_lacks_is_called_inferred(
    method: str, dataset: str
) -> None:
    symmetric = recipe_of(method, dataset, "symmetric-incl-0.4")
    asymmetric = recipe_of(method, dataset, "asymmetric-0.4")
    assert symmetric is not None
    assert asymmetric is not None
    assert asymmetric.recipe == symmetric.recipe
    note = "that it holds for asymmetric noise is inferred"
    assert note in asymmetric.source
    assert note not in symmetric.source


@pytest.mark.parametrize("method", ["joint", "joint-labels"])
def test_joint_optimization_has_no_public_code_for_cifar_100(method: str) -> None:
    setting = first_match(method_of(method).settings, "cifar100", "symmetric-0.4")
    hundred, ten = (recipe_of(method, name, "pmd-1-0.35") for name in ("cifar100", "cifar10"))
    assert setting is not None
    assert hundred is not None
    assert ten is not None
    assert "no public code for CIFAR-100" in setting.source
    assert "no public code for CIFAR-100" in hundred.source
    assert (hundred.recipe, hundred.hold_out) == (ten.recipe, ten.hold_out)
    assert "CIFAR-100" not in ten.source
