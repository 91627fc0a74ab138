"""mini-WebVision: the first 50 classes of the Google part of WebVision 1.0.

W. Li, L. Wang, W. Li, E. Agustsson and L. Van Gool, WebVision Database: Visual Learning and
Understanding from Web Data, 2017. The test sets are WebVision's own validation set and that of
ILSVRC12, which has the same classes.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

import numpy as np

from trainables.datasets.base import Dataset, Source, Split
from trainables.datasets.class_folders import file_stamp
from trainables.datasets.lists import check_unique, read_pairs, read_texts
from trainables.datasets.pictures import Pictures
from trainables.errors import DataError

if TYPE_CHECKING:
    from pathlib import Path

FOLDER, ILSVRC = "webvision", "imagenet"
"""Folders of WebVision and of ILSVRC12's validation images."""
TRAIN_LIST, TEST_LIST = "info/train_filelist_google.txt", "info/val_filelist.txt"
SYNSETS = "info/synsets.txt"
"""List of the classes: a WordNet id and its words a line."""
TEST_IMAGES = "val_images_256"
"""Folder of the pictures of WebVision's validation set."""
ILSVRC_LIST, ILSVRC_IMAGES = "val.txt", "val"
ILSVRC_RESIZE = 256
"""Short side, in pixels, to which ILSVRC12's pictures are resized before a part is cut out, as in
the public code, dataloader_webvision.py. WebVision's pictures are from the release that has been
resized already."""


class MiniWebVision(Source):
    """The first classes of WebVision's Google part, tested on two validation sets."""

    name = "webvision"
    title = "mini-WebVision"
    licence = "for research alone; see its site and ImageNet's"
    classes: ClassVar[int] = 50
    all_classes: ClassVar[int] = 1000
    """Number of classes in the lists, of which the first `classes` are used."""
    train_size: ClassVar[int] = 65_944
    per_class: ClassVar[int] = 50
    """Number of pictures of each class in either test set."""
    true_labels = False
    from_files = True
    layout = (
        f"{FOLDER}/ with {TRAIN_LIST}, {TEST_LIST}, {SYNSETS}, google/ and {TEST_IMAGES}/; "
        f"{ILSVRC}/{ILSVRC_IMAGES}/ with a folder for each WordNet id, or flat with "
        f"{ILSVRC}/{ILSVRC_LIST} of '<file> <class, 0 to {all_classes - 1}, by sorted id>'"
    )
    offered = (
        "https://data.vision.ee.ethz.ch/cvl/webvision/dataset2017.html (the pictures made "
        "small) and https://image-net.org (validation images of ILSVRC 2012)"
    )

    def read(self, data_dir: Path) -> Dataset:
        """Read the lists, and look up the pictures that they name."""
        root = _root(data_dir)
        synsets = read_texts(root / SYNSETS)[: self.classes]
        if len(synsets) < self.classes:
            raise DataError(
                f"{root / SYNSETS} names fewer than {self.classes} classes: get it again"
            )
        train = self._read_list(root / TRAIN_LIST, root)
        if len(train) != self.train_size:
            raise DataError(
                f"{root / TRAIN_LIST} names {len(train)} pictures of the first {self.classes} "
                f"classes, the dataset has {self.train_size}: get it again"
            )
        test = self._read_list(root / TEST_LIST, root / TEST_IMAGES)
        wnids = [line.split(maxsplit=1)[0] for line in synsets]
        ilsvrc = self._read_ilsvrc(data_dir / ILSVRC, wnids)
        for name, split in ((TEST_LIST, test), (ILSVRC, ilsvrc)):
            counts = np.bincount(split.labels, minlength=self.classes)
            if counts.min() < self.per_class or counts.max() > self.per_class:
                label = int(np.flatnonzero(counts != self.per_class)[0])
                raise DataError(
                    f"{name}: {counts[label]} pictures of class {wnids[label]}, the dataset has "
                    f"{self.per_class}: unpack it again"
                )
        return Dataset(
            name=self.name,
            classes=tuple(line.split(maxsplit=1)[-1].split(",")[0] for line in synsets),
            train=train,
            test=test,
            test_name="webvision",
            other_tests={"imagenet": ilsvrc},
            top=(1, 5),
            true_labels=False,
        )

    def signature(self, data_dir: Path) -> str:
        """Return the stamps of the lists and of the folders of ILSVRC12's pictures."""
        root = _root(data_dir)
        images, labels = data_dir / ILSVRC / ILSVRC_IMAGES, data_dir / ILSVRC / ILSVRC_LIST
        files = [root / TRAIN_LIST, root / TEST_LIST, root / SYNSETS, images]
        if labels.is_file():
            files.append(labels)
        files += sorted(path for path in images.iterdir() if path.is_dir())
        return "\n".join(map(file_stamp, files))

    def _read_list(self, path: Path, root: Path, resize: int | None = None) -> Split:
        """Read the samples of the first classes from a list of files and labels."""
        names, labels = read_pairs(path, self.all_classes)
        check_unique(path, names)
        positions = np.flatnonzero(labels < self.classes)
        names = [names[position] for position in positions.tolist()]
        return Split(Pictures.of(root, names, resize), labels[positions])

    def _read_ilsvrc(self, root: Path, wnids: list[str]) -> Split:
        """Read ILSVRC12's validation set, in folders of WordNet ids or flat with a list."""
        images = root / ILSVRC_IMAGES
        if (root / ILSVRC_LIST).is_file():
            return self._read_list(root / ILSVRC_LIST, images, ILSVRC_RESIZE)
        names: list[bytes] = []
        labels: list[int] = []
        for label, wnid in enumerate(wnids):
            if not (images / wnid).is_dir():
                raise DataError(
                    f"{images} has no folder {wnid} and there is no {root / ILSVRC_LIST}: the "
                    "pictures are sorted into folders of WordNet ids, or a list says their classes"
                )
            files = sorted(file.name for file in (images / wnid).iterdir() if file.name[0] != ".")
            names += [f"{wnid}/{name}".encode("utf-8", "surrogateescape") for name in files]
            labels += [label] * len(files)
        return Split(Pictures.of(images, names, ILSVRC_RESIZE), np.array(labels, dtype=np.int64))


def _root(data_dir: Path) -> Path:
    root = data_dir / FOLDER
    missing = [name for name in (TRAIN_LIST, TEST_LIST, SYNSETS) if not (root / name).is_file()]
    if missing:
        raise DataError(
            f"webvision is not in {data_dir.absolute()} (no {FOLDER}/{missing[0]}): get it from "
            "https://data.vision.ee.ethz.ch/cvl/webvision/dataset2017.html, unpack it there, or "
            f"name the folder that holds {FOLDER}/ with --data-dir"
        )
    if not (data_dir / ILSVRC / ILSVRC_IMAGES).is_dir():
        raise DataError(
            f"the validation images of ILSVRC 2012 are not in {data_dir.absolute()} (no "
            f"{ILSVRC}/{ILSVRC_IMAGES}/), and webvision is tested on them too: get them from "
            "https://image-net.org"
        )
    return root
