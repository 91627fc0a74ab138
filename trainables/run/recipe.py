"""How a network is optimised: everything about a training but its data, network and method."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import ClassVar, Literal

from trainables.errors import FieldError
from trainables.run.identity import NEUTRAL
from trainables.run.schedules import CONSTANT, Schedule, scaled_count

AUGMENTATIONS = ("crop", "flip")
"""What may be done to training images at random.

"crop" pads a small image by 4 pixels and cuts it back to its size at a random place; of a large one
it cuts out a square of `crop_size`. "flip" mirrors an image left to right, half the time."""

Precision = Literal["float32", "bf16"]
Optimizer = Literal["sgd", "radam"]

COUNTS = ("epochs", "batch_size", "window", "evaluate_every")


@dataclass(frozen=True, slots=True)
class Recipe:
    """How a network is optimised.

    Attributes:
        epochs: passes over the training part; counted from 1.
        batch_size: samples per step; the last batch of an epoch may be smaller.
        drop_last: whether such a smaller batch is left out.
        learning_rate: base rate of the schedule.
        optimizer: "sgd" throughout in the paper; "radam" for a method published with it, which has
            no momentum of SGD's kind.
        momentum: of SGD.
        weight_decay: applied to every parameter that the loss depends on.
        nesterov: whether the momentum is Nesterov's.
        schedule: learning rate over the epochs.
        augmentation: of the training images, from `AUGMENTATIONS`.
        crop_size: side of the square part of a large picture that the network sees, from its
            middle unless it is augmented by crop; None for small images, which are seen whole.
        mean: per channel, in units of pixels scaled to [0, 1]; None: measured on the training part.
        std: likewise.
        window: how many last epochs the selection averages over.
        evaluate_every: epochs between evaluations; the last `window` epochs are always evaluated.
        precision: of the forward pass; losses are float32 always.
        tf32: whether CUDA may use TF32 in float32 products.
    """

    epochs: int
    batch_size: int
    learning_rate: float
    drop_last: bool = field(default=False, metadata=NEUTRAL)
    optimizer: Optimizer = "sgd"
    momentum: float = 0.9
    weight_decay: float = 0.0
    nesterov: bool = field(default=False, metadata=NEUTRAL)
    schedule: Schedule = CONSTANT
    augmentation: tuple[str, ...] = ()
    crop_size: int | None = field(default=None, metadata=NEUTRAL)
    mean: tuple[float, ...] | None = None
    std: tuple[float, ...] | None = None
    window: int = 10
    evaluate_every: int = 1
    precision: Precision = "float32"
    tf32: bool = field(default=False, metadata=NEUTRAL)

    __pydantic_config__: ClassVar[dict[str, str]] = {"extra": "forbid"}

    def __post_init__(self) -> None:
        for name, allowed, holds in (
            *((name, "at least 1", getattr(self, name) >= 1) for name in COUNTS),
            ("learning_rate", "above 0", self.learning_rate > 0),
            ("momentum", "in [0, 1)", 0 <= self.momentum < 1),
            ("weight_decay", "at least 0", self.weight_decay >= 0),
        ):
            if not holds:
                value = getattr(self, name)
                raise FieldError(name, f"{name} must be {allowed}, got {value:g}")
        for name in ("learning_rate", "momentum", "weight_decay"):
            object.__setattr__(self, name, float(getattr(self, name)))  # 1 and 1.0: one digest
        if self.crop_size is not None and self.crop_size < 1:
            raise FieldError("crop_size", f"crop_size must be at least 1, got {self.crop_size}")
        if self.optimizer != "sgd":  # one name for the same bits
            object.__setattr__(self, "momentum", 0.0)
        if self.nesterov and self.momentum == 0:
            raise FieldError("nesterov", "nesterov needs momentum above 0, got 0")
        for name in self.augmentation:
            if name not in AUGMENTATIONS:
                allowed = ", ".join(AUGMENTATIONS)
                raise FieldError("augmentation", f"unknown augmentation '{name}'; known: {allowed}")
        # Applied in one order whatever the order they are named in: one name for the same bits.
        named = tuple(name for name in AUGMENTATIONS if name in self.augmentation)
        object.__setattr__(self, "augmentation", named)
        self._check_statistics()
        if self.window > self.epochs:
            object.__setattr__(self, "window", self.epochs)

    def _check_statistics(self) -> None:
        if (self.mean is None) != (self.std is None):
            raise FieldError("mean", "mean and std are given together or not at all")
        if self.std is not None and (
            min(self.std) <= 0 or self.mean is None or len(self.mean) != len(self.std)
        ):
            raise FieldError("std", "std must be above 0, and as many values as mean")

    def scaled(self, epochs: int, schedule: Schedule | None = None) -> Recipe:
        """Return the recipe of a training of another length, the epochs it names scaled with it.

        Args:
            epochs: of that training.
            schedule: of that training; None: this one's, scaled.
        """
        schedule = schedule or self.schedule.scaled(epochs / self.epochs)
        window = scaled_count(self.window, (self.epochs, self.schedule), (epochs, schedule))
        return replace(self, epochs=epochs, schedule=schedule, window=window)

    def input_shape(self, image: tuple[int, int, int] | None) -> tuple[int, int, int]:
        """Return the shape (C, H, W) of what a network sees.

        Args:
            image: of a dataset's images; None where they are files of any size.

        Raises:
            FieldError: they are files, and no part is said.
        """
        if image is not None:
            return image
        if self.crop_size is None:
            raise FieldError("crop_size", "crop_size must be given for pictures that are files")
        return 3, self.crop_size, self.crop_size

    def evaluates(self, epoch: int) -> bool:
        """Tell whether the held-out and test splits are evaluated after this epoch."""
        return epoch % self.evaluate_every == 0 or epoch > self.epochs - self.window
