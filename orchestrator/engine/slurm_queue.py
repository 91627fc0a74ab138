"""Runs for the jobs of Slurm, as files in the home folder, which the driver and the jobs share.

    todo/<digest>.json          an order that no job has taken yet
    taken/<job>/<digest>.json   the order that a job is carrying out
    reports/<digest>.json       what a job reports of a run: its rows, and how its work on it ended
    farewells/<job>             a job has ended by itself: it had no time left, or nothing to do
    jobs/<id>                   a job array that was submitted
    logs/                       files of submitit: what jobs were submitted with, and their output

An order belongs to the job that has renamed it to its own folder, which only one job can. All
other files are renamed into place too. The files outlive the driver: jobs finish what they have
taken, and the next driver finds the orders and reports.
"""

from __future__ import annotations

import json
from contextlib import suppress
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, TypeVar

from trainables.errors import HomeError, RecordError
from trainables.run.record import write_atomically

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from trainables.training.job import Row


@dataclass(frozen=True, slots=True)
class RunOrder:
    """A run that a job is to carry out.

    Attributes:
        order_id: ID of the order; a later order of the same run has another one.
        digest: digest of the run.
        spec: spec of the run, as of `RunSpec.to_dict`.
        stops_after: epochs after which the job ends its work on the run.
    """

    order_id: str
    digest: str
    spec: dict[str, object]
    stops_after: Sequence[int]


@dataclass(frozen=True, slots=True)
class RunReport:
    """What a job reports of a run that it is carrying out.

    Attributes:
        order_id: ID of the order.
        rows: metrics after each epoch from the first one on.
        has_ended: whether the job has ended its work on the run.
        is_stopped: whether the run was stopped before its last epoch.
        error: message of an error that affects every run; "" if there was none.
        exit_code: exit code that belongs to this error.
        crash: description of an unexpected exception; "" if there was none.
    """

    order_id: str
    rows: Sequence[Row]
    has_ended: bool = False
    is_stopped: bool = False
    error: str = ""
    exit_code: int = 1
    crash: str = ""


Content = TypeVar("Content", RunOrder, RunReport)


