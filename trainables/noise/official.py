"""Label noise of the paper's public code, draw for draw.

The public code draws with Python's `random` from one fixed seed, so that all runs share one
realisation.
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
"""Default seed on the public code's command line."""
ARCHIVES = ("cifar10", "cifar100")
"""Datasets whose archives the public code reads; as class folders they have another order."""


@dataclass(frozen=True, slots=True)
class OfficialNoise(RatedNoise):
    """Noise of the public code's `dataloader_cifar.py` with its default seed.

    int(rate × N) samples of the whole training split are selected. With symmetric noise each gets
    a class drawn from all classes, the true one included; with asymmetric noise each is flipped to
    the target class of its class, if there is one.

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
        """True: all seeds share the public code's draw."""
        return True

    def check(self, source: Source) -> None:
        """Raise `FieldError` if asymmetric noise has no class map for the dataset."""
        if self.asymmetric:
            target_classes(source.name, within_superclass=False)

    def apply(self, context: NoiseContext, seed: int) -> Labels:  # noqa: ARG002 - `SEED` is used
        """Draw labels of the whole split in its order; return those of the used samples."""
        if context.dataset in ARCHIVES and not np.any(np.diff(context.labels) < 0):
            raise DataError(
                f"{self.title} goes with the order of the images in {context.dataset}'s archive, "
                "not of class folders: put the archive into the data folder, or use another noise"
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
