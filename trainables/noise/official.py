"""Label noise of NAL's public code: exactly the labels that it draws.

The public code uses Python's `random` with a fixed seed, so that all of its runs have the same
noisy labels.
"""

from __future__ import annotations

import random
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from trainables.errors import DataError
from trainables.noise.asymmetric import target_classes
from trainables.noise.base import Labels, NoiseContext, RatedNoise, percent

if TYPE_CHECKING:
    from trainables.datasets.base import Source

SEED = 345
"""Default seed of the command line of NAL's public code."""
ARCHIVES = ("cifar10", "cifar100")
"""Datasets whose samples the public code reads in the order of an archive."""


@dataclass(frozen=True, slots=True)
class OfficialNoise(RatedNoise):
    """Noise of `dataloader_cifar.py` in NAL's public code, with its default seed.

    int(rate × N) samples of the whole training split are selected. Symmetric noise replaces their
    labels by a class drawn from all classes, including the true one. Asymmetric noise replaces them
    by the target class of their class, if it has one.

    Attributes:
        rate: fraction of all samples that are selected.
        asymmetric: whether the noise is asymmetric rather than symmetric.
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
    def one_draw(self) -> bool:
        """True, since all seeds have the labels that the public code draws."""
        return True

    def check(self, source: Source) -> None:
        """Raise `FieldError` if the noise is asymmetric and the dataset has no target classes."""
        if self.asymmetric:
            target_classes(source.name, within_superclass=False)

    def apply(self, context: NoiseContext, seed: int) -> Labels:  # noqa: ARG002 - `SEED` is used
        """Draw labels of the whole training split; return those of the samples in use."""
        if context.dataset in ARCHIVES and not np.any(np.diff(context.labels) < 0):
            raise DataError(
                f"{self.title} needs the order of the images in {context.dataset}'s archive, not "
                "that of class folders: put the archive into the data folder, or use another noise"
            )
        generator = random.Random(SEED)  # noqa: S311 - the public code's generator
        count = len(context.labels)
        order = list(range(count))
        generator.shuffle(order)
        noisy = context.labels.copy()
        targets = None
        if self.asymmetric:
            targets = target_classes(context.dataset, within_superclass=False)
        for position in sorted(order[: int(self.rate * count)]):
            noisy[position] = (
                generator.randint(0, context.classes - 1)
                if targets is None
                else targets[noisy[position]]
            )
        return noisy[context.index]
