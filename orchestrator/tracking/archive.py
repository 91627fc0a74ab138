"""Archive of each sweep in the home folder, from which MLflow can be restored."""

from __future__ import annotations

from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING

from reports.plan_record import PLAN_FILE, PlanRecord
from trainables.errors import HomeError, RecordError
from trainables.run.record import write_atomically

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

STUDY_FILE = "study.yaml"
"""Name of the file that holds the resolved study of a sweep."""

NO_CODE: Mapping[str, str] = MappingProxyType({})
"""Code files of a study that uses no code from outside the package: none."""


@dataclass(frozen=True, slots=True)
class SweepArchive:
    """Folder `sweeps/<digest>/` of a home folder, with the plan and the study of a sweep.

    Attributes:
        folder: path of the archive's folder.
    """

    folder: Path

    @classmethod
    def of(cls, home: Path, sweep: str) -> SweepArchive:
        """Return the archive of a sweep.

        Args:
            home: home folder.
            sweep: digest of the sweep.
        """
        return cls(home / "sweeps" / sweep)

    def write(self, plan: PlanRecord, study_yaml: str, code: Mapping[str, str] = NO_CODE) -> None:
        """Write the plan of the sweep, its resolved study and its code files.

        Args:
            plan: plan of the sweep.
            study_yaml: resolved study as YAML text.
            code: contents of the code files, by their path relative to the study.

        Raises:
            HomeError: if the folder cannot be written.
        """
        try:
            for path in (STUDY_FILE, *code):
                (self.folder / path).parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise HomeError(f"cannot write {self.folder}: {error.strerror}") from error
        for path, content in {**code, STUDY_FILE: study_yaml}.items():
            write_atomically(self.folder / path, content)
        self.write_plan(plan)

    def write_plan(self, plan: PlanRecord) -> None:
        """Write an updated plan of the sweep to the archive.

        Args:
            plan: plan of the sweep.

        Raises:
            HomeError: if the folder cannot be written.
        """
        write_atomically(self.folder / PLAN_FILE, plan.to_json())

    def plan(self) -> PlanRecord | None:
        """Return the plan of the sweep; None if it is missing or damaged."""
        try:
            return self.read()[0]
        except (FileNotFoundError, RecordError):
            return None

    def read(self) -> tuple[PlanRecord, str]:
        """Return the plan of the sweep, and its resolved study as YAML text.

        Raises:
            FileNotFoundError: if there is no plan.
            RecordError: if the plan is damaged.
        """
        plan = PlanRecord.from_json((self.folder / PLAN_FILE).read_text())
        return plan, (self.folder / STUDY_FILE).read_text()

    def code(self) -> dict[str, str]:
        """Return the contents of the code files, by their path relative to the study."""
        files = sorted(self.folder.rglob("*.py"))
        return {
            file.relative_to(self.folder).as_posix(): file.read_bytes().decode() for file in files
        }


def iter_archives(home: Path) -> Iterator[SweepArchive]:
    """Yield the archives of all sweeps in a home folder, least recently changed first."""
    plans = (home / "sweeps").glob(f"*/{PLAN_FILE}")
    for plan in sorted(plans, key=lambda path: path.stat().st_mtime):
        yield SweepArchive(plan.parent)
