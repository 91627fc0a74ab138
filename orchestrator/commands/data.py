"""`data`: where each dataset is expected, what is there, and what is wrong with it."""

from __future__ import annotations

from functools import partial
from pathlib import Path
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

if TYPE_CHECKING:
    from collections.abc import Iterator

    from orchestrator.home import Home

SHOWN = 20
"""Wrong files named one by one on the terminal."""


def list_all(data_dir: Path, *, as_json: bool) -> int:
    """Say of every dataset where it is expected, whether it is there, and where it is offered."""
    console = Console(stderr=as_json, highlight=False)
    found = {name: _missing(source, data_dir) for name, source in SOURCES.items()}
    console.print(f"looked for in {data_dir}:\n", soft_wrap=True)
    for name, missing in found.items():
        source = SOURCES[name]
        state = Text("there", style="green") if missing is None else Text("missing", style="yellow")
        console.print(Text(f"{name:<12}", style="bold"), state, Text(f"  {source.title}"))
        table = Table.grid(
            Column(style="dim", min_width=10), Column(overflow="fold"), padding=(0, 2)
        )
        table.add_row("  expected", source.layout)
        if missing is not None:
            table.add_row("  offered", _offer(source))
        console.print(table)
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
                for name, missing in found.items()
            }
        )
    return 0


def _offer(source: Source) -> str:
    how = f"; `data prepare {source.name}` downloads the archive" if source.downloads else ""
    return f"by {source.offered}{how} ({source.licence})"


def _missing(source: Source, data_dir: Path) -> str | None:
    """Say what of a dataset is missing; None if it seems to be there."""
    try:
        source.signature(data_dir)
    except DataError as error:
        return str(error)
    return None


def check(name: str, data_dir: Path, *, decode: bool, as_json: bool) -> int:
    """Read a dataset anew, count its samples, and name every picture that cannot be decoded.

    Args:
        name: of the dataset.
        data_dir: where it is.
        decode: whether pictures that stay files are decoded too, which may take long.
        as_json: print JSON on standard output.

    Returns:
        Exit code: 0, or 1 if pictures cannot be decoded.

    Raises:
        UserError: it is missing or not what it claims to be; says why.
    """
    console = Console(stderr=as_json, highlight=False)
    source = _source(name)
    with console.status(f"reading {name}"):
        dataset = load(name, data_dir, None)
    wrong = {word: dict(split.unreadable) for word, split in dataset.splits.items()}
    if decode:
        for word, split in dataset.splits.items():
            wrong[word] |= dict(_undecodable(split, f"{name}, {word}", console))
    bad = [f"{word}: {what}" for word, found in wrong.items() for what in found.values()]
    if as_json:
        print_json(_plain(dataset, wrong))
    _show(console, dataset, source, data_dir)
    for line in bad[:SHOWN]:
        console.print(Text(line, style="red"), soft_wrap=True)
    if len(bad) > SHOWN:
        console.print(f"and {len(bad) - SHOWN} more: add --json to have all", style="red")
    if decode or dataset.image is not None:
        console.print(f"\n{len(bad)} pictures cannot be decoded." if bad else "\nall can be read.")
    return 1 if bad else 0


def dataset_name(reference: str, *, allow_code: bool) -> str:
    """Return the name of a dataset.

    Args:
        reference: its name, or FILE.py:CLASS below the working directory.
        allow_code: whether the file is executed without asking.

    Raises:
        CodeError: if the file has not been allowed, or cannot be executed.
    """
    extensions = StudyExtensions(Path(), partial(is_allowed, allow_code=allow_code))
    return extensions.name_of("dataset", reference)


def _source(name: str) -> Source:
    try:
        return source_of(name)
    except FieldError as error:
        raise UserError(error.message) from error


def _undecodable(split: Split, title: str, console: Console) -> Iterator[tuple[int, str]]:
    if not isinstance(split.images, Pictures):
        return
    from trainables.run_data.picture_loader import decode

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
    with Progress(*columns, console=console, transient=True) as bar:
        for position in bar.track(range(len(split)), description=title):
            try:
                decode(split.images.path(position))
            except DataError as error:
                yield position, str(error)


def _counts(dataset: Dataset, split: Split) -> list[int]:
    return list(np.bincount(split.labels, minlength=len(dataset.classes)).tolist())


def _plain(dataset: Dataset, wrong: dict[str, dict[int, str]]) -> dict[str, object]:
    return {
        "name": dataset.name,
        "digest": dataset.digest,
        "classes": list(dataset.classes),
        "splits": {
            word: {
                "samples": len(split),
                "per_class": _counts(dataset, split),
                "unreadable": list(wrong[word].values()),
            }
            for word, split in dataset.splits.items()
        },
        "annotations": list(dataset.annotations),
    }


def _show(console: Console, dataset: Dataset, source: Source, data_dir: Path) -> None:
    console.print(Text(f"{source.title} in {data_dir}", style="bold"), soft_wrap=True)
    image = dataset.image
    shape = "files of any size" if image is None else "×".join(map(str, image))
    console.print(f"SHA-256 {dataset.digest}, images: {shape}\n", soft_wrap=True)
    checksums = source.checksums(data_dir)
    if checksums is not None:
        console.print(f"{checksums}\n", soft_wrap=True)
    table = headed_table("class", *(Column(word, justify="right") for word in dataset.splits))
    for label, name in enumerate(dataset.classes):
        counts = [str(_counts(dataset, split)[label]) for split in dataset.splits.values()]
        table.add_row(name, *counts)
    table.add_row(*("", *(f"= {len(split)}" for split in dataset.splits.values())))
    console.print(table)
    for name, labels in dataset.annotations.items():
        rate = float(np.mean(labels != dataset.train.labels))
        console.print(f"human-{name}: {rate:.2%} differ from the true labels")


def prepare(name: str, data_dir: Path, home: Home) -> int:
    """Download what is missing and may be downloaded, and decode it into the cache.

    Raises:
        UserError: it cannot be had; says why and where it is offered.
    """
    console = Console(highlight=False)
    source = _source(name)
    home.create()
    download(name, data_dir, console)
    with console.status(f"reading {name}"):
        dataset = load(name, data_dir, home.cache)
    sizes = ", ".join(f"{len(split)} to {word}" for word, split in dataset.splits.items())
    console.print(
        f"{source.title} is ready: {sizes}; SHA-256 {dataset.digest[:12]}, cached in {home.cache}",
        soft_wrap=True,
    )
    return 0
