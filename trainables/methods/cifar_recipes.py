"""What published recipes have in common: those for CIFAR a form, those for ANIMAL-10N all."""

from __future__ import annotations

from trainables.run.recipe import Recipe
from trainables.run.schedules import CONSTANT, MultiStep, Schedule

ANIMAL10N = Recipe(
    epochs=100,
    batch_size=128,
    drop_last=True,
    learning_rate=0.1,
    momentum=0.0,
    weight_decay=1e-3,
    schedule=MultiStep((50, 75), 0.2),
    augmentation=("flip",),
    mean=(0.485, 0.456, 0.406),
    std=(0.229, 0.224, 0.225),
)
"""PLC's, which SELC and NAL took over: SGD without momentum, statistics of ImageNet."""


def cifar(
    epochs: int,
    learning_rate: float,
    schedule: Schedule = CONSTANT,
    weight_decay: float = 1e-4,
    batch_size: int = 128,
    **others: object,
) -> Recipe:
    """Return a recipe of SGD with momentum 0.9 on cropped and flipped images.

    Mean and deviation of the images are left to the study where `others` do not say them.
    """
    return Recipe(
        epochs=epochs,
        learning_rate=learning_rate,
        schedule=schedule,
        weight_decay=weight_decay,
        batch_size=batch_size,
        augmentation=("crop", "flip"),
        **others,  # type: ignore[arg-type]
    )
