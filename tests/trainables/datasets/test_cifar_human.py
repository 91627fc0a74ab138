from __future__ import annotations

import os
import pickle
import zipfile
from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch
from layouts import write_cifar_human
from small_cifar import declare, small_cifar10

from trainables.datasets.cifar_human import Cifar10N, Cifar100N, HumanCifar
from trainables.errors import DataError

if TYPE_CHECKING:
    from pathlib import Path


def error_message(human: HumanCifar, data_dir: Path) -> str:
    with pytest.raises(DataError) as error:
        human.read(data_dir)
    message = str(error.value)
    assert "\n" not in message
    return message.replace(str(data_dir), "DIR")


@pytest.mark.parametrize("legacy", [False, True])
@pytest.mark.parametrize("base", [Cifar10N, Cifar100N])
def test_what_people_said_lies_over_the_images(
    base: type[HumanCifar], tmp_path: Path, *, legacy: bool
) -> None:
    human = write_cifar_human(tmp_path, base, legacy=legacy)
    dataset = human.read(tmp_path)
    plain = human.cifar.read(tmp_path)

    assert dataset.name == base.name
    assert dataset.digest == plain.digest
    assert list(dataset.annotations) == list(base.label_keys)
    assert human.annotation_names == tuple(dataset.annotations)
    for n, labels in enumerate(dataset.annotations.values(), start=1):
        expected = (plain.train.labels + n) % len(plain.classes)
        np.testing.assert_array_equal(labels, expected)


def test_another_order_is_refused(tmp_path: Path) -> None:
    human = write_cifar_human(tmp_path)
    content = torch.load(tmp_path / human.annotation_file, weights_only=False)
    content["clean_label"] = content["clean_label"][::-1].copy()
    torch.save(content, tmp_path / human.annotation_file)
    assert error_message(human, tmp_path) == (
        "DIR/CIFAR-10_human.pt: clean_label differs from the labels of the images (100 differ, the "
        "first is sample 0, counted from 0): use the images of cifar-10-python.tar.gz in their "
        "order, not class folders"
    )


def test_what_is_missing_or_damaged(tmp_path: Path) -> None:
    human: HumanCifar = declare(Cifar10N, cifar=small_cifar10(tmp_path))
    assert error_message(human, tmp_path) == (
        "cifar10n: no CIFAR-10_human.pt in DIR: download the file from "
        "https://github.com/UCSC-REAL/cifar-10-100n (data/) and put it into this folder"
    )
    path = tmp_path / human.annotation_file
    for content in (b"", b"nothing of the kind", pickle.dumps([1, 2])):
        path.write_bytes(content)
        assert error_message(human, tmp_path).startswith(
            "DIR/CIFAR-10_human.pt is not a file of label arrays"
        )
    human = write_cifar_human(tmp_path)
    saved = torch.load(path, weights_only=False)
    for key, value, message in (
        ("worse_label", saved["worse_label"][:-1], "'worse_label' must contain 100 integers, one"),
        ("worse_label", saved["worse_label"] + 1, "'worse_label' has a label outside 0..9"),
        ("aggre_label", saved["aggre_label"] * 0.5, "'aggre_label' must contain 100 integers"),
        ("random_label2", None, "'random_label2' must contain 100 integers"),
    ):
        torch.save({**saved, key: value}, path)
        assert message in error_message(human, tmp_path)


class Harmful:
    """Object that runs a command when `pickle.load` reads it."""

    def __init__(self, trace: Path) -> None:
        self.trace = trace

    def __reduce__(self) -> tuple[object, ...]:
        return (os.system, (f"touch {self.trace}",))


def test_a_file_runs_nothing(tmp_path: Path) -> None:
    human = write_cifar_human(tmp_path)
    path, trace = tmp_path / human.annotation_file, tmp_path / "trace"
    path.write_bytes(pickle.dumps(Harmful(trace), protocol=2))
    first = error_message(human, tmp_path)
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("a/data.pkl", pickle.dumps(Harmful(trace), protocol=2))
    second = error_message(human, tmp_path)
    for message in (first, second):
        assert "which is not allowed" in message
    assert not trace.exists()
