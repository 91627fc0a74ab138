"""`suspects`: the training samples of a run that are likely mislabelled."""

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
from trainables.diagnostics.store import load as load_diagnostics
from trainables.errors import CodeError, DataError, HomeError, UserError
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

SHOWN = 10
"""Rows printed."""


def run(
    places: Places, name: str, out: Path | None, count: int, *, allow_code: bool, as_json: bool
) -> int:
    """Rank a run's training samples into a CSV and a contact sheet.

    Args:
        places: where the run and its dataset are.
        name: the beginning of its digest.
        out: folder for the files; None: `suspects-<digest>` in the current one.
        count: pictures on the contact sheet.
        allow_code: whether the code of the run's dataset is executed without asking.
        as_json: print JSON on standard output.

    Raises:
        NalError: one line for the user.
    """
    console = Console(stderr=as_json, highlight=False)
    home = places.home
    record = Record(home.path, _digest(home, name))
    result = record.result()
    if result is None:
        raise UserError(f"run {record.digest[:12]} has not ended: type its command again first")
    diagnostics = load_diagnostics(record.folder)
    if diagnostics is None or "seen" not in diagnostics:
        raise UserError(
            f"run {record.digest[:12]} has no diagnostics of a last epoch ({result.status}, or "
            "trained with diagnostics.every=0): choose another"
        )
    suspects = rank_suspects(diagnostics)
    spec = result.spec
    if is_extension(spec.dataset):
        _load_code(record, spec.code[spec.dataset], allow_code=allow_code)
    with console.status(f"reading {spec.dataset}"):
        dataset = load(spec.dataset, places.data, home.cache)
    if dataset.digest != spec.data:
        raise DataError(
            f"the data of '{spec.dataset}' under {places.data} have SHA-256 "
            f"{dataset.digest[:12]}, the run was trained on {spec.data[:12]}: name their folder "
            "with --data-dir"
        )
    files = _files(dataset, places.data)
    folder = out or Path(f"suspects-{record.digest[:12]}")
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise HomeError(f"--out {folder}: {error.strerror}") from error
    write_atomically(folder / "suspects.csv", to_csv(suspects, dataset.classes, files))
    write_atomically(folder / "suspects.png", _sheet(suspects, dataset, result, count))
    if as_json:
        print_json(_plain(suspects, result, folder))
    _show(console, suspects, dataset.classes, files, folder)
    held_out = held_out_count(spec.hold_out, result.labels.count)
    if held_out:
        console.print(
            f"\n{held_out} other samples were held out and are not ranked: train with "
            "--set confirm.hold_out=false to rank all",
            soft_wrap=True,
        )
    return 0


def _load_code(record: Record, sha256: object, *, allow_code: bool) -> None:
    """Execute the file that the run's dataset is defined in.

    Raises:
        CodeError: if the user has not allowed it, or it cannot be executed.
    """
    for file in record.code():
        if file.sha256 == sha256:
            if not is_allowed(file, allow_code=allow_code):
                raise CodeError(
                    f"{file.path} is code that would be executed, and has not been allowed: read "
                    "it, then add --allow-code"
                )
            load_file(file)


def _files(dataset: Dataset, data_dir: Path) -> Sequence[str] | None:
    """Return the names of the training pictures, where they are files."""
    images = dataset.train.images
    if isinstance(images, Pictures):
        return [images.name(position) for position in range(len(images))]
    return source_of(dataset.name).list_files(data_dir)


def pixels_of(split: Split, positions: NDArray[np.integer]) -> NDArray[np.uint8]:
    """Return small images of some samples, uint8, shape (n, C, H, W)."""
    images = split.images
    return thumbnails(images, positions) if isinstance(images, Pictures) else images[positions]


def _digest(home: Home, name: str) -> str:
    runs = home.path / "runs"
    found = sorted(path.name for path in runs.glob("*") if path.name.startswith(name))
    if not found:
        raise UserError(f"no run under {runs} begins with '{name}': see `ui` for the recorded ones")
    if len(found) > 1:
        shown = ", ".join(digest[:12] for digest in found[:5])
        raise UserError(f"{len(found)} runs begin with '{name}': {shown}: write more of its digest")
    return found[0]


def _sheet(suspects: Suspects, dataset: Dataset, result: RunResult, count: int) -> bytes:
    shown = min(count, len(suspects))
    captions = [
        [
            f"{dataset.classes[suspects.given[n]]} -> {dataset.classes[suspects.proposed[n]]}",
            f"#{suspects.index[n]}  {suspects.score[n]:.3f}",
        ]
        for n in range(shown)
    ]
    images = pixels_of(dataset.train, suspects.index[:shown])
    spec = result.spec
    title = (
        f"{spec.dataset}, {spec.method} on {spec.scenario}, seed {spec.seeds.init}, run "
        f"{result.digest[:12]}: given label -> proposed, position and score"
    )
    return contact_sheet(images, captions, title)


def _plain(suspects: Suspects, result: RunResult, folder: Path) -> dict[str, object]:
    wrong = suspects.mislabelled
    return {
        "run": result.digest,
        "samples": len(suspects),
        "mislabelled": wrong,
        "precision": None if wrong is None else suspects.precision(wrong),
        "csv": str(folder / "suspects.csv"),
        "contact_sheet": str(folder / "suspects.png"),
    }


def _show(
    console: Console,
    suspects: Suspects,
    classes: Sequence[str],
    files: Sequence[str] | None,
    folder: Path,
) -> None:
    names = ["sample", "given", "proposed", "score", "loss"]
    if suspects.attention is not None:
        names.append("τ")
    table = Table(*names, box=None, pad_edge=False, header_style="dim")
    for n in range(min(SHOWN, len(suspects))):
        index = int(suspects.index[n])
        cells = [
            str(index) if files is None else files[index],
            classes[suspects.given[n]],
            classes[suspects.proposed[n]],
            f"{suspects.score[n]:.3f}",
            f"{suspects.loss[n]:.2f}",
        ]
        if suspects.attention is not None:
            cells.append(f"{suspects.attention[n]:.3g}")
        table.add_row(*cells)
    console.print(table)
    wrong = suspects.mislabelled
    if wrong:
        console.print(
            f"\n{wrong} of {len(suspects)} labels are wrong; of the first {wrong} here "
            f"{suspects.precision(wrong):.1%} are."
        )
    console.print(
        f"\nall {len(suspects)} that were trained on: {folder / 'suspects.csv'}", soft_wrap=True
    )
    console.print(f"pictures of the first: {folder / 'suspects.png'}", soft_wrap=True)
