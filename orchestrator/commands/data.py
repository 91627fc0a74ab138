"""The commands `data list`, `data check` and `data prepare`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn
from rich.table import Column, Table
from rich.text import Text

from orchestrator.downloading import download
from orchestrator.output import CommandConsole, headed_table, print_json
from trainables.datasets import SOURCES, Dataset, Source, Split, load, source_of
from trainables.datasets.pictures import Pictures
from trainables.errors import DataError, FieldError, UserError
from trainables.extensions import distribution_name, entry_points_of

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from rich.console import Console

    from orchestrator.home import Home

MAX_PRINTED_PICTURES = 20
"""Largest number of unreadable pictures that `data check` lists on the terminal."""


def list_datasets(data_dir: Path, *, as_json: bool) -> int:
    """Print for each dataset whether it is present, which files are expected, and who offers it.

    Args:
        data_dir: folder of the datasets.
        as_json: whether to print JSON on standard output.

    Returns:
        The exit code, 0.
    """
    console = CommandConsole(stderr=as_json)
    missing_parts = {name: _missing_part(source, data_dir) for name, source in SOURCES.items()}
    descriptions = {
        name: SOURCES[name].describe_files(data_dir)
        for name, missing_part in missing_parts.items()
        if missing_part is None
    }
    console.print(f"Datasets in {data_dir}:\n", soft_wrap=True)
    for name, missing_part in missing_parts.items():
        source = SOURCES[name]
        state_text = (
            Text("present", style="green")
            if missing_part is None
            else Text("missing", style="yellow")
        )
        console.print(Text(f"{name:<12}", style="bold"), state_text, Text(f"  {source.title}"))
        table = Table.grid(
            Column(style="dim", min_width=10), Column(overflow="fold"), padding=(0, 2)
        )
        table.add_row("  expected", source.layout)
        if description := descriptions.get(name):
            table.add_row("  found", Text(description))
        if missing_part is not None:
            table.add_row("  missing", Text(missing_part))
            table.add_row("  offered", _offer_text(source))
        console.print(table)
    for name, entry_point in entry_points_of("dataset").items():
        package = distribution_name(entry_point)
        console.print(
            Text(f"{name:<12}", style="bold"),
            f"from the installed package {package}; check it with `data check {name}`",
        )
    if as_json:
        print_json(
            {
                name: {
                    "found": missing_part is None,
                    "missing": missing_part,
                    "description": descriptions.get(name),
                    "layout": SOURCES[name].layout,
                    "offered": SOURCES[name].distributor,
                    "downloads": SOURCES[name].is_downloadable,
                    "licence": SOURCES[name].licence,
                }
                for name, missing_part in missing_parts.items()
            }
        )
    return 0


def _offer_text(source: Source) -> str:
    """Return a text that says where a dataset can be obtained, and under which licence."""
    download_hint = (
        f"; `data prepare {source.name}` downloads the archive" if source.is_downloadable else ""
    )
    return f"by {source.distributor}{download_hint} ({source.licence})"


def _missing_part(source: Source, data_dir: Path) -> str | None:
    """Return a message that names the missing part of a dataset; None if no part is missing."""
    try:
        source.signature(data_dir)
    except DataError as error:
        return str(error)
    return None


def check(name: str, data_dir: Path, *, decode: bool, as_json: bool) -> int:
    """Read a dataset, print the number of samples of each class, and list unreadable pictures.

    Missing files are downloaded where possible. The cache of decoded datasets is not used.

    Args:
        name: name of the dataset.
        data_dir: folder of the datasets.
        decode: whether to decode every picture file that training runs read, which may take long.
        as_json: whether to print JSON on standard output.

    Returns:
        The exit code: 0, or 1 if some pictures cannot be decoded.

    Raises:
        UserError: if the dataset is missing or damaged and cannot be downloaded.
    """
    console = CommandConsole(stderr=as_json)
    source = _find_source(name)
    download(name, data_dir, console)
    with console.status(f"reading {name}"):
        dataset = load(name, data_dir, None)
    unreadable = {
        split_name: dict(split.unreadable) for split_name, split in dataset.splits.items()
    }
    if decode:
        for split_name, split in dataset.splits.items():
            unreadable[split_name] |= dict(
                _find_undecodable(split, f"{name}, {split_name}", console)
            )
    problems = [
        f"{split_name}: {problem}"
        for split_name, problem_by_position in unreadable.items()
        for problem in problem_by_position.values()
    ]
    if as_json:
        print_json(_dataset_json(dataset, unreadable))
    _print_dataset(console, dataset, source, data_dir)
    for problem_text in problems[:MAX_PRINTED_PICTURES]:
        console.print(Text(problem_text, style="red"), soft_wrap=True)
    if len(problems) > MAX_PRINTED_PICTURES:
        console.print(
            f"and {len(problems) - MAX_PRINTED_PICTURES} more: add --json to list all", style="red"
        )
    if decode or dataset.image_shape is not None:
        console.print(
            f"\nNumber of pictures that cannot be decoded: {len(problems)}."
            if problems
            else "\nAll pictures can be read."
        )
    return 1 if problems else 0


def _find_source(name: str) -> Source:
    """Return the `Source` that reads the dataset of a name.

    Raises:
        UserError: if no dataset has this name.
    """
    try:
        return source_of(name)
    except FieldError as error:
        raise UserError(error.message) from error


def _find_undecodable(split: Split, title: str, console: Console) -> Iterator[tuple[int, str]]:
    """Yield position and error message of each picture of a split that cannot be decoded."""
    if not isinstance(split.images, Pictures):
        return
    from trainables.run_data.picture_loader import decode_picture

    columns = (TextColumn("{task.description}", markup=False), BarColumn(), MofNCompleteColumn())
    with Progress(*columns, console=console, transient=True) as progress_bar:
        for position in progress_bar.track(range(len(split)), description=title):
            try:
                decode_picture(split.images.path(position))
            except DataError as error:
                yield position, str(error)


def _class_counts(dataset: Dataset, split: Split) -> list[int]:
    """Return the number of samples of each class in a split."""
    return list(np.bincount(split.labels, minlength=len(dataset.classes)).tolist())


def _dataset_json(dataset: Dataset, unreadable: dict[str, dict[int, str]]) -> dict[str, object]:
    """Return what `data check --json` prints about a dataset."""
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
    console.print(Text(f"{source.title}, data folder {data_dir}", style="bold"), soft_wrap=True)
    shape = dataset.image_shape
    shape_text = "files of any size" if shape is None else "×".join(map(str, shape))
    console.print(f"SHA-256 {dataset.digest}, images: {shape_text}\n", soft_wrap=True)
    checksums = source.describe_checksums(data_dir)
    if checksums is not None:
        console.print(f"{checksums}\n", soft_wrap=True)
    table = headed_table("class", *(Column(split, justify="right") for split in dataset.splits))
    for label, class_name in enumerate(dataset.classes):
        counts = [str(_class_counts(dataset, split)[label]) for split in dataset.splits.values()]
        table.add_row(class_name, *counts)
    table.add_row(*("", *(f"= {len(split)}" for split in dataset.splits.values())))
    console.print(table)
    for name, labels in dataset.annotations.items():
        fraction = float(np.mean(labels != dataset.train.labels))
        console.print(f"human-{name}: {fraction:.2%} of the labels differ from the true labels")


def prepare(name: str, data_dir: Path, home: Home) -> int:
    """Download a dataset if its files may be downloaded, and decode it into the cache.

    Args:
        name: name of the dataset.
        data_dir: folder of the datasets.
        home: home folder, which contains the cache.

    Returns:
        The exit code, 0.

    Raises:
        UserError: if the dataset is missing or damaged and cannot be downloaded.
    """
    console = CommandConsole()
    source = _find_source(name)
    home.create()
    download(name, data_dir, console)
    with console.status(f"reading {name}"):
        dataset = load(name, data_dir, home.cache_dir)
    sizes_text = ", ".join(
        f"{len(split)} to {split_name}" for split_name, split in dataset.splits.items()
    )
    console.print(
        f"{source.title} is ready: {sizes_text}; SHA-256 {dataset.digest[:12]}, "
        f"cached in {home.cache_dir}",
        soft_wrap=True,
    )
    return 0
