"""Asymmetric label noise: labels of a class are flipped to one other class, its target class."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from trainables.errors import FieldError
from trainables.noise.base import Labels, NoiseContext, RatedNoise, percent
from trainables.run.seeds import uniform

if TYPE_CHECKING:
    from collections.abc import Callable

    from trainables.datasets.base import Source

CIFAR10_FLIPS = {9: 1, 2: 0, 3: 5, 5: 3, 4: 7}
"""Target class of each flipped class of CIFAR-10: truck to automobile, bird to airplane, cat to dog
and dog to cat, deer to horse. Source: G. Patrini et al., Making Deep Neural Networks Robust to
Label Noise, CVPR 2017."""

BLOCK_SIZE = 5
"""Number of classes in a block of `block_map`; each superclass of CIFAR-100 has as many."""

# fmt: off
CIFAR100_SUPERCLASS = (
    4, 1, 14, 8, 0, 6, 7, 7, 18, 3, 3, 14, 9, 18, 7, 11, 3, 9, 7, 11, 6, 11, 5, 10, 7,
    6, 13, 15, 3, 15, 0, 11, 1, 10, 12, 14, 16, 9, 11, 5, 5, 19, 8, 8, 15, 13, 14, 17, 18, 10,
    16, 4, 17, 4, 2, 0, 17, 4, 18, 17, 10, 3, 2, 12, 12, 16, 12, 1, 9, 19, 2, 10, 0, 1, 16,
    12, 9, 13, 15, 13, 16, 19, 2, 4, 6, 19, 5, 5, 8, 19, 18, 1, 2, 15, 6, 0, 17, 8, 14, 13,
)
"""Superclass of each of the 100 classes of CIFAR-100, from the dataset's files."""
# fmt: on


def cifar10_map() -> Labels:
    """Return each CIFAR-10 class's target class, shape (10,); the class itself if not flipped."""
    targets = np.arange(10)
    for true_class, target in CIFAR10_FLIPS.items():
        targets[true_class] = target
    return targets


def block_map(classes: int = 100) -> Labels:
    """Return each class's target class, shape (K,): the next one in its block of five classes.

    Blocks have consecutive class ids; the target of the last class is the first one of the block.
    This map is usual for CIFAR-100. Since class ids are in alphabetical order there, only 6 of the
    100 classes have a target in the same superclass.
    """
    ids = np.arange(classes)
    return ids // BLOCK_SIZE * BLOCK_SIZE + (ids % BLOCK_SIZE + 1) % BLOCK_SIZE


def superclass_map() -> Labels:
    """Return each CIFAR-100 class's target class, (100,): the next one in its superclass."""
    superclasses = np.array(CIFAR100_SUPERCLASS)
    targets = np.empty(len(superclasses), dtype=np.int64)
    for superclass in range(int(superclasses.max()) + 1):
        members = np.flatnonzero(superclasses == superclass)
        targets[members] = np.roll(members, -1)
    return targets


CLASS_MAPS: dict[str, Callable[[], Labels]] = {"cifar10": cifar10_map, "cifar100": block_map}
"""Functions that return the target class of each class, by dataset."""
SUPERCLASS_MAPS: dict[str, Callable[[], Labels]] = {"cifar100": superclass_map}
"""Functions that return a target class in the same superclass for each class, by dataset."""


def target_classes(dataset: str, *, within_superclass: bool) -> Labels:
    """Return the target class to which each class of a dataset is flipped, shape (K,).

    Args:
        dataset: name of the dataset.
        within_superclass: whether each target is in the same superclass as its class.

    Raises:
        FieldError: if no target classes are known for the dataset.
    """
    maps = SUPERCLASS_MAPS if within_superclass else CLASS_MAPS
    base_dataset = dataset.removesuffix("n")  # cifar10n has the classes of cifar10
    if base_dataset not in maps:
        known = " and ".join(maps)
        what = "superclasses" if within_superclass else "classes to flip to"
        raise FieldError(
            "scenario",
            f"asymmetric noise: {what} are known for {known} only, not for '{dataset}': "
            "use symmetric noise",
        )
    return maps[base_dataset]()


@dataclass(frozen=True, slots=True)
class AsymmetricNoise(RatedNoise):
    """Asymmetric noise: a fraction of each affected class is flipped to its target class.

    On CIFAR-10 five of ten classes are affected, so that the true rate is half the nominal one. On
    CIFAR-100 all classes are affected. There, the target is by default the next class in a block of
    five consecutive ids, as in NAL's public code and most publications, although such classes are
    neighbours in the alphabet and not similar. `asymmetric-superclass-RATE` uses the next class of
    the same superclass.

    Attributes:
        rate: fraction of the samples of an affected class that are flipped.
        within_superclass: whether the target is in the same superclass.
        per_sample: whether each sample of an affected class is flipped independently with
            probability `rate`, rather than exactly round(rate × n_c) of its n_c samples.
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

    def check(self, source: Source) -> None:
        """Raise `FieldError` if no target classes are known for the dataset."""
        target_classes(source.name, within_superclass=self.within_superclass)

    def apply(self, context: NoiseContext, seed: int) -> Labels:
        """Return noisy labels: flip the samples with the smallest draws in each affected class."""
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
