"""RunSpec: everything that decides the bits of one training, and its digest."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass, field, fields, replace
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from trainables.errors import FieldError, RecordError
from trainables.parameters import FrozenMap
from trainables.schedules import CONSTANT, KINDS, Schedule, scaled_count
from trainables.seeds import Seeds

if TYPE_CHECKING:
    from collections.abc import Mapping

REVISION = 1
"""Raised whenever the training code gives the same spec other bits."""

AUGMENTATIONS = ("crop", "flip")
"""crop: small images are padded by 4 pixels and cut to their size at random, of large ones a part
of `crop_size` is cut out at random; flip: left to right, half the time."""

Precision = Literal["float32", "bf16"]
Optimizer = Literal["sgd", "radam"]
Unreadable = Literal["fail", "skip"]

COUNTS = ("epochs", "batch_size", "window", "evaluate_every")
SPLITS = ("val", "clean_val", "test")
"""val: held-out samples with their noisy labels; clean_val: the dataset's own validation split, or
where it has none the held-out samples with their true labels, for published recipes that choose by
them; test: all test splits of the dataset."""


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
    drop_last: bool = False
    optimizer: Optimizer = "sgd"
    momentum: float = 0.9
    weight_decay: float = 0.0
    nesterov: bool = False
    schedule: Schedule = CONSTANT
    augmentation: tuple[str, ...] = ()
    crop_size: int | None = None
    mean: tuple[float, ...] | None = None
    std: tuple[float, ...] | None = None
    window: int = 10
    evaluate_every: int = 1
    precision: Precision = "float32"
    tf32: bool = False

    __pydantic_config__: ClassVar[dict[str, str]] = {"extra": "forbid"}

    def __post_init__(self) -> None:
        for name, allowed, holds in (
            *((name, "at least 1", _at_least_one) for name in COUNTS),
            ("learning_rate", "above 0", lambda rate: rate > 0),
            ("momentum", "in [0, 1)", lambda momentum: 0 <= momentum < 1),
            ("weight_decay", "at least 0", lambda decay: decay >= 0),
        ):
            value = getattr(self, name)
            if not holds(value):
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


@dataclass(frozen=True, slots=True)
class RunSpec:
    """One training, described completely: equal specs give equal bits on the same kind of device.

    Attributes:
        dataset: name of the dataset.
        data: SHA-256 of its content (images and true labels of all splits).
        subset: number of training samples used; None for all.
        balanced: whether the subset has as many samples of each class, by the labels that come with
            the dataset.
        unreadable: what becomes of a picture that cannot be decoded: "fail" ends the run, "skip"
            leaves the sample out and counts it in the record.
        scenario: name of the label noise.
        labels: SHA-256 of the noisy label vector of the (sub)set, little-endian int64.
        backbone: name of the architecture.
        backbone_parameters: its parameters, complete.
        method: name of the method.
        hyperparameters: its parameters, complete.
        recipe: how it is optimised.
        hold_out: fraction of the noisy training labels held out by the `split` axis.
        evaluate: the splits that are evaluated, from `SPLITS`; the others are not looked at.
        seeds: base seed of each random axis.
        needs: digests of the runs whose outcomes it takes, by their role in the method.
        threads: CPU threads of one training.
        revision: of the training code.
    """

    dataset: str
    data: str
    subset: int | None
    scenario: str
    labels: str
    backbone: str
    backbone_parameters: FrozenMap
    method: str
    hyperparameters: FrozenMap
    recipe: Recipe
    hold_out: float
    evaluate: tuple[str, ...]
    seeds: Seeds
    balanced: bool = False
    unreadable: Unreadable = "fail"
    needs: FrozenMap = field(default_factory=FrozenMap)
    threads: int = 1
    revision: int = REVISION

    def __post_init__(self) -> None:
        if not 0 <= self.hold_out < 1:
            raise FieldError("hold_out", f"hold_out must be in [0, 1), got {self.hold_out:g}")
        object.__setattr__(self, "hold_out", float(self.hold_out))  # 0 and 0.0: one digest
        if self.subset is not None and self.subset < 1:
            raise FieldError("subset", f"subset must be at least 1, got {self.subset}")
        for name in self.evaluate:
            if name not in SPLITS:
                raise FieldError("evaluate", f"unknown split '{name}'; known: {', '.join(SPLITS)}")
        if "val" in self.evaluate and self.hold_out == 0:
            raise FieldError("hold_out", "hold_out must be above 0 where 'val' is evaluated")
        if self.threads < 1:
            raise FieldError("threads", f"threads must be at least 1, got {self.threads}")

    def to_dict(self) -> dict[str, Any]:
        """Return the spec as plain JSON values."""
        plain = {one.name: getattr(self, one.name) for one in fields(self)}
        plain["backbone_parameters"] = dict(self.backbone_parameters)
        plain["hyperparameters"] = dict(self.hyperparameters)
        plain["needs"] = dict(self.needs)
        plain["recipe"] = asdict(self.recipe)
        plain["seeds"] = asdict(self.seeds)
        return plain

    def to_json(self) -> str:
        """Return the canonical JSON: sorted keys, no spaces, shortest float representation."""
        return canonical_json(self.to_dict())

    @property
    def digest(self) -> str:
        """SHA-256 of the canonical JSON: the run's name."""
        return hashlib.sha256(self.to_json().encode()).hexdigest()

    @classmethod
    def from_dict(cls, plain: Mapping[str, Any]) -> RunSpec:
        """Read a spec back from its JSON values.

        Raises:
            RecordError: a key is missing or unknown, or a value is not allowed.
        """
        try:
            recipe = dict(plain["recipe"])
            schedule = dict(recipe["schedule"])
            recipe["schedule"] = KINDS[schedule["kind"]](**_tuples(schedule))
            return cls(
                **{
                    **_tuples(plain),
                    "backbone_parameters": FrozenMap(_tuples(plain["backbone_parameters"])),
                    "hyperparameters": FrozenMap(_tuples(plain["hyperparameters"])),
                    "recipe": Recipe(**_tuples(recipe)),
                    "seeds": Seeds(**plain["seeds"]),
                    "needs": FrozenMap(plain["needs"]),
                }
            )
        except (KeyError, TypeError, FieldError) as error:
            raise RecordError(f"not a run spec of this version: {error}") from error


def canonical_json(plain: object) -> str:
    """Write JSON values in the one form that digests are taken of.

    Raises:
        ValueError: a NaN or an infinity.
    """
    return json.dumps(plain, sort_keys=True, separators=(",", ":"), allow_nan=False)


def _at_least_one(count: int) -> bool:
    return count >= 1


def _tuples(plain: Mapping[str, Any]) -> dict[str, Any]:
    return {key: tuple(v) if isinstance(v, list) else v for key, v in plain.items()}
