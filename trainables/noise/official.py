"""Label noise exactly as drawn by NAL's public code.

The public code uses Python's `random` with a fixed seed, so that all runs have the same noisy
labels.
"""

from __future__ import annotations

import random
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from trainables.errors import DataError
from trainables.noise.asymmetric import target_classes
from trainables.noise.base import (
    ALL_CLASSES,
    ONLY_OTHER_CLASSES,
    Labels,
    NoiseContext,
    RatedNoise,
    percent,
)

if TYPE_CHECKING:
    from trainables.datasets.base import Source

PUBLIC_CODE_SEED = 345
"""Seed of the label noise in NAL's public code, the default of its command line."""
ARCHIVE_ORDER_DATASETS = ("cifar10", "cifar100")
"""Datasets whose noisy labels depend on the order of the samples in the archive."""


@dataclass(frozen=True, slots=True)
class OfficialNoise(RatedNoise):
    """Noise of `dataloader_cifar.py` in NAL's public code, with the default seed.

    int(rate × N) samples of the whole training split are selected. Symmetric noise replaces their
    labels by a class drawn from all classes, including the true class. Asymmetric noise replaces
    the label of each selected sample by the target class of its class, if the class has one.

    Attributes:
        rate: fraction of all samples that are selected.
        asymmetric: whether the noise is asymmetric; if false, it is symmetric.
    """

    asymmetric: bool

    variants: ClassVar[dict[str, tuple[bool, ...]]] = {
        "symmetric-official": (False,),
        "asymmetric-official": (True,),
    }
    name_forms: ClassVar[tuple[str, ...]] = ("symmetric-official-RATE", "asymmetric-official-RATE")

    @property
    def title(self) -> str:
        """Title of the scenario in tables."""
        if self.asymmetric:
            return f"asymmetric {percent(self.rate)}, public code's draw"
        return f"symmetric {percent(self.rate)} incl. true class, public code's draw"

    @property
    def rule(self) -> str:
        """Whether a selected sample may keep its true class."""
        return ONLY_OTHER_CLASSES if self.asymmetric else ALL_CLASSES

    @property
    def is_seed_independent(self) -> bool:
        """True, since the seed of the public code is fixed."""
        return True

    def check(self, source: Source) -> None:
        """Raise `FieldError` if asymmetric noise is not defined for the dataset."""
        if self.asymmetric:
            target_classes(source.name, within_superclass=False)

    def apply(self, context: NoiseContext, seed: int) -> Labels:  # noqa: ARG002 - the seed is fixed
        """Return the noisy labels of the samples in use.

        Raises:
            DataError: if the samples are not in the order of the dataset's archive.
        """
        if context.dataset in ARCHIVE_ORDER_DATASETS and not np.any(np.diff(context.labels) < 0):
            raise DataError(
                f"{self.title}: this noise needs the images in the order of {context.dataset}'s "
                "archive, not in class folders: put the archive into the data folder, or choose "
                "another noise"
            )
        generator = random.Random(PUBLIC_CODE_SEED)  # noqa: S311 - the public code's generator
        sample_count = len(context.labels)
        order = list(range(sample_count))
        generator.shuffle(order)
        noisy_labels = context.labels.copy()
        targets = None
        if self.asymmetric:
            targets = target_classes(context.dataset, within_superclass=False)
        for position in sorted(order[: int(self.rate * sample_count)]):
            noisy_labels[position] = (
                generator.randint(0, context.class_count - 1)
                if targets is None
                else targets[noisy_labels[position]]
            )
        return noisy_labels[context.index]
