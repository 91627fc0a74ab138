"""Self-ensemble label correction, SELC (Lu and He, IJCAI 2022)."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from trainables.methods.base import (
    Batch,
    EpochSelection,
    MultiStep,
    Parameter,
    PublishedRecipe,
    Setting,
)
from trainables.methods.per_sample_state import (
    TARGET_MOMENTUM,
    MethodWithMovingTargets,
    first_target_epoch_parameter,
    soft_cross_entropy,
)
from trainables.methods.published import ANIMAL10N_RECIPE, cifar_recipe
from trainables.run.recipe import Recipe

if TYPE_CHECKING:
    import torch


_REPOSITORY = "MacLLL/SELC"
_CIFAR10_LAST_LABEL_EPOCHS = {
    "symmetric*-0.2": 40,
    "symmetric*-0.4": 30,
    "symmetric*-0.6": 30,
    "symmetric*-0.8": 40,
    "asymmetric-0.4": 40,
    "pmd-*": 40,
}
"""Last epoch trained on noisy labels of CIFAR-10, by noise scenario (`es` in the SELC code)."""
_CIFAR100_LAST_LABEL_EPOCHS = {
    "symmetric*-0.2": 30,
    "symmetric*-0.4": 20,
    "symmetric*-0.6": 30,
    "symmetric*-0.8": 40,
    "asymmetric-0.4": 20,
    "pmd-*": 40,
}
"""Last epoch trained on noisy labels of CIFAR-100, by noise scenario (`es` in the SELC code)."""


def _first_target_epoch_settings(
    dataset: str, last_label_epochs: dict[str, int]
) -> tuple[Setting, ...]:
    """Return settings of `first_target_epoch` from the last epochs trained on noisy labels."""
    return tuple(
        Setting(dataset, noise, {"first_target_epoch": epoch + 1}, _REPOSITORY)
        for noise, epoch in last_label_epochs.items()
    )


class SelfEnsembleLabelCorrection(MethodWithMovingTargets):
    """Cross entropy to noisy labels in early epochs, and to moving targets later.

    From `first_target_epoch` on, each training step on a sample changes the sample's target t to
    α t + (1 - α) p, where p is the prediction. The parameter `es` of SELC's public code is the
    epoch before `first_target_epoch`.
    """

    name: ClassVar[str] = "selc"
    title: ClassVar[str] = "SELC"
    source: ClassVar[str] = "Lu and He, IJCAI 2022, eq. 3 and 4"
    parameters: ClassVar[tuple[Parameter, ...]] = (
        TARGET_MOMENTUM,
        first_target_epoch_parameter(41, "SELC code: 21 to 41"),
    )
    settings: ClassVar[tuple[Setting, ...]] = (
        *_first_target_epoch_settings("cifar10", _CIFAR10_LAST_LABEL_EPOCHS),
        *_first_target_epoch_settings("cifar100", _CIFAR100_LAST_LABEL_EPOCHS),
        Setting(
            "animal10n",
            "*",
            {"first_target_epoch": 42},
            f"{_REPOSITORY}; es is 40 there too, but that script counts epochs from 0",
        ),
        Setting("clothing1m", "*", {"first_target_epoch": 6, "alpha": 0.8}, _REPOSITORY),
        Setting("webvision", "*", {"first_target_epoch": 41}, _REPOSITORY),
    )
    published_recipes: ClassVar[tuple[PublishedRecipe, ...]] = (
        *(
            PublishedRecipe(
                "cifar10*", noise, cifar_recipe(200, 0.02, MultiStep((40, 80)), 1e-3), _REPOSITORY
            )
            for noise in ("symmetric*", "asymmetric*")
        ),
        PublishedRecipe(
            "cifar10*",
            "pmd-*",
            # The public code creates an epoch's optimiser with the rate of the epoch before.
            cifar_recipe(150, 0.1, MultiStep((61, 121), 0.2), 5e-4, reset_optimizer=True),
            _REPOSITORY,
        ),
        PublishedRecipe("animal10n", "*", ANIMAL10N_RECIPE, _REPOSITORY),
        PublishedRecipe(
            "clothing1m",
            "*",
            Recipe(
                40,
                64,
                0.01,
                weight_decay=1e-3,
                schedule=MultiStep((10, 20)),
                augmentation=("crop", "flip"),
            ),
            f"{_REPOSITORY}; from ImageNet weights, which the study must set for the backbone",
            selection=EpochSelection.TEST,
        ),
        PublishedRecipe(
            "webvision",
            "*",
            Recipe(
                100,
                32,
                0.01,
                weight_decay=5e-4,
                schedule=MultiStep((40, 80)),
                augmentation=("crop", "flip"),
            ),
            f"{_REPOSITORY}; that its numbers are those of the last epoch is inferred",
        ),
    )

    def loss(self, batch: Batch) -> torch.Tensor:
        """Update the targets if due, and return the mean loss of a batch."""
        return soft_cross_entropy(batch.logits, self.update_targets(batch)).mean()
