"""The recipe of a run: all settings of the optimisation that are independent of the method."""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace
from typing import ClassVar, Literal

from trainables.errors import FieldError
from trainables.run.identity import NEUTRAL_DEFAULT
from trainables.run.schedules import CONSTANT_SCHEDULE, Schedule, scale_epoch_count

AUGMENTATIONS = ("crop", "flip")
"""Names of the random augmentations of training images.

"crop" pads a small image by `Recipe.crop_padding` pixels on each side and crops it to its original
size at a random position; from a large picture it crops a square of side `Recipe.crop_size`. "flip"
mirrors an image horizontally with probability 1/2."""

DEFAULT_CROP_PADDING = 4
"""Default number of pixels that "crop" adds on each side of a small image."""

Precision = Literal["float32", "bf16"]
"""Names of the number formats of the forward pass."""
Optimizer = Literal["sgd", "radam"]
"""Names of the optimisers."""

POSITIVE_INTEGER_FIELDS = ("epochs", "batch_size", "window", "evaluate_every")
"""Names of the fields of a recipe that must be at least 1."""

MAX_EPOCHS = 1_000_000
"""Largest number of epochs of a run."""


@dataclass(frozen=True, slots=True)
class Recipe:
    """Settings of the optimisation of a network, independent of the method.

    Attributes:
        epochs: number of passes over the training samples.
        batch_size: number of samples per step; the last batch of an epoch may be smaller.
        drop_last: whether a smaller last batch is dropped.
        learning_rate: base learning rate, which the schedule scales.
        optimizer: "sgd", the optimiser of the NAL paper, or "radam", which ignores `momentum` and
            decays weights apart from the gradient (decoupled weight decay).
        momentum: momentum of SGD.
        weight_decay: weight decay of every network parameter that the loss depends on.
        nesterov: whether SGD uses Nesterov momentum.
        reset_optimizer: whether the optimiser's state, such as the momentum of past steps, is
            discarded before each epoch.
        max_gradient_norm: largest Euclidean norm of the gradient of all weights; larger gradients
            are scaled down to it. None for no limit.
        schedule: learning rate as a function of the epoch.
        augmentation: names of the augmentations of training images, from `AUGMENTATIONS`.
        crop_size: side in pixels of the square that is cut out of a large picture as input of the
            network, from the centre unless "crop" is among the augmentations; None for small
            images, which are used whole.
        crop_padding: number of black pixels that "crop" adds on each side of a small image.
        mean: mean of each channel for pixels scaled to [0, 1]; None to measure it on the training
            samples.
        std: standard deviation of each channel for pixels scaled to [0, 1]; None to measure it on
            the training samples.
        window: number of epochs at the end of a run that are always evaluated, and that the
            protocol `held-out-mean` averages.
        evaluate_every: number of epochs between evaluations; the last `window` epochs are always
            evaluated.
        precision: number format of the forward pass; losses are always float32.
        tf32: whether CUDA may compute float32 products in TF32.
    """

    epochs: int
    batch_size: int
    learning_rate: float
    drop_last: bool = field(default=False, metadata=NEUTRAL_DEFAULT)
    optimizer: Optimizer = "sgd"
    momentum: float = 0.9
    weight_decay: float = 0.0
    nesterov: bool = field(default=False, metadata=NEUTRAL_DEFAULT)
    reset_optimizer: bool = field(default=False, metadata=NEUTRAL_DEFAULT)
    max_gradient_norm: float | None = field(default=None, metadata=NEUTRAL_DEFAULT)
    schedule: Schedule = CONSTANT_SCHEDULE
    augmentation: tuple[str, ...] = ()
    crop_size: int | None = field(default=None, metadata=NEUTRAL_DEFAULT)
    crop_padding: int = field(default=DEFAULT_CROP_PADDING, metadata=NEUTRAL_DEFAULT)
    mean: tuple[float, ...] | None = None
    std: tuple[float, ...] | None = None
    window: int = 10
    evaluate_every: int = 1
    precision: Precision = "float32"
    tf32: bool = field(default=False, metadata=NEUTRAL_DEFAULT)

    __pydantic_config__: ClassVar[dict[str, str]] = {"extra": "forbid"}

    def __post_init__(self) -> None:
        max_norm, crop_size = self.max_gradient_norm, self.crop_size
        for name, allowed, is_valid in (
            *((name, "at least 1", getattr(self, name) >= 1) for name in POSITIVE_INTEGER_FIELDS),
            ("epochs", f"at most {MAX_EPOCHS}", self.epochs <= MAX_EPOCHS),
            ("learning_rate", "above 0", self.learning_rate > 0),
            ("momentum", "in [0, 1)", 0 <= self.momentum < 1),
            ("weight_decay", "at least 0", self.weight_decay >= 0),
            ("max_gradient_norm", "above 0", max_norm is None or max_norm > 0),
            ("crop_size", "at least 1", crop_size is None or crop_size >= 1),
            ("crop_padding", "at least 0", self.crop_padding >= 0),
        ):
            if not is_valid:
                value = getattr(self, name)
                raise FieldError(name, f"{name} must be {allowed}, got {value}")
        for name in self.augmentation:
            if name not in AUGMENTATIONS:
                allowed = ", ".join(AUGMENTATIONS)
                raise FieldError("augmentation", f"unknown augmentation '{name}'; known: {allowed}")
        self._check_mean_and_std()
        self._normalise_values()
        if self.nesterov and self.momentum == 0:
            raise FieldError("nesterov", "nesterov requires momentum above 0, got 0")

    def _normalise_values(self) -> None:
        """Replace values that have the same effect by one of them, so that they share a digest."""
        for name in ("learning_rate", "momentum", "weight_decay", "max_gradient_norm"):
            if getattr(self, name) is not None:
                object.__setattr__(self, name, float(getattr(self, name)))
        ordered = tuple(name for name in AUGMENTATIONS if name in self.augmentation)
        object.__setattr__(self, "augmentation", ordered)
        if self.optimizer != "sgd":
            object.__setattr__(self, "momentum", 0.0)
        if "crop" not in self.augmentation or self.crop_size is not None:
            object.__setattr__(self, "crop_padding", DEFAULT_CROP_PADDING)
        if self.window > self.epochs:
            object.__setattr__(self, "window", self.epochs)

    def _check_mean_and_std(self) -> None:
        if (self.mean is None) != (self.std is None):
            raise FieldError("mean", "mean and std must both be set, or neither of them")
        if self.std is not None and (
            min(self.std) <= 0 or self.mean is None or len(self.mean) != len(self.std)
        ):
            raise FieldError("std", "std must have as many values as mean, all above 0")

    def scaled(self, epochs: int, schedule: Schedule | None = None) -> Recipe:
        """Return this recipe for another number of epochs, with window and schedule scaled.

        If this recipe evaluates the end of every learning rate cycle, the new recipe does as well.

        Args:
            epochs: number of epochs of the new recipe.
            schedule: schedule of the new recipe; None to scale the schedule of this recipe.
        """
        schedule = schedule or self.schedule.scaled(epochs / self.epochs)
        window = scale_epoch_count(self.window, (self.epochs, self.schedule), (epochs, schedule))
        interval = self.evaluate_every
        old_cycle, new_cycle = self.schedule.cycle_length, schedule.cycle_length
        if old_cycle and new_cycle and old_cycle % interval == 0:
            interval = max(n for n in range(1, interval + 1) if new_cycle % n == 0)
        return replace(
            self, epochs=epochs, schedule=schedule, window=window, evaluate_every=interval
        )

    def input_shape(self, image_shape: tuple[int, int, int] | None) -> tuple[int, int, int]:
        """Return the shape (C, H, W) of the network's input images.

        Args:
            image_shape: shape of the dataset's images; None if the images are files of any size.

        Raises:
            FieldError: if the images are files and the recipe has no `crop_size`.
        """
        if image_shape is not None:
            return image_shape
        if self.crop_size is None:
            raise FieldError("crop_size", "crop_size must be set for a dataset of picture files")
        return 3, self.crop_size, self.crop_size

    def step_count(self, train_count: int) -> int:
        """Return the number of training steps of a run.

        Args:
            train_count: number of samples that the run trains on.
        """
        batch_count = train_count / self.batch_size
        return self.epochs * (math.floor if self.drop_last else math.ceil)(batch_count)

    def evaluates(self, epoch: int) -> bool:
        """Return whether the accuracies of a run are evaluated after an epoch."""
        return epoch % self.evaluate_every == 0 or epoch > self.epochs - self.window
