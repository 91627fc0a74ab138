"""The `suspects` command, which ranks training samples by how likely they are mislabelled."""

from __future__ import annotations

import csv
import io
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from rich.table import Table

from orchestrator.approval import load_recorded_code
from orchestrator.output import CommandConsole, print_json
from reports.contact_sheet import draw_contact_sheet
from reports.suspects import (
    SCORES,
    Suspects,
    probabilities_arrays,
    probabilities_csv,
    rank_suspects,
    to_csv,
    weakness_warning,
)
from reports.words import format_count
from trainables.datasets import Dataset, Split, list_training_files, load
from trainables.datasets.pictures import Pictures, thumbnails
from trainables.diagnostics.store import load_diagnostics
from trainables.errors import DataError, FieldError, HomeError, UserError
from trainables.extensions import is_extension
from trainables.run.record import Record, write_atomically
from trainables.run.result import Status
from trainables.run_data.realisation import held_out_count

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray
    from rich.console import Console

    from orchestrator.flags import Locations
    from trainables.diagnostics.store import Diagnostics
    from trainables.run.result import RunResult

NOT_RANKED_FILE = "not-ranked.csv"
"""Name of the file that lists the samples of the training split that are not ranked."""
MAX_PRINTED_SAMPLES = 10
"""Largest number of samples of the ranking that are printed on the terminal."""


def run(
    locations: Locations,
    digest_prefix: str,
    output_folder: Path | None,
    picture_count: int,
    *,
    allow_code: bool,
    as_json: bool,
    score_name: str | None = None,
    probabilities_path: Path | None = None,
) -> int:
    """Rank a run's training samples by how likely they are mislabelled.

    The ranking is written as a CSV file, and its first pictures as a contact sheet.

    Args:
        locations: locations of the home folder and the datasets.
        digest_prefix: beginning of the run's digest.
        output_folder: folder of the two files; None for `suspects-<digest>` in the current folder.
        picture_count: number of pictures on the contact sheet.
        allow_code: whether the file that defines the run's dataset is executed without asking.
        as_json: whether to print JSON on standard output.
        score_name: a key of `reports.suspects.SCORES`; None for the default.
        probabilities_path: .csv or .npz file to which mean probabilities are written; None for
            none.

    Returns:
        The exit code, 0.

    Raises:
        NalError: if the run has not ended or has no diagnostics, or its data cannot be read.
    """
    console = CommandConsole(stderr=as_json)
    home = locations.home
    record = Record(home.path, home.full_digest(digest_prefix))
    result, diagnostics = _read_run(record)
    suspects = rank_suspects(diagnostics, score_name)
    if probabilities_path is not None:
        _check_probabilities(probabilities_path, diagnostics, record.digest)
    dataset = _load_dataset(record, result, locations, console, allow_code=allow_code)
    file_names = list_training_files(result.spec.dataset, dataset, locations.dataset_dir)
    folder = output_folder or Path(f"suspects-{record.digest[:12]}")
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise HomeError(f"--out {folder}: {error.strerror}") from error
    write_atomically(folder / "suspects.csv", to_csv(suspects, dataset.classes, file_names))
    not_ranked = np.setdiff1d(np.arange(len(dataset.train)), suspects.positions)
    if len(not_ranked):
        write_atomically(folder / NOT_RANKED_FILE, _not_ranked_csv(not_ranked, file_names))
    if probabilities_path is not None:
        write_atomically(
            probabilities_path,
            _probabilities(probabilities_path, diagnostics, dataset.classes, file_names),
        )
    write_atomically(
        folder / "suspects.png",
        _render_sheet(suspects, dataset, file_names, result, picture_count),
    )
    if as_json:
        print_json(_ranking_json(suspects, result, folder))
    _print_ranking(console, suspects, dataset.classes, file_names, folder)
    if score_name is None and not diagnostics.has_history:
        console.print(f"\n{_older_run_warning(suspects)}", style="yellow", soft_wrap=True)
    _print_notes(console, result, len(not_ranked), folder)
    return 0


def _older_run_warning(suspects: Suspects) -> str:
    """Return a warning that a run lacks what the default score is computed from."""
    return (
        "An earlier version trained this run and recorded no predictions of all epochs, from which "
        f"{next(iter(SCORES))} is computed: the ranking is by {suspects.score_name} instead."
    )


