"""Datasets that may be downloaded, with a bar that shows how far it is."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TransferSpeedColumn

from trainables.datasets import ensure

if TYPE_CHECKING:
    from pathlib import Path

    from rich.console import Console


def download(dataset: str, data_dir: Path, console: Console) -> None:
    """Download what a dataset lacks, if its distributor allows it; interrupted, it goes on later.

    Raises:
        DataError: no place gives it, or the folder cannot be written.
    """
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        DownloadColumn(),
        TransferSpeedColumn(),
    )
    with Progress(*columns, console=console, transient=True) as bar:
        task = bar.add_task(f"downloading {dataset}", total=None, visible=False)
        ensure(
            dataset,
            data_dir,
            lambda done, total: bar.update(task, completed=done, total=total, visible=True),
        )
