"""Download of datasets with a progress bar."""

from __future__ import annotations

from contextlib import ExitStack
from typing import TYPE_CHECKING

from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TransferSpeedColumn

from trainables.datasets import download_missing

if TYPE_CHECKING:
    from pathlib import Path

    from rich.console import Console


def download(dataset: str, data_dir: Path, console: Console) -> None:
    """Download the missing files of a dataset; an interrupted download is continued.

    Args:
        dataset: name of the dataset.
        data_dir: folder of all datasets, to which the files are written.
        console: console that shows the progress bar.

    Raises:
        DataError: if a file cannot be downloaded from any of its URLs, or the folder
            cannot be written.
    """
    progress_bar = Progress(
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        DownloadColumn(),
        TransferSpeedColumn(),
        console=console,
        transient=True,
    )
    task_id = progress_bar.add_task(f"downloading {dataset}", total=None)
    with ExitStack() as stack:

        def update_bar(downloaded_bytes: int, total_bytes: int | None) -> None:
            if not progress_bar.live.is_started:  # no bar if no file is missing
                stack.enter_context(progress_bar)
            progress_bar.update(task_id, completed=downloaded_bytes, total=total_bytes)

        download_missing(dataset, data_dir, update_bar)
