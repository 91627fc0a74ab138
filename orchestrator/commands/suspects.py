"""The `suspects` command: rank the training samples of a run that are likely mislabelled."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console
from rich.table import Table

from orchestrator.approval import is_allowed
from orchestrator.output import print_json
from reports.contact_sheet import contact_sheet
from reports.suspects import Suspects, rank_suspects, to_csv
from trainables.datasets import Dataset, Split, load, source_of
from trainables.datasets.pictures import Pictures, thumbnails
from trainables.diagnostics.store import load_diagnostics
from trainables.errors import DataError, FieldError, HomeError, UserError
from trainables.extensions import is_extension, load_file
from trainables.run.record import Record, write_atomically
from trainables.run_data.realisation import held_out_count

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy as np
    from numpy.typing import NDArray

    from orchestrator.flags import Places
    from orchestrator.home import Home
    from trainables.run.result import RunResult

MAX_PRINTED = 10
"""Largest number of samples printed on the terminal."""


def run(
    places: Places,
    digest_prefix: str,
    output_folder: Path | None,
    count: int,
    *,
    allow_code: bool,
    as_json: bool,
) -> int:
    """Rank a run's training samples, and write the ranking as a CSV file and a contact sheet.

    Args:
        places: locations of the home folder and the data.
        digest_prefix: beginning of the run's digest.
        output_folder: folder of the two files; None for `suspects-<digest>` in the current folder.
        count: number of pictures on the contact sheet.
        allow_code: whether the code file of the run's dataset is executed without asking the user.
        as_json: whether to print JSON on standard output.

    Returns:
        The exit code, 0.

    Raises:
        NalError: if the run has not ended or has no diagnostics, or its data cannot be read.
    """
    console = Console(stderr=as_json, highlight=False)
    home = places.home
    record = Record(home.path, _full_digest(home, digest_prefix))
    result = record.result()
    if result is None:
        raise UserError(f"run {record.digest[:12]} has not ended: type its command again first")
    diagnostics = load_diagnostics(record.folder)
    if diagnostics is None or "seen" not in diagnostics:
        raise UserError(
            f"run {record.digest[:12]} has no diagnostics of a last epoch ({result.status}, or "
            "trained with diagnostics.every=0): choose another run"
        )
    suspects = rank_suspects(diagnostics)
    spec = result.spec
    if is_extension(spec.dataset):
        _load_dataset_code(record, spec.code[spec.dataset], allow_code=allow_code)
    try:
        with console.status(f"reading {spec.dataset}"):
            dataset = load(spec.dataset, places.data, home.cache)
    except FieldError as error:
        raise DataError(f"run {record.digest[:12]} cannot be read: {error.message}") from error
    if dataset.digest != spec.data:
        raise DataError(
            f"the data of '{spec.dataset}' under {places.data} have SHA-256 "
            f"{dataset.digest[:12]}, the run was trained on {spec.data[:12]}: choose the folder "
            "of that data with --data-dir"
        )
    files = _file_names(dataset, places.data)
    folder = output_folder or Path(f"suspects-{record.digest[:12]}")
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise HomeError(f"--out {folder}: {error.strerror}") from error
    write_atomically(folder / "suspects.csv", to_csv(suspects, dataset.classes, files))
    write_atomically(folder / "suspects.png", _render_sheet(suspects, dataset, result, count))
    if as_json:
        print_json(_ranking_json(suspects, result, folder))
    _print_ranking(console, suspects, dataset.classes, files, folder)
    held_out = held_out_count(spec.hold_out, result.labels.count)
    if held_out:
        console.print(
            f"\n{held_out} other samples were held out and are not ranked: train with "
            "--set confirm.hold_out=false to rank all",
            soft_wrap=True,
        )
    return 0


def _load_dataset_code(record: Record, sha256: object, *, allow_code: bool) -> None:
    """Execute the code file that defines the dataset of a run.

    Args:
        record: record of the run, which contains its code files.
        sha256: SHA-256 of the code file.
        allow_code: whether the file is executed without asking the user.

    Raises:
        CodeError: if the user has not allowed the file, or it cannot be executed.
    """
    for file in record.code():
        if file.sha256 == sha256:
            if not is_allowed(file, allow_code=allow_code):
                raise file.refusal()
            load_file(file)


def _file_names(dataset: Dataset, data_dir: Path) -> Sequence[str] | None:
    """Return the file name of each training sample; None if samples are not stored as files."""
    images = dataset.train.images
    if isinstance(images, Pictures):
        return [images.name(position) for position in range(len(images))]
    return source_of(dataset.name).list_files(data_dir)


def _small_images(split: Split, positions: NDArray[np.integer]) -> NDArray[np.uint8]:
    """Return an image or thumbnail of each sample at `positions`: uint8, shape (n, C, H, W)."""
    images = split.images
    return thumbnails(images, positions) if isinstance(images, Pictures) else images[positions]


def _full_digest(home: Home, prefix: str) -> str:
    """Return the whole digest of the run whose digest begins with a prefix.

    Raises:
        UserError: if no digest or more than one in the home folder begins with the prefix.
    """
    runs = home.path / "runs"
    matches = sorted(path.name for path in runs.glob("*") if path.name.startswith(prefix))
    if not matches:
        raise UserError(
            f"no run under {runs} begins with '{prefix}': see `ui` for the recorded ones"
        )
    if len(matches) > 1:
        digests = ", ".join(digest[:12] for digest in matches[:5])
        raise UserError(
            f"{len(matches)} runs begin with '{prefix}': {digests}: write more of its digest"
        )
    return matches[0]


def _render_sheet(suspects: Suspects, dataset: Dataset, result: RunResult, count: int) -> bytes:
    """Return the contact sheet of the `count` first samples of a ranking, as a PNG file."""
    n_images = min(count, len(suspects))
    captions = [
        [
            f"{dataset.classes[suspects.given[rank]]} -> "
            f"{dataset.classes[suspects.proposed[rank]]}",
            f"#{suspects.index[rank]}  {suspects.score[rank]:.3f}",
        ]
        for rank in range(n_images)
    ]
    images = _small_images(dataset.train, suspects.index[:n_images])
    spec = result.spec
    title = (
        f"{spec.dataset}, {spec.method} on {spec.scenario}, seed {spec.seeds.init}, run "
        f"{result.digest[:12]}: given label -> proposed, position and score"
    )
    return contact_sheet(images, captions, title)


def _ranking_json(suspects: Suspects, result: RunResult, folder: Path) -> dict[str, object]:
    mislabelled = suspects.mislabelled
    return {
        "run": result.digest,
        "samples": len(suspects),
        "mislabelled": mislabelled,
        "precision": None if mislabelled is None else suspects.precision(mislabelled),
        "csv": str(folder / "suspects.csv"),
        "contact_sheet": str(folder / "suspects.png"),
    }


def _print_ranking(
    console: Console,
    suspects: Suspects,
    classes: Sequence[str],
    files: Sequence[str] | None,
    folder: Path,
) -> None:
    columns = ["sample", "given", "proposed", "score", "loss"]
    if suspects.attention is not None:
        columns.append("τ")
    table = Table(*columns, box=None, pad_edge=False, header_style="dim")
    for rank in range(min(MAX_PRINTED, len(suspects))):
        index = int(suspects.index[rank])
        cells = [
            str(index) if files is None else files[index],
            classes[suspects.given[rank]],
            classes[suspects.proposed[rank]],
            f"{suspects.score[rank]:.3f}",
            f"{suspects.loss[rank]:.2f}",
        ]
        if suspects.attention is not None:
            cells.append(f"{suspects.attention[rank]:.3g}")
        table.add_row(*cells)
    console.print(table)
    mislabelled = suspects.mislabelled
    if mislabelled:
        console.print(
            f"\n{mislabelled} of {len(suspects)} labels are wrong; of the first {mislabelled} in "
            f"the ranking, {suspects.precision(mislabelled):.1%} are."
        )
    console.print(
        f"\nranking of all {len(suspects)} samples: {folder / 'suspects.csv'}", soft_wrap=True
    )
    console.print(f"contact sheet: {folder / 'suspects.png'}", soft_wrap=True)