@dataclass(frozen=True, slots=True)
class RunQueue:
    """Orders and reports of runs in a folder.

    Attributes:
        folder: path of the folder, which the driver and all jobs can access.
    """

    folder: Path

    @property
    def logs_folder(self) -> Path:
        """Folder for the files of submitit."""
        return self.folder / "logs"

    def create(self) -> None:
        """Create the folders, which only the user can read, and withdraw orders not taken yet.

        Raises:
            HomeError: if the folders cannot be written.
        """
        try:
            for folder in (self.folder.parent, self.folder):
                folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            for name in ("todo", "taken", "reports", "farewells", "jobs", "logs"):
                (self.folder / name).mkdir(exist_ok=True)
            for path in (self.folder / "todo").iterdir():
                path.unlink(missing_ok=True)
        except OSError as error:
            raise HomeError(f"cannot write {self.folder}: {error.strerror}") from error

    # Calls of the driver.

    def add(self, order: RunOrder) -> None:
        """Add an order, which any job may take.

        Raises:
            HomeError: if the file cannot be written.
        """
        self._write(f"todo/{order.digest}.json", asdict(order))

    def remove(self, digest: str) -> None:
        """Remove the orders and the report of a run."""
        for path in (*self.folder.glob(f"taken/*/{digest}.json"), *self._paths_of(digest)):
            path.unlink(missing_ok=True)

    def _paths_of(self, digest: str) -> Iterator[Path]:
        for name in ("todo", "reports"):
            yield self.folder / name / f"{digest}.json"

    def taken_orders(self) -> dict[str, list[RunOrder]]:
        """Return the orders that jobs have taken, by job.

        Raises:
            RecordError: if an order is damaged, or was written by another version.
        """
        orders: dict[str, list[RunOrder]] = {}
        for path in self.folder.glob("taken/*/*.json"):
            with suppress(FileNotFoundError, NotADirectoryError):  # the job has just ended it
                orders.setdefault(path.parent.name, []).append(self._read(path, RunOrder))
        return orders

    def report_version(self, digest: str) -> object:
        """Return a value that changes whenever a run is reported on; None without a report."""
        try:
            status = (self.folder / "reports" / f"{digest}.json").stat()
        except FileNotFoundError:
            return None
        return status.st_ino, status.st_mtime_ns

    def read_report(self, digest: str) -> RunReport | None:
        """Return the latest report on a run, or None if there is none.

        Raises:
            RecordError: if the report is damaged, or was written by another version.
        """
        try:
            return self._read(self.folder / "reports" / f"{digest}.json", RunReport)
        except FileNotFoundError:
            return None

    def record_job(self, job_id: str) -> None:
        """Record a job array that was submitted.

        Raises:
            HomeError: if the file cannot be written.
        """
        write_atomically(self.folder / "jobs" / job_id, "")

    def recorded_jobs(self) -> set[str]:
        """Return the IDs of the job arrays that were submitted, by whichever driver."""
        return {path.name for path in (self.folder / "jobs").iterdir() if path.name.isdecimal()}

    def forget_job(self, job_id: str) -> None:
        """Forget a job array whose jobs have all ended."""
        (self.folder / "jobs" / job_id).unlink(missing_ok=True)

    def pop_farewell(self, job: str) -> bool:
        """Return whether a job has ended by itself, and forget it."""
        try:
            (self.folder / "farewells" / job).unlink()
        except FileNotFoundError:
            return False
        return True

    # Calls of a job, and of the driver for a job that has died.

    def take(self, job: str) -> RunOrder | None:
        """Take an order, or return None if there is none.

        Args:
            job: ID of the job that takes it.
        """
        for path in sorted((self.folder / "todo").glob("*.json")):
            target = self.folder / "taken" / job / path.name
            target.parent.mkdir(exist_ok=True)
            with suppress(FileNotFoundError):  # another job was faster
                path.rename(target)
                return self._read(target, RunOrder)
        return None

    def release(self, job: str) -> list[RunOrder]:
        """Give back the orders that a job has taken and not ended, and return them.

        Args:
            job: ID of the job.
        """
        released = []
        for path in self.folder.glob(f"taken/{job}/*.json"):
            with suppress(FileNotFoundError):  # both the driver and the job release it
                order = self._read(path, RunOrder)
                report = self.read_report(order.digest)
                if report is not None and report.has_ended and report.order_id == order.order_id:
                    path.unlink()
                    continue
                path.rename(self.folder / "todo" / path.name)
                released.append(order)
        return released

    def report(self, digest: str, report: RunReport) -> None:
        """Report on a run.

        Raises:
            HomeError: if the file cannot be written.
        """
        self._write(f"reports/{digest}.json", asdict(report))

    def end(self, job: str, digest: str) -> None:
        """Remove the order that a job has taken, after its last report on the run."""
        (self.folder / "taken" / job / f"{digest}.json").unlink(missing_ok=True)

    def say_farewell(self, job: str) -> None:
        """Record that a job ends by itself.

        Raises:
            HomeError: if the file cannot be written.
        """
        write_atomically(self.folder / "farewells" / job, "")

    def _write(self, name: str, content: dict[str, object]) -> None:
        write_atomically(self.folder / name, json.dumps(content))

    def _read(self, path: Path, content_class: type[Content]) -> Content:
        """Read an order or a report.

        Raises:
            FileNotFoundError: if there is no such file.
            RecordError: if the file is damaged, or was written by another version.
        """
        text = path.read_text(errors="replace")
        try:
            return content_class(**json.loads(text))
        except (TypeError, ValueError) as error:
            raise RecordError(
                f"{path} is damaged or was written by another version of this program: cancel the "
                f"jobs of this sweep that still run (`squeue --me` lists them), delete the folder "
                f"{self.folder}, and type the same command again; recorded runs are not trained "
                "again"
            ) from error
