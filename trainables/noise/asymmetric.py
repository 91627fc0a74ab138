"""Asymmetric label noise: each class has one target class, to which its labels are flipped."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from trainables.errors import FieldError
from trainables.noise.base import (
    ONLY_OTHER_CLASSES,
    Labels,
    NoiseContext,
    RatedNoise,
    percent,
)
from trainables.run.seeds import uniform

if TYPE_CHECKING:
    from collections.abc import Callable

    from trainables.datasets.base import Source

CIFAR10_FLIPS = {9: 1, 2: 0, 3: 5, 5: 3, 4: 7}
"""Target class of each affected class of CIFAR-10: truck to automobile, bird to airplane, cat to
dog, dog to cat, deer to horse. Source: G. Patrini et al., Making Deep Neural Networks Robust to
Label Noise, CVPR 2017."""

BLOCK_SIZE = 5
"""Number of classes in a block of `block_map`, as many as in a superclass of CIFAR-100."""

# fmt: off
CIFAR100_SUPERCLASSES = (
    4, 1, 14, 8, 0, 6, 7, 7, 18, 3, 3, 14, 9, 18, 7, 11, 3, 9, 7, 11, 6, 11, 5, 10, 7,
    6, 13, 15, 3, 15, 0, 11, 1, 10, 12, 14, 16, 9, 11, 5, 5, 19, 8, 8, 15, 13, 14, 17, 18, 10,
    16, 4, 17, 4, 2, 0, 17, 4, 18, 17, 10, 3, 2, 12, 12, 16, 12, 1, 9, 19, 2, 10, 0, 1, 16,
    12, 9, 13, 15, 13, 16, 19, 2, 4, 6, 19, 5, 5, 8, 19, 18, 1, 2, 15, 6, 0, 17, 8, 14, 13,
)
"""Index of the superclass of each of the 100 classes of CIFAR-100, from the dataset's files."""
# fmt: on


def cifar10_map() -> Labels:
    """Return the target class of each CIFAR-10 class, shape (10,); unaffected: the class itself."""
    targets = np.arange(10)
    for true_class, target in CIFAR10_FLIPS.items():
        targets[true_class] = target
    return targets


def block_map(class_count: int = 100) -> Labels:
    """Return the target class of each class, shape (K,): the next class in a block of five.

    A block consists of five consecutive class ids; the target of its last class is its first class.
    Most publications use this map for CIFAR-100. Its class ids are in alphabetical order, so that
    only 6 of the 100 classes have a target in the same superclass.
    """
    class_ids = np.arange(class_count)
    return class_ids // BLOCK_SIZE * BLOCK_SIZE + (class_ids % BLOCK_SIZE + 1) % BLOCK_SIZE


def superclass_map() -> Labels:
    """Return the target class of each CIFAR-100 class, (100,): the next class in its superclass."""
    superclasses = np.array(CIFAR100_SUPERCLASSES)
    targets = np.empty(len(superclasses), dtype=np.int64)
    for superclass in range(int(superclasses.max()) + 1):
        members = np.flatnonzero(superclasses == superclass)
        targets[members] = np.roll(members, -1)
    return targets


CLASS_MAPS: dict[str, Callable[[], Labels]] = {"cifar10": cifar10_map, "cifar100": block_map}
"""Functions that return the usual target classes of a dataset, by dataset."""
SUPERCLASS_MAPS: dict[str, Callable[[], Labels]] = {"cifar100": superclass_map}
"""Functions that return target classes within superclasses, by dataset."""


def target_classes(dataset: str, *, within_superclass: bool) -> Labels:
    """Return the target class of each class of a dataset, shape (K,).

    Args:
        dataset: name of the dataset.
        within_superclass: whether class and target class must be in the same superclass.

    Raises:
        FieldError: if no target classes are defined for the dataset.
    """
    maps = SUPERCLASS_MAPS if within_superclass else CLASS_MAPS
    base_dataset = dataset.removesuffix("n")  # cifar10n has the classes of cifar10
    if base_dataset not in maps:
        known_datasets = " and ".join(maps)
        missing = "superclasses" if within_superclass else "target classes"
        raise FieldError(
            "scenario",
            f"asymmetric noise: {missing} are defined for {known_datasets} only, not for "
            f"'{dataset}': "
            "use symmetric noise",
        )
    return maps[base_dataset]()


@dataclass(frozen=True, slots=True)
class AsymmetricNoise(RatedNoise):
    """Asymmetric noise: a fraction of each affected class is flipped to its target class.

    On CIFAR-10 five of the ten classes are affected, so that the true noise rate is half of `rate`.
    On CIFAR-100 all classes are affected. Scenario `asymmetric-RATE` flips to the next class in a
    block of five consecutive ids, as in NAL's public code and most publications, although classes
    in a block are neighbours in the alphabet and not similar. `asymmetric-superclass-RATE` flips to
    the next class of the same superclass.

    Attributes:
        rate: fraction of the samples of an affected class that are flipped.
        within_superclass: whether class and target class are in the same superclass.
        per_sample: whether each sample of an affected class is flipped independently with
            probability `rate`. If false, exactly round(rate × n) of the n samples of an affected
            class are flipped.
    """

    within_superclass: bool = False
    per_sample: bool = False

    variants: ClassVar[dict[str, tuple[bool, ...]]] = {
        f"asymmetric{superclass}{each}": (bool(superclass), bool(each))
        for superclass in ("", "-superclass")
        for each in ("", "-each")
    }
    name_forms: ClassVar[tuple[str, ...]] = (
        "asymmetric-RATE",
        "asymmetric-superclass-RATE",
        "asymmetric-each-RATE",
        "asymmetric-superclass-each-RATE",
    )

    @property
    def title(self) -> str:
        """Title of the scenario in tables."""
        return (
            f"asymmetric {percent(self.rate)}"
            + (" in superclass" if self.within_superclass else "")
            + (", each label by chance" if self.per_sample else "")
        )

    @property
    def rule(self) -> str:
        """That a flipped label is never the true class."""
        return ONLY_OTHER_CLASSES

    def check(self, source: Source) -> None:
        """Raise `FieldError` if no target classes are defined for the dataset."""
        target_classes(source.name, within_superclass=self.within_superclass)

    def apply(self, context: NoiseContext, seed: int) -> Labels:
        """Return noisy labels; the samples of a class with the smallest draws are flipped."""
        targets = target_classes(context.dataset, within_superclass=self.within_superclass)
        draws = uniform(context.draw_count, "noise", seed, "which")[context.index]
        true_labels, noisy_labels = context.true_labels, context.true_labels
        for true_class in np.flatnonzero(targets != np.arange(len(targets))):
            members = np.flatnonzero(true_labels == true_class)
            if self.per_sample:
                flipped = members[draws[members] < self.rate]
            else:
                order = members[np.argsort(draws[members], kind="stable")]
                flipped = order[: round(self.rate * len(members))]
            noisy_labels[flipped] = targets[true_class]
        return noisy_labels
