"""What chance decides in one epoch, drawn on the CPU and keyed by sample."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from trainables.seeds import Seeds, raw, uniform

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from trainables.recipe import Recipe


class EpochDraws:
    """Order, crops and flips of one epoch.

    A sample's draws depend on its position in the whole training split, so that they are the same
    whichever samples are held out or left out.

    Attributes:
        order: positions in the part, each once, shape (n,).
        crop: where in the range of possible crops each sample's is, from the top and from the left,
            uniform in [0, 1), each of shape (n,); None without crops.
        flip: which samples are mirrored, shape (n,); None without flips.
    """

    def __init__(self, index: NDArray[np.int64], recipe: Recipe, seeds: Seeds, epoch: int) -> None:
        """Draw.

        Args:
            index: positions of the part's samples in the whole split, shape (n,).
            recipe: says how samples are augmented.
            seeds: base seeds of the axes `order` and `augment`.
            epoch: counted from 1.
        """
        reach = int(index.max()) + 1

        def draw(what: str) -> NDArray[np.float64]:
            return uniform(reach, "augment", seeds.augment, epoch, what)[index]

        keys = raw(reach, "order", seeds.order, epoch)[index]
        self.order = np.argsort(keys, kind="stable")
        self.crop = (draw("top"), draw("left")) if "crop" in recipe.augmentation else None
        self.flip = draw("flip") < 0.5 if "flip" in recipe.augmentation else None


def batches_of(order: NDArray[np.int64], size: int, *, drop_last: bool) -> list[NDArray[np.int64]]:
    """Cut an order into batches; the last one may be smaller, or be left out."""
    most = len(order) - len(order) % size if drop_last else len(order)
    return [order[start : start + size] for start in range(0, most, size)]
