"""The label noise of the public code, draw for draw.

It draws with Python's `random` from one seed, whatever the run's: all its trials share one
realisation.
"""

from __future__ import annotations

import random
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from trainables.errors import DataError
from trainables.noise.asymmetric import flips_of
from trainables.noise.base import Labels, NoiseContext, Rated, percent

if TYPE_CHECKING:
    from trainables.datasets.base import Source

SEED = 345
"""Default of its command line."""
ARCHIVES = ("cifar10", "cifar100")
"""Datasets that the public code draws for; as class folders they are in another order."""


@dataclass(frozen=True, slots=True)
class Official(Rated):
    """Noise as the public code's `dataloader_cifar.py` draws it, with its default seed.

    Of the whole training split, int(rate × N) samples are chosen. Symmetric: each gets any class,
    the true one included. Asymmetric: each is turned into its similar class, if it has one.

    Attributes:
        rate: fraction of all samples that are chosen.
        asymmetric: whether they are turned or drawn anew.
    """

    asymmetric: bool

    variants: ClassVar[dict[str, tuple[bool, ...]]] = {
        "symmetric-official": (False,),
        "asymmetric-official": (True,),
    }
    forms: ClassVar[tuple[str, ...]] = ("symmetric-official-RATE", "asymmetric-official-RATE")

    @property
    def title(self) -> str:
        """The setting as tables head a column with it."""
        if self.asymmetric:
            return f"asymmetric {percent(self.rate)}, public code's draw"
        return f"symmetric {percent(self.rate)} incl. true class, public code's draw"

    @property
    def one_draw(self) -> bool:
        """All seeds see the same labels."""
        return True

    def check(self, source: Source) -> None:
        """Refuse datasets without a map, where one is needed."""
        if self.asymmetric:
            flips_of(source.name, superclass=False)

    def apply(self, context: NoiseContext, seed: int) -> Labels:  # noqa: ARG002 - it has its own
        """Draw for the whole split, in its order, and return the labels of the used samples."""
        if context.dataset in ARCHIVES and not np.any(np.diff(context.labels) < 0):
            raise DataError(
                f"{self.title} goes with the order of the images in {context.dataset}'s archive, "
                "not of class folders: put the archive into the data folder, or use another noise"
            )
        stream = random.Random(SEED)  # noqa: S311 - the public code's stream
        count = len(context.labels)
        order = list(range(count))
        stream.shuffle(order)
        noisy = context.labels.copy()
        target = flips_of(context.dataset, superclass=False) if self.asymmetric else None
        for position in sorted(order[: int(self.rate * count)]):
            noisy[position] = (
                stream.randint(0, context.classes - 1)
                if target is None
                else target[noisy[position]]
            )
        return noisy[context.index]
