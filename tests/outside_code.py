"""Files of a user's with a method, a backbone, label noise and a dataset, and a fake package."""

from __future__ import annotations

from typing import TYPE_CHECKING

from trainables.extensions import ENTRY_POINT_GROUPS, CodeFile, extension_name

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

LOSS = '''\
"""Label smoothing."""

from trainables.lazy import functional, torch
from trainables.methods.base import Batch, Method, Parameter, Space


class LabelSmoothing(Method):
    """Cross entropy against smoothed labels."""

    title = "Label smoothing"
    source = "Szegedy et al., CVPR 2016"
    parameters = (
        Parameter(
            "smoothing", default=0.1, low=0, high=1, help="weight", space=Space(0.01, 0.9)
        ),
    )

    def loss(self, batch: Batch) -> "torch.Tensor":
        labels = self.context.labels[batch.index]
        smoothing = self.context.hyperparameters.number("smoothing")
        return functional.cross_entropy(batch.logits, labels, label_smoothing=smoothing)
'''

NET = '''\
"""A small convolutional network."""

from trainables.backbones.base import Backbone, Body, Parameter
from trainables.lazy import nn


class LeNet(Backbone):
    parameters = (Parameter("width", default=16, low=1, help="channels"),)

    def build(self, parameters, image_shape) -> Body:
        width = int(parameters.number("width"))
        first = nn.Conv2d(image_shape[0], width, 5, padding=2)
        layers = [first, nn.ReLU(), nn.AdaptiveAvgPool2d(1)]
        return Body(nn.Sequential(*layers, nn.Flatten()), nn.Identity, width)
'''

NOISE = '''\
"""Flips to the next class."""

import numpy as np

from trainables.noise.base import Labels, NoiseContext, RatedNoise, percent
from trainables.run.seeds import uniform


class PairFlip(RatedNoise):
    @property
    def title(self) -> str:
        return f"pair flips {percent(self.rate)}"

    def apply(self, context: NoiseContext, seed: int) -> Labels:
        draws = uniform(context.draw_count, "noise", seed, "pairs")[context.index]
        labels = context.true_labels
        flipped = np.argsort(draws, kind="stable")[: round(self.rate * len(draws))]
        labels[flipped] = (labels[flipped] + 1) % context.class_count
        return labels
'''

DATA = '''\
"""Random pictures whose brightness tells the class."""

import numpy as np

from trainables.datasets.base import Dataset, Source, Split


class Blobs(Source):
    title = "blobs"

    def signature(self, data_dir) -> str:
        return "1"

    def read(self, data_dir) -> Dataset:
        random = np.random.Generator(np.random.Philox(0))
        labels = np.arange(400) % 4
        images = random.integers(0, 60, (400, 1, 8, 8)) + 45 * labels[:, None, None, None]
        images = images.astype(np.uint8)
        train, test = Split(images[:300], labels[:300]), Split(images[300:], labels[300:])
        return Dataset(self.name, ("a", "b", "c", "d"), train, test)
'''

FILES = {"my_loss.py": LOSS, "my_net.py": NET, "my_noise.py": NOISE, "my_data.py": DATA}

STUDY = """\
extends: digits
title: everything of mine
dataset: my_data.py:Blobs
backbone: {name: my_net.py:LeNet, width: 8}
scenarios: [my_noise.py:PairFlip-0.3, clean]
methods: [ce, my_loss.py:LabelSmoothing]
tune: [my_loss.py:LabelSmoothing]
reference: null
hyperparameters: {nal: null}
overrides:
  - scenario: my_noise.py:PairFlip-*
    recipe: {epochs: 5}
search:
  trials: 2
  scenario: my_noise.py:PairFlip-0.3
  space: null
select: {candidates: 1, seeds: [2000]}
confirm: {seeds: [0, 1]}
recipe: {epochs: 4}
"""


def code_file(content: str | bytes, path: str = "my.py") -> CodeFile:
    """Return a file with this content, as if it had been read from a path."""
    return CodeFile(path, content if isinstance(content, bytes) else content.encode())


def name_in(content: str, class_name: str) -> str:
    """Return the name of an extension whose file has this content."""
    return extension_name(class_name, code_file(content).sha256)


def write_files(folder: Path, marker: Path | None = None) -> Path:
    """Write the user's files and the study `mine.yaml` that names all of them.

    Args:
        folder: folder to write to; it is created if it does not exist.
        marker: file to which each of the files appends its class when it is executed; None for
            files without such a side effect.

    Returns:
        The path of the study.
    """
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in FILES.items():
        (folder / name).write_text(content + ("" if marker is None else side_effect(marker, name)))
    study = folder / "mine.yaml"
    study.write_text(STUDY)
    return study


def side_effect(marker: Path, text: str = "executed") -> str:
    """Return a line of Python that appends a text to a file when it is executed."""
    return f"\nwith open({str(marker)!r}, 'a') as _marker:\n    _marker.write({text + ' '!r})\n"


def install_package(
    folder: Path,
    modules: Mapping[str, str],
    entry_points: Mapping[str, str],
    *,
    name: str = "mine",
    listed: bool = True,
) -> None:
    """Write an installed distribution, as an installer does.

    Args:
        folder: folder on `sys.path`.
        modules: contents of its Python files, by path.
        entry_points: `MODULE:CLASS` by kind and name, such as "method smooth".
        name: name of the distribution.
        listed: whether its files are listed; those of an editable installation are not.
    """
    for path, content in modules.items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_text(content)
    info = folder / f"{name}-1.0.dist-info"
    info.mkdir(parents=True, exist_ok=True)
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
    lines = []
    for key, value in entry_points.items():
        kind, _, entry = key.partition(" ")
        lines.append(f"[{ENTRY_POINT_GROUPS[kind]}]\n{entry} = {value}\n")  # type: ignore[index]
    (info / "entry_points.txt").write_text("\n".join(lines))
    files = [*(modules if listed else [f"__editable__.{name}.pth"]), f"{info.name}/METADATA"]
    (info / "RECORD").write_text("".join(f"{path},,\n" for path in files))
