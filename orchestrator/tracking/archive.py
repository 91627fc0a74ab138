"""What is kept of each sweep under the home, so that MLflow can be written again from there."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from reports.plan_record import PLAN_FILE, PlanRecord
from trainables.errors import HomeError, RecordError
from trainables.run.record import write_atomically

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

STUDY_FILE = "study.yaml"


@dataclass(frozen=True, slots=True)
class SweepArchive:
    """The folder `sweeps/<digest>/` of a home: the plan as far as it is known, and the study."""

    folder: Path

    @classmethod
    def of(cls, home: Path, sweep: str) -> SweepArchive:
        """Return the archive of a sweep by its digest."""
        return cls(home / "sweeps" / sweep)

    def write(self, plan: PlanRecord, study_yaml: str) -> None:
        """Keep a plan and its resolved study.

        Raises:
            HomeError: the folder cannot be written.
        """
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise HomeError(f"cannot write {self.folder}: {error.strerror}") from error
        write_atomically(self.folder / STUDY_FILE, study_yaml)
        self.write_plan(plan)

    def write_plan(self, plan: PlanRecord) -> None:
        """Keep a plan that has come further.

        Raises:
            HomeError: the folder cannot be written.
        """
        write_atomically(self.folder / PLAN_FILE, plan.to_json())

    def plan(self) -> PlanRecord | None:
        """Return the plan; None where there is none that can be read."""
        try:
            return self.read()[0]
        except (FileNotFoundError, RecordError):
            return None

    def read(self) -> tuple[PlanRecord, str]:
        """Return plan and study.

        Raises:
            RecordError: the plan is damaged.
        """
        plan = PlanRecord.from_json((self.folder / PLAN_FILE).read_text())
        return plan, (self.folder / STUDY_FILE).read_text()


def iter_archives(home: Path) -> Iterator[SweepArchive]:
    """Yield the archives of all sweeps of a home, the oldest first."""
    plans = (home / "sweeps").glob(f"*/{PLAN_FILE}")
    for plan in sorted(plans, key=lambda path: path.stat().st_mtime):
        yield SweepArchive(plan.parent)