def _read_run(record: Record) -> tuple[RunResult, Diagnostics]:
    """Return the result and the diagnostics of a run.

    Raises:
        UserError: if the run has not ended, or has no diagnostics of its last epoch.
    """
    result = record.read_result()
    if result is None:
        raise UserError(
            f"run {record.digest[:12]} has not ended: type its command again to finish it"
        )
    diagnostics = load_diagnostics(record.folder)
    if diagnostics is None or "seen" not in diagnostics:
        is_finished = result.status is Status.FINISHED
        reason = "was trained with diagnostics.every=0" if is_finished else f"is {result.status}"
        raise UserError(
            f"run {record.digest[:12]} has no diagnostics of its last epoch, since it {reason}: "
            "choose another run"
        )
    return result, diagnostics


def _load_dataset(
    record: Record,
    result: RunResult,
    locations: Locations,
    console: CommandConsole,
    *,
    allow_code: bool,
) -> Dataset:
    """Return the dataset of a run.

    Raises:
        DataError: if the data cannot be read, or are not those that the run was trained on.
        CodeError: if the user has not allowed the code of the dataset.
    """
    spec = result.spec
    if is_extension(spec.dataset):
        load_recorded_code(record, [str(spec.code[spec.dataset])], allow_code=allow_code)
    try:
        with console.status(f"reading {spec.dataset}"):
            dataset = load(spec.dataset, locations.dataset_dir, locations.home.cache_dir)
    except FieldError as error:
        raise DataError(f"run {record.digest[:12]} cannot be read: {error.message}") from error
    if dataset.digest != spec.data:
        raise DataError(
            f"the dataset '{spec.dataset}' in {locations.dataset_dir} has SHA-256 "
            f"{dataset.digest[:12]}, but the run was trained on data with SHA-256 "
            f"{spec.data[:12]}: choose the folder of those data with --data-dir"
        )
    return dataset


def _print_notes(
    console: CommandConsole, result: RunResult, not_ranked_count: int, folder: Path
) -> None:
    """Print a warning of a weak network, and which samples are not ranked."""
    warning = weakness_warning(result)
    if warning is not None:
        console.print(f"\n{warning}", style="yellow", soft_wrap=True)
    held_out = held_out_count(result.spec.hold_out, result.labels.count)
    if held_out:
        console.print(
            f"\n{held_out} other samples were held out and are not ranked: train with "
            "--set confirm.hold_out=false to rank all samples",
            soft_wrap=True,
        )
    if not_ranked_count:
        console.print(
            f"{format_count(not_ranked_count, 'sample')} of the training split without a rank: "
            f"{folder / NOT_RANKED_FILE}",
            soft_wrap=True,
        )


def _check_probabilities(path: Path, diagnostics: Diagnostics, digest: str) -> None:
    """Check that the mean probabilities of a run can be written to a file.

    Raises:
        UserError: if the run has none, or the name of the file has another suffix.
        HomeError: if the folder of the file does not exist.
    """
    if path.suffix not in (".csv", ".npz"):
        raise UserError(f"--probabilities {path}: the name of the file must end in .csv or .npz")
    if not path.absolute().parent.is_dir():
        raise HomeError(f"--probabilities {path}: the folder does not exist: create it first")
    if not diagnostics.has_history:
        raise UserError(
            f"--probabilities: an earlier version trained run {digest[:12]} and recorded no mean "
            "probabilities: train it again with another --home"
        )


def _probabilities(
    path: Path,
    diagnostics: Diagnostics,
    class_names: Sequence[str],
    file_names: Sequence[str] | None,
) -> str | bytes:
    """Return the mean probabilities of a run in the format that the suffix of a file chooses."""
    if path.suffix == ".csv":
        return probabilities_csv(diagnostics, class_names, file_names)
    buffer = io.BytesIO()
    np.savez_compressed(buffer, **probabilities_arrays(diagnostics))  # type: ignore[arg-type]
    return buffer.getvalue()


def _not_ranked_csv(positions: NDArray[np.integer], file_names: Sequence[str] | None) -> str:
    """Return a CSV text with the indices and file names of the samples that are not ranked."""
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(["index", "file"])
    for position in positions:
        writer.writerow([position, "" if file_names is None else file_names[position]])
    return buffer.getvalue()


