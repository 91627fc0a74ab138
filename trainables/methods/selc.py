"""Self-ensemble label correction (Lu and He, IJCAI 2022)."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from trainables.methods.base import Batch, MultiStep, Parameter, Published, Selection, Setting
from trainables.methods.cifar_recipes import ANIMAL10N, cifar
from trainables.methods.tables import (
    MOMENTUM,
    MovingTargets,
    first_target_epoch,
    soft_cross_entropy,
)
from trainables.run.recipe import Recipe

if TYPE_CHECKING:
    import torch


_REPOSITORY = "MacLLL/SELC"
_CIFAR10 = {"symmetric*-0.2": 40, "symmetric*-0.4": 30, "symmetric*-0.6": 30, "symmetric*-0.8": 40}
_CIFAR100 = {"symmetric*-0.2": 30, "symmetric*-0.4": 20, "symmetric*-0.6": 30, "symmetric*-0.8": 40}


def _last_plain(dataset: str, epochs: dict[str, int]) -> tuple[Setting, ...]:
    return tuple(
        Setting(dataset, noise, {"first_target_epoch": last + 1}, _REPOSITORY)
        for noise, last in epochs.items()
    )


class SelfEnsemble(MovingTargets):
    """Cross entropy to the label, then to targets t that become α t + (1 - α) p in each epoch.

    `first_target_epoch` is the first with targets: one more than the code's `es`, the last epoch
    without.
    """

    name: ClassVar[str] = "selc"
    title: ClassVar[str] = "SELC"
    source: ClassVar[str] = "Lu and He, IJCAI 2022, eq. 3 and 4"
    parameters: ClassVar[tuple[Parameter, ...]] = (
        MOMENTUM,
        first_target_epoch(41, "SELC code: 21 to 41"),
    )
    settings: ClassVar[tuple[Setting, ...]] = (
        *_last_plain("cifar10", {**_CIFAR10, "asymmetric-0.4": 40, "pmd-*": 40}),
        *_last_plain("cifar100", {**_CIFAR100, "asymmetric-0.4": 20, "pmd-*": 40}),
        Setting(
            "animal10n",
            "*",
            {"first_target_epoch": 42},
            f"{_REPOSITORY}; es is 40 there too, but that script counts epochs from 0",
        ),
        Setting("clothing1m", "*", {"first_target_epoch": 6, "alpha": 0.8}, _REPOSITORY),
        Setting("webvision", "*", {"first_target_epoch": 41}, _REPOSITORY),
    )
    published: ClassVar[tuple[Published, ...]] = (
        Published(
            "cifar10*", "*symmetric*", cifar(200, 0.02, MultiStep((40, 80)), 1e-3), _REPOSITORY
        ),
        Published(
            "cifar10*",
            "pmd-*",
            # Its optimiser of an epoch is made with the rate of the epoch before.
            cifar(150, 0.1, MultiStep((61, 121), 0.2), 5e-4),
            f"{_REPOSITORY}; its optimiser is made anew, without momentum, each epoch, here once",
        ),
        Published(
            "animal10n",
            "*",
            ANIMAL10N,
            _REPOSITORY,
        ),
        Published(
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
            f"{_REPOSITORY}; from ImageNet weights, which the backbone has to be told",
            selection=Selection.TEST,
        ),
        Published(
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
            f"{_REPOSITORY}; that the last epoch's numbers are meant is inferred",
        ),
    )

    def loss(self, batch: Batch) -> torch.Tensor:
        """Move the batch's targets from the first target epoch on, then return the mean loss."""
        return soft_cross_entropy(batch.logits, self.moved(batch)).mean()
