"""mini-WebVision: the first 50 classes of the Google part of WebVision 1.0.

W. Li, L. Wang, W. Li, E. Agustsson and L. Van Gool, WebVision Database: Visual Learning and
Understanding from Web Data, 2017. Its training pictures were collected by Google image search. The
two test splits are the validation sets of WebVision and of ILSVRC12 (ImageNet), which has the same
classes.
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

FOLDER, ILSVRC_FOLDER = "webvision", "imagenet"
"""Names of the folders of WebVision and of ILSVRC12 in the data folder."""
TRAIN_LIST, TEST_LIST = "info/train_filelist_google.txt", "info/val_filelist.txt"
"""Names of the files that list WebVision's training pictures and validation pictures."""
SYNSETS_FILE = "info/synsets.txt"
"""Name of the file that lists the classes: each line has a WordNet id and the words of a class."""
TEST_IMAGES_FOLDER = "val_images_256"
"""Name of the folder of WebVision's validation pictures."""
ILSVRC_LIST, ILSVRC_IMAGES_FOLDER = "val.txt", "val"
"""Names of the list and of the folder of ILSVRC12's validation pictures."""
ILSVRC_SHORT_SIDE = 256
"""Length in pixels to which the short side of ILSVRC12's pictures is resized before a square is cut
out. Source: public code of NAL, dataloader_webvision.py. WebVision's own pictures are not
resized, since the release with small pictures is used."""