def _print_estimate(console: Console, suspects: Suspects) -> None:
    """Print the estimated number of wrong labels, if the run allows an estimate."""
    share = suspects.estimated_share
    if share is None:
        return
    text = f"\nestimate: {round(share * len(suspects))} labels ({share:.1%}) are wrong."
    if suspects.has_memorised:
        text += (
            " This is too low: the network has learned most of its labels, right and wrong. Train "
            "with --method nal or elr."
        )
    console.print(text, soft_wrap=True)


def _images_or_thumbnails(split: Split, positions: NDArray[np.integer]) -> NDArray[np.uint8]:
    """Return images of the samples at `positions`, reduced if large: uint8, shape (n, C, H, W)."""
    images = split.images
    return thumbnails(images, positions) if isinstance(images, Pictures) else images[positions]


def _sample_name(position: int, file_names: Sequence[str] | None) -> str:
    """Return the file name of a sample, or its index in the training split, counted from 0."""
    return f"index {position}" if file_names is None else file_names[position]


def _render_sheet(
    suspects: Suspects,
    dataset: Dataset,
    file_names: Sequence[str] | None,
    result: RunResult,
    picture_count: int,
) -> bytes:
    """Return a PNG file with the pictures of the `picture_count` first samples of a ranking."""
    shown_count = min(picture_count, len(suspects))
    captions = [
        [
            _sample_name(int(suspects.positions[rank]), file_names),
            f"given: {dataset.classes[suspects.given_labels[rank]]}",
            f"proposed: {dataset.classes[suspects.proposed_labels[rank]]}",
        ]
        for rank in range(shown_count)
    ]
    images = _images_or_thumbnails(dataset.train, suspects.positions[:shown_count])
    spec = result.spec
    title = (
        f"{spec.dataset}, {spec.method} on {spec.scenario}, seed {spec.seeds.init}, run "
        f"{result.digest[:12]}: most suspicious first"
    )
    return draw_contact_sheet(images, captions, title)


def _ranking_json(suspects: Suspects, result: RunResult, folder: Path) -> dict[str, object]:
    """Return what `suspects --json` prints about a ranking."""
    mislabelled_count = suspects.mislabelled_count
    return {
        "run": result.digest,
        "samples": len(suspects),
        "mislabelled": mislabelled_count,
        "precision": None if mislabelled_count is None else suspects.precision(mislabelled_count),
        "score": suspects.score_name,
        "auroc": suspects.auroc,
        "estimated_share": suspects.estimated_share,
        "estimate_is_too_low": suspects.has_memorised,
        "warning": weakness_warning(result),
        "csv": str(folder / "suspects.csv"),
        "contact_sheet": str(folder / "suspects.png"),
    }


def _print_ranking(
    console: Console,
    suspects: Suspects,
    classes: Sequence[str],
    file_names: Sequence[str] | None,
    folder: Path,
) -> None:
    """Print the first samples of a ranking, and where the files are written."""
    console.print(f"score: {suspects.score_name} ({SCORES[suspects.score_name]})\n", soft_wrap=True)
    columns = ["sample", "given", "proposed", "score", "loss"]
    if suspects.attention_weights is not None:
        columns.append("τ")
    table = Table(*columns, box=None, pad_edge=False, header_style="dim")
    for rank in range(min(MAX_PRINTED_SAMPLES, len(suspects))):
        position = int(suspects.positions[rank])
        cells = [
            _sample_name(position, file_names),
            classes[suspects.given_labels[rank]],
            classes[suspects.proposed_labels[rank]],
            f"{suspects.scores[rank]:.3f}",
            f"{suspects.losses[rank]:.2f}",
        ]
        if suspects.attention_weights is not None:
            cells.append(f"{suspects.attention_weights[rank]:.3g}")
        table.add_row(*cells)
    console.print(table)
    _print_estimate(console, suspects)
    mislabelled_count = suspects.mislabelled_count
    if mislabelled_count:
        console.print(
            f"\n{mislabelled_count} of {len(suspects)} labels are wrong; among the first "
            f"{mislabelled_count} samples of the ranking, "
            f"{suspects.precision(mislabelled_count):.1%} are wrong."
        )
    console.print(
        f"\nranking of all {len(suspects)} samples: {folder / 'suspects.csv'}", soft_wrap=True
    )
    console.print(f"contact sheet: {folder / 'suspects.png'}", soft_wrap=True)
