"""The `bundle` command, which writes a folder with which others train recorded runs again."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from orchestrator.approval import load_recorded_code
from orchestrator.home import folder_bytes
from orchestrator.output import CommandConsole
from orchestrator.planning.cost import format_size
from orchestrator.reproduction.bundle import check_bundle, write_bundle
from orchestrator.reproduction.finding import find_runs
from reports.words import format_count
from trainables.reproduction.recorded import read_with_needs
from trainables.run.record import Record

if TYPE_CHECKING:
    from orchestrator.flags import Locations


def run(locations: Locations, name: str, folder: Path | None, *, allow_code: bool) -> int:
    """Write a bundle of recorded runs and of those that they need.

    Args:
        locations: locations of the data, the home folder and the MLflow store.
        name: what the user calls the runs, see `find_runs`.
        folder: folder to write; None for a name that is made of `name`.
        allow_code: whether code files of the runs are executed without asking.

    Returns:
        The exit code, 0.

    Raises:
        NalError: if the runs are not recorded or cannot be bundled.
    """
    console = CommandConsole()
    runs = read_with_needs(locations.home_dir, find_runs(name, locations))
    folder = folder or Path(f"bundle-{name.replace('/', '-')}")
    check_bundle(runs, folder)
    for recorded in runs:
        sha256s = list(map(str, recorded.spec.code.values()))
        load_recorded_code(
            Record(locations.home_dir, recorded.digest), sha256s, allow_code=allow_code
        )
    with console.status("writing the bundle"):
        code = write_bundle(runs, locations, folder)
    need_count = sum(recorded.is_need for recorded in runs)
    named_text = format_count(len(runs) - need_count, "run")
    needs = f" and {format_count(need_count, 'needed run')}" if need_count else ""
    console.print(
        f"{folder}: {named_text}{needs}, "
        f"{format_size(folder_bytes(folder))}\ncode: {code}\n"
        "data: not included, README.md says where to get them\n"
        f"train again and compare: {folder}/reproduce.sh",
        soft_wrap=True,
    )
    return 0
