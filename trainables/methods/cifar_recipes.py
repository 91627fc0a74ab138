"""What published recipes for CIFAR have in common."""

from __future__ import annotations

from trainables.schedules import CONSTANT, Schedule
from trainables.spec import Recipe


def cifar(
    epochs: int,
    learning_rate: float,
    schedule: Schedule = CONSTANT,
    weight_decay: float = 1e-4,
    batch_size: int = 128,
    **others: object,
) -> Recipe:
    """Return a recipe of SGD with momentum 0.9 on cropped and flipped images.

    Mean and deviation of the images are left to the study.
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
