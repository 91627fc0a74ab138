"""Archives of sweeps: plan, study and code in the home folder, from which MLflow is restored."""

from __future__ import annotations

import json
from contextlib import suppress
from dataclasses import asdict, dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from pydantic import TypeAdapter

from reports.plan_record import PAGE_FILE, PLAN_FILE, PlanRecord, printable_values
from reports.store import home_store_uri, mask_password
from trainables.errors import HomeError, RecordError
from trainables.run.record import write_atomically

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping
    from pathlib import Path

STUDY_FILE = "study.yaml"
"""Name of the file with the study of a sweep, as changed by flags, and with sources of values."""

UNWRITTEN_FILE = "unwritten.json"
"""Name of the file of a sweep that an MLflow store lacks or may lack a part of."""

NO_CODE_FILES: Mapping[str, str] = MappingProxyType({})
"""Empty mapping of code files, for a study without methods or data from outside the package."""


@dataclass(frozen=True, slots=True)
class UnwrittenPart:
    """The part of a sweep that an MLflow store lacks or may lack.

    Attributes:
        store: URI of the store, without password; "" for the store of the home folder.
        run_count: largest number of ended runs that the store lacks; None if it is not known, since
            the process that writes the sweep has not ended or was killed.
    """

    store: str
    run_count: int | None


@dataclass(frozen=True, slots=True)
class SweepArchive:
    """Folder `sweeps/<digest>/` in the home folder: plan, study and code files of one sweep.

    Attributes:
        folder: path of the folder.
    """

    folder: Path

    @classmethod
    def of(cls, home_dir: Path, sweep_digest: str) -> SweepArchive:
        """Return the archive of a sweep, which may not exist yet.

        Args:
            home_dir: home folder, which holds all results.
            sweep_digest: digest of the sweep.
        """
        return cls(home_dir / "sweeps" / sweep_digest)

    def write(
        self, plan: PlanRecord, study_yaml: str, code_files: Mapping[str, str] = NO_CODE_FILES
    ) -> None:
        """Write the plan of the sweep, its study and its code files to the archive.

        Incomplete files of killed processes are removed, so the study must be locked.

        Args:
            plan: plan of the sweep.
            study_yaml: study, as changed by flags, as YAML text.
            code_files: contents of the study's code files, by path relative to the study.

        Raises:
            HomeError: if the folder cannot be written.
        """
        try:
            for path in (STUDY_FILE, *code_files):
                (self.folder / path).parent.mkdir(parents=True, exist_ok=True)
            for partial_path in self.folder.glob(".*.partial"):
                partial_path.unlink(missing_ok=True)
        except OSError as error:
            raise HomeError(f"cannot write {self.folder}: {error.strerror}") from error
        for path, content in {**code_files, STUDY_FILE: study_yaml}.items():
            write_atomically(self.folder / path, content)
        self.write_plan(plan)

    def write_plan(self, plan: PlanRecord) -> None:
        """Write the plan of the sweep to the archive, in place of the previous plan.

        Args:
            plan: plan of the sweep in its current state.

        Raises:
            HomeError: if the folder cannot be written.
        """
        write_atomically(self.folder / PLAN_FILE, plan.to_json())

    def read_plan(self) -> PlanRecord | None:
        """Read the plan of the sweep; None if it is missing or damaged."""
        try:
            return self.read_plan_and_study()[0]
        except RecordError:
            return None

    def read_plan_and_study(self) -> tuple[PlanRecord, str]:
        """Read the plan of the sweep, and its study (as changed by flags) as YAML text.

        Raises:
            RecordError: if the plan or the study is missing or damaged.
        """
        path = self.folder / PLAN_FILE
        try:
            plan = PlanRecord.from_json(path.read_bytes())
            path = self.folder / STUDY_FILE
            return plan, path.read_text()
        except (OSError, ValueError, RecordError) as error:
            raise RecordError(
                f"{path} cannot be read ({error}): type the command of its sweep again to write "
                f"it anew, or move the folder {self.folder.name[:12]} away"
            ) from error

    def mark_unwritten(self, uri: str, run_count: int | None) -> None:
        """Record that an MLflow store lacks, or may lack, a part of the sweep.

        Args:
            uri: URI of the store.
            run_count: largest number of ended runs that it lacks; None if it is not known.

        Raises:
            HomeError: if the folder cannot be written.
        """
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise HomeError(f"cannot write {self.folder}: {error.strerror}") from error
        part = UnwrittenPart(self._store_name(uri), run_count)
        write_atomically(self.folder / UNWRITTEN_FILE, json.dumps(asdict(part)))

    def mark_written(self, uri: str) -> None:
        """Record that an MLflow store has the whole sweep; nothing is known of other stores.

        Args:
            uri: URI of the store.
        """
        part = self.read_unwritten()
        if part is not None and part.store == self._store_name(uri):
            with suppress(OSError):
                (self.folder / UNWRITTEN_FILE).unlink()

    def read_unwritten(self) -> UnwrittenPart | None:
        """Read which part of the sweep an MLflow store lacks; None if nothing is known to lack."""
        try:
            content: Any = printable_values(json.loads((self.folder / UNWRITTEN_FILE).read_bytes()))
            return TypeAdapter(UnwrittenPart).validate_python(content)
        except (OSError, ValueError):
            return None

    def _store_name(self, uri: str) -> str:
        """Return the name of a store in `UnwrittenPart`, which stays true if the home is moved."""
        home_dir = self.folder.parent.parent
        return "" if uri == home_store_uri(home_dir) else mask_password(uri)

    def read_current_page(self, record_paths: Iterable[Path]) -> str:
        """Read the page of the sweep; "" if it is missing, or older than its plan or a record.

        Args:
            record_paths: paths of the records that the page was made of.
        """
        path = self.folder / PAGE_FILE
        try:
            written = path.stat().st_mtime_ns
            inputs = (self.folder / PLAN_FILE, *record_paths)
            if any(input_path.stat().st_mtime_ns > written for input_path in inputs):
                return ""
            return path.read_bytes().decode()
        except (OSError, UnicodeDecodeError):
            return ""

    def read_code_files(self) -> dict[str, str]:
        """Read the contents of the study's code files, by path relative to the study."""
        files = sorted(self.folder.rglob("*.py"))
        return {
            file.relative_to(self.folder).as_posix(): file.read_bytes().decode() for file in files
        }


def iter_archives(home_dir: Path) -> Iterator[SweepArchive]:
    """Yield the archives of all sweeps in a home folder, least recently changed first."""
    plan_paths = (home_dir / "sweeps").glob(f"*/{PLAN_FILE}")
    for plan_path in sorted(plan_paths, key=lambda path: path.stat().st_mtime):
        yield SweepArchive(plan_path.parent)