class MiniWebVision(Source):
    """First 50 classes of WebVision's Google part, with two validation sets as test splits."""

    name = "webvision"
    title = "mini-WebVision"
    licence = "for research only; see the sites of WebVision and ImageNet"
    class_count: ClassVar[int] = 50
    listed_class_count: ClassVar[int] = 1000
    """Number of classes in WebVision's lists; only the first `class_count` of them are used."""
    train_size: ClassVar[int] = 65_944
    test_count_per_class: ClassVar[int] = 50
    """Number of pictures of each class in each of the two test splits."""
    has_true_labels = False
    has_picture_files = True
    layout = (
        f"{FOLDER}/ with {TRAIN_LIST}, {TEST_LIST}, {SYNSETS_FILE}, google/ and "
        f"{TEST_IMAGES_FOLDER}/; "
        f"{ILSVRC_FOLDER}/{ILSVRC_IMAGES_FOLDER}/ with a folder for each WordNet id, or flat with "
        f"{ILSVRC_FOLDER}/{ILSVRC_LIST} of lines '<file> <class, 0 to {listed_class_count - 1}, by "
        "sorted id>'"
    )
    distributor = (
        "https://data.vision.ee.ethz.ch/cvl/webvision/dataset2017.html (the release "
        "with small pictures) and https://image-net.org (validation images of ILSVRC 2012)"
    )

    def read(self, data_dir: Path) -> Dataset:
        """Read the lists of pictures and labels, and index the listed pictures.

        Raises:
            DataError: if files are missing or damaged.
        """
        root = _root(data_dir)
        synsets = read_texts(root / SYNSETS_FILE)[: self.class_count]
        if len(synsets) < self.class_count:
            raise DataError(
                f"{root / SYNSETS_FILE} names fewer than {self.class_count} classes: download this "
                "file again"
            )
        train = self._read_list(root / TRAIN_LIST, root)
        if len(train) != self.train_size:
            raise DataError(
                f"{root / TRAIN_LIST} names {len(train)} pictures of the first {self.class_count} "
                f"classes, the dataset has {self.train_size}: download this file again"
            )
        test = self._read_list(root / TEST_LIST, root / TEST_IMAGES_FOLDER)
        wnids = [line.split(maxsplit=1)[0] for line in synsets]
        ilsvrc = self._read_ilsvrc(data_dir / ILSVRC_FOLDER, wnids)
        for name, split in ((TEST_LIST, test), (ILSVRC_FOLDER, ilsvrc)):
            counts = np.bincount(split.labels, minlength=self.class_count)
            if counts.min() < self.test_count_per_class or counts.max() > self.test_count_per_class:
                label = int(np.flatnonzero(counts != self.test_count_per_class)[0])
                raise DataError(
                    f"{name}: class {wnids[label]} has {counts[label]} pictures, in the dataset it "
                    "has "
                    f"{self.test_count_per_class}: unpack the dataset again"
                )
        return Dataset(
            name=self.name,
            classes=tuple(line.split(maxsplit=1)[-1].split(",")[0] for line in synsets),
            train=train,
            test=test,
            test_name="webvision",
            other_test_splits={"imagenet": ilsvrc},
            top_k=(1, 5),
            has_true_labels=False,
        )

    def signature(self, data_dir: Path) -> str:
        """Return path, size and time of the lists and of the folders of ILSVRC12's pictures."""
        root = _root(data_dir)
        images, labels = (
            data_dir / ILSVRC_FOLDER / ILSVRC_IMAGES_FOLDER,
            data_dir / ILSVRC_FOLDER / ILSVRC_LIST,
        )
        files = [root / TRAIN_LIST, root / TEST_LIST, root / SYNSETS_FILE, images]
        if labels.is_file():
            files.append(labels)
        files += sorted(path for path in images.iterdir() if path.is_dir())
        return "\n".join(map(file_stamp, files))

    def _read_list(self, path: Path, root: Path, short_side: int | None = None) -> Split:
        """Return the samples in a list of pictures and labels that are of the used classes."""
        names, labels = read_pairs(path, self.listed_class_count)
        check_unique(path, names)
        positions = np.flatnonzero(labels < self.class_count)
        names = [names[position] for position in positions.tolist()]
        return Split(Pictures.from_names(root, names, short_side), labels[positions])

    def _read_ilsvrc(self, root: Path, wnids: list[str]) -> Split:
        """Return ILSVRC12's validation set, which may have either of two layouts.

        The pictures are in one folder per class, named by the WordNet id, or all in one folder with
        a list of labels.
        """
        images = root / ILSVRC_IMAGES_FOLDER
        if (root / ILSVRC_LIST).is_file():
            return self._read_list(root / ILSVRC_LIST, images, ILSVRC_SHORT_SIDE)
        names: list[bytes] = []
        labels: list[int] = []
        for label, wnid in enumerate(wnids):
            if not (images / wnid).is_dir():
                raise DataError(
                    f"{images} has no folder {wnid}, and {root / ILSVRC_LIST} does not exist: put "
                    "the "
                    "pictures into folders named by WordNet ids, or provide this list of their "
                    "classes"
                )
            files = sorted(file.name for file in (images / wnid).iterdir() if file.name[0] != ".")
            names += [f"{wnid}/{name}".encode("utf-8", "surrogateescape") for name in files]
            labels += [label] * len(files)
        return Split(
            Pictures.from_names(images, names, ILSVRC_SHORT_SIDE), np.array(labels, dtype=np.int64)
        )


def _root(data_dir: Path) -> Path:
    root = data_dir / FOLDER
    missing = [
        name for name in (TRAIN_LIST, TEST_LIST, SYNSETS_FILE) if not (root / name).is_file()
    ]
    if missing:
        raise DataError(
            f"webvision is not in {data_dir.absolute()} (no {FOLDER}/{missing[0]}): download it "
            "from "
            "https://data.vision.ee.ethz.ch/cvl/webvision/dataset2017.html and unpack it in this "
            f"folder, or name the folder that contains {FOLDER}/ with --data-dir"
        )
    if not (data_dir / ILSVRC_FOLDER / ILSVRC_IMAGES_FOLDER).is_dir():
        raise DataError(
            f"the validation images of ILSVRC 2012 are not in {data_dir.absolute()} (no "
            f"{ILSVRC_FOLDER}/{ILSVRC_IMAGES_FOLDER}/), and webvision is also tested on them: "
            "download "
            "them from https://image-net.org"
        )
    return root
