"""The `data` commands: list, check and prepare datasets."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

import numpy as np
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn
from rich.table import Column, Table
from rich.text import Text

from orchestrator.approval import is_allowed
from orchestrator.downloading import download
from orchestrator.output import headed_table, print_json
from search_spaces.references import StudyExtensions
from trainables.datasets import SOURCES, Dataset, Source, Split, load, source_of
from trainables.datasets.pictures import Pictures
from trainables.errors import DataError, FieldError, UserError
from trainables.extensions import announced, distribution_name

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from orchestrator.home import Home

MAX_PRINTED = 20
"""Largest number of unreadable pictures that are listed on the terminal."""


def list_datasets(data_dir: Path, *, as_json: bool) -> int:
    """Print where each dataset is expected, whether it was found, and where to get it.

    Args:
        data_dir: folder of the datasets.
        as_json: whether to print JSON on standard output.

    Returns:
        The exit code, 0.
    """
    console = Console(stderr=as_json, highlight=False)
    missing_data = {name: _missing_part(source, data_dir) for name, source in SOURCES.items()}
    console.print(f"looked for in {data_dir}:\n", soft_wrap=True)
    for name, missing in missing_data.items():
        source = SOURCES[name]
        state_text = (
            Text("there", style="green") if missing is None else Text("missing", style="yellow")
        )
        console.print(Text(f"{name:<12}", style="bold"), state_text, Text(f"  {source.title}"))
        table = Table.grid(
            Column(style="dim", min_width=10), Column(overflow="fold"), padding=(0, 2)
        )
        table.add_row("  expected", source.layout)
        if missing is not None:
            table.add_row("  offered", _offer_text(source))
        console.print(table)
    for name, entry_point in announced("dataset").items():
        package = distribution_name(entry_point)
        console.print(Text(f"{name:<12}", style="bold"), f"announced by {package}: `data check`")
    if as_json:
        print_json(
            {
                name: {
                    "found": missing is None,
                    "missing": missing,
                    "layout": SOURCES[name].layout,
                    "offered": SOURCES[name].offered,
                    "downloads": SOURCES[name].downloads,
                    "licence": SOURCES[name].licence,
                }
                for name, missing in missing_data.items()
            }
        )
    return 0


def _offer_text(source: Source) -> str:
    """Return where a dataset can be obtained, and under which licence."""
    download_hint = (
        f"; `data prepare {source.name}` downloads the archive" if source.downloads else ""
    )
    return f"by {source.offered}{download_hint} ({source.licence})"


def _missing_part(source: Source, data_dir: Path) -> str | None:
    """Return a message that names the missing part of a dataset; None if it seems complete."""
    try:
        source.signature(data_dir)
    except DataError as error:
        return str(error)
    return None


def check(name: str, data_dir: Path, *, decode: bool, as_json: bool) -> int:
    """Read a dataset without the cache, count its samples, and list unreadable pictures.

    Args:
        name: name of the dataset.
        data_dir: folder of the datasets.
        decode: whether to decode every picture that trainings read from files, which may take
            long.
        as_json: whether to print JSON on standard output.

    Returns:
        The exit code: 0, or 1 if some pictures cannot be decoded.

    Raises:
        UserError: if the dataset is missing or damaged.
    """
    console = Console(stderr=as_json, highlight=False)
    source = _find_source(name)
    with console.status(f"reading {name}"):
        dataset = load(name, data_dir, None)
    unreadable = {name: dict(split.unreadable) for name, split in dataset.splits.items()}
    if decode:
        for split_name, split in dataset.splits.items():
            unreadable[split_name] |= dict(_undecodable(split, f"{name}, {split_name}", console))
    problems = [
        f"{split_name}: {problem}"
        for split_name, by_position in unreadable.items()
        for problem in by_position.values()
    ]
    if as_json:
        print_json(_dataset_json(dataset, unreadable))
    _print_dataset(console, dataset, source, data_dir)
    for problem_text in problems[:MAX_PRINTED]:
        console.print(Text(problem_text, style="red"), soft_wrap=True)
    if len(problems) > MAX_PRINTED:
        console.print(
            f"and {len(problems) - MAX_PRINTED} more: add --json to list all", style="red"
        )
    if decode or dataset.image is not None:
        console.print(
            f"\n{len(problems)} pictures cannot be decoded."
            if problems
            else "\nall pictures can be read."
        )
    return 1 if problems else 0


def dataset_name(reference: str, *, allow_code: bool) -> str:
    """Return the name of a dataset.

    Args:
        reference: name of the dataset; or FILE.py:CLASS for a class in a file, whose path is
            relative to the working directory.
        allow_code: whether the file may be executed without asking the user.

    Raises:
        CodeError: if the file of the class has not been allowed, or cannot be executed.
    """
    extensions = StudyExtensions(partial(is_allowed, allow_code=allow_code))
    return extensions.name_of("dataset", reference)


def _find_source(name: str) -> Source:
    """Return the `Source` that reads a dataset.

    Raises:
        UserError: if there is no dataset of that name.
    """
    try:
        return source_of(name)
    except FieldError as error:
        raise UserError(error.message) from error


def _undecodable(split: Split, title: str, console: Console) -> Iterator[tuple[int, str]]:
    """Yield the position and the error message of each picture file that cannot be decoded."""
    if not isinstance(split.images, Pictures):
        return
    from trainables.run_data.picture_loader import decode

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
    with Progress(*columns, console=console, transient=True) as progress_bar:
        for position in progress_bar.track(range(len(split)), description=title):
            try:
                decode(split.images.path(position))
            except DataError as error:
                yield position, str(error)


def _class_counts(dataset: Dataset, split: Split) -> list[int]:
    """Return the number of samples of each class in a split."""
    return list(np.bincount(split.labels, minlength=len(dataset.classes)).tolist())


def _dataset_json(dataset: Dataset, unreadable: dict[str, dict[int, str]]) -> dict[str, object]:
    return {
        "name": dataset.name,
        "digest": dataset.digest,
        "classes": list(dataset.classes),
        "splits": {
            split_name: {
                "samples": len(split),
                "per_class": _class_counts(dataset, split),
                "unreadable": list(unreadable[split_name].values()),
            }
            for split_name, split in dataset.splits.items()
        },
        "annotations": list(dataset.annotations),
    }


def _print_dataset(console: Console, dataset: Dataset, source: Source, data_dir: Path) -> None:
    console.print(Text(f"{source.title} in {data_dir}", style="bold"), soft_wrap=True)
    image = dataset.image
    shape = "files of any size" if image is None else "×".join(map(str, image))
    console.print(f"SHA-256 {dataset.digest}, images: {shape}\n", soft_wrap=True)
    checksums = source.checksums(data_dir)
    if checksums is not None:
        console.print(f"{checksums}\n", soft_wrap=True)
    table = headed_table("class", *(Column(name, justify="right") for name in dataset.splits))
    for label, name in enumerate(dataset.classes):
        counts = [str(_class_counts(dataset, split)[label]) for split in dataset.splits.values()]
        table.add_row(name, *counts)
    table.add_row(*("", *(f"= {len(split)}" for split in dataset.splits.values())))
    console.print(table)
    for name, labels in dataset.annotations.items():
        rate = float(np.mean(labels != dataset.train.labels))
        console.print(f"human-{name}: {rate:.2%} differ from the true labels")


def prepare(name: str, data_dir: Path, home: Home) -> int:
    """Download a dataset where possible, and decode it into the cache of the home folder.

    Args:
        name: name of the dataset.
        data_dir: folder of the datasets.
        home: home folder.

    Returns:
        The exit code, 0.

    Raises:
        UserError: if the dataset is missing or damaged and cannot be downloaded.
    """
    console = Console(highlight=False)
    source = _find_source(name)
    home.create()
    download(name, data_dir, console)
    with console.status(f"reading {name}"):
        dataset = load(name, data_dir, home.cache)
    sizes = ", ".join(
        f"{len(split)} to {split_name}" for split_name, split in dataset.splits.items()
    )
    console.print(
        f"{source.title} is ready: {sizes}; SHA-256 {dataset.digest[:12]}, cached in {home.cache}",
        soft_wrap=True,
    )
    return 0
