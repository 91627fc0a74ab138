"""Write the golden files of the recorded sweeps anew, after a deliberate change of the reports.

python tests/golden/regenerate.py           # files from the committed records
python tests/golden/regenerate.py HOME      # the records too, of the sweep in a home folder
"""

from __future__ import annotations

import json
import shutil
import sqlite3
import sys
import tempfile
from contextlib import closing
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).resolve().parent

GOLDEN = ROOT / "digits"
"""Folder of the recorded sweep whose tables are golden files, too."""

FIGURES = {
    "digits": ("1", "2", "3", "4", "curves"),
    "response": ("response", "4"),
    "methods": ("sensitivity", "ranks"),
}
"""Figures that are made of each recorded sweep, by the name of its study and folder."""

GRID_STEP = 10
"""Of the points of the response's grid, one in ten is kept.

The grid has 41 columns, so that these points lie in all its columns and rows.
"""

TABLES = ("experiments", "runs", "tags", "params", "latest_metrics", "metrics")
"""Tables of MLflow's database that reports read."""

CELLS = "SELECT run_uuid FROM tags WHERE key = 'nal.kind' AND value = 'cell'"
"""MLflow runs that stand for cells, which reports do not read."""

HISTORY = "test/accuracy"
"""Metric whose values over the epochs are kept for the figure of learning curves."""

DIAGNOSTICS = "diagnostics"
"""Folder of the diagnostics of the runs in the table, each named by the digest of the run."""

FORMATS = (".md", ".tex", ".csv", ".html")
"""Suffixes of the golden files."""

MLFLOW_TAGS = "mlflow."
"""Beginning of the tags that MLflow itself uses, such as the user; reports do not read them."""

HIDDEN_TAGS = ("nal.host", "nal.commit")
"""Tags that name a machine, whose values are replaced."""


def dump_records(home: Path) -> None:
    """Write the sweep in a home folder as SQL, with short IDs, without machines and paths."""
    (plan_path,) = home.glob("sweeps/*/plan.json")
    study = json.loads(plan_path.read_text())["study"]
    lines = []
    with closing(sqlite3.connect(f"{(home / 'mlflow.db').as_uri()}?mode=ro", uri=True)) as database:
        database.row_factory = sqlite3.Row
        for table in TABLES:
            rows = _read_rows(database, table, has_histories="curves" in FIGURES[study])
            for columns, group in groupby(rows, key=tuple):
                lines.append(f"INSERT INTO {table} ({', '.join(columns)}) VALUES")
                literals = [", ".join(map(_literal, row.values())) for row in group]
                lines.append(",\n".join(f"({text})" for text in literals) + ";")
        run_ids = [row["run_uuid"] for row in database.execute("SELECT * FROM runs ORDER BY 1")]
    text = "\n".join(lines) + "\n"
    for number, run_id in enumerate(run_ids):
        text = text.replace(run_id, f"run{number}")
    folder = ROOT / study
    folder.mkdir(exist_ok=True)
    (folder / "records.sql").write_text(text)
    (folder / "plan.json").write_bytes(plan_path.read_bytes())
    dump_diagnostics(home, folder)


def _read_rows(
    database: sqlite3.Connection, table: str, *, has_histories: bool
) -> Iterator[dict[str, object]]:
    """Yield the rows of a table that are kept, as values by column."""
    runs = "" if table == "experiments" else f"WHERE run_uuid NOT IN ({CELLS})"
    for row in database.execute(f"SELECT * FROM {table} {runs} ORDER BY 1, 2"):  # noqa: S608 - constants
        values = {name: row[name] for name in row.keys() if row[name] is not None}  # noqa: SIM118
        if table == "experiments" and values["experiment_id"] == 0:
            continue
        if table == "metrics" and not (has_histories and values["key"] == HISTORY):
            continue
        for name in ("artifact_location", "artifact_uri"):
            if name in values:
                values[name] = "ARTIFACTS/" + values[name].partition("/artifacts/")[2]
        if "user_id" in values:
            values["user_id"] = "user"
        if table == "tags" and values["key"].startswith(MLFLOW_TAGS):
            continue
        if values.get("key") in HIDDEN_TAGS:
            values["value"] = "hidden"
        yield values


def dump_diagnostics(home: Path, folder: Path) -> None:
    """Copy the diagnostics of the runs that figures show, of the sweep in a home folder, if any."""
    shutil.rmtree(folder / DIAGNOSTICS, ignore_errors=True)
    for cell in json.loads((folder / "plan.json").read_text())["cells"]:
        for digest in cell["digests"] if cell["origin"] != "reference" else ():
            path = home / "runs" / digest / "diagnostics.npz"
            if path.exists():
                (folder / DIAGNOSTICS).mkdir(exist_ok=True)
                shutil.copyfile(path, folder / DIAGNOSTICS / f"{digest}.npz")


def _literal(value: object) -> str:
    if isinstance(value, str):
        return "'" + value.replace("'", "''") + "'"
    return repr(value)


def load_records(folder: Path, study: str = "digits") -> str:
    """Load a recorded sweep into a new MLflow store in a folder, and return its URI."""
    from stores import fresh_store

    uri = fresh_store(folder)
    sql = (ROOT / study / "records.sql").read_text()
    sql = sql.replace("'ARTIFACTS/", f"'{folder.as_uri()}/artifacts/")
    with closing(sqlite3.connect(folder / "mlflow.db")) as database:
        database.executescript(f"BEGIN; {sql} COMMIT;")
        ((address,),) = database.execute(
            "SELECT artifact_uri FROM runs JOIN tags USING (run_uuid)"
            " WHERE key = 'nal.kind' AND value = 'sweep'"
        )
    plan_path = Path(address.removeprefix("file://")) / "plan.json"
    plan_path.parent.mkdir(parents=True)
    plan_path.write_bytes((ROOT / study / "plan.json").read_bytes())
    for path in (ROOT / study / DIAGNOSTICS).glob("*.npz"):
        run_folder = folder / "runs" / path.stem
        run_folder.mkdir(parents=True)
        shutil.copyfile(path, run_folder / "diagnostics.npz")
    return uri


def render_tables(folder: Path) -> dict[str, str]:
    """Return the tables of the recorded sweep `digits`, by file name.

    Args:
        folder: empty folder for an MLflow store.
    """
    from reports.comparison import comparison_table
    from reports.formats import find_format
    from reports.report import read_confirmed_sweep

    table = comparison_table(*read_confirmed_sweep(load_records(folder), "digits"))
    return {f"table{suffix}": find_format(Path(f"table{suffix}"))(table) for suffix in FORMATS}


def render_figures(study: str, folder: Path) -> dict[str, str]:
    """Return the numbers of the figures of a recorded sweep, by file name.

    Args:
        study: name of the sweep's study, one of `FIGURES`.
        folder: empty folder for an MLflow store.
    """
    from reports.figures import catalogue
    from reports.figures.report import open_source
    from reports.report import read_confirmed_sweep

    uri = load_records(folder, study)
    source = open_source(uri, folder, *read_confirmed_sweep(uri, study))
    files = {}
    for key in FIGURES[study]:
        rows = list(catalogue.FIGURES[key].collect(source).rows())
        if key == "response":
            grid = [row for row in rows if row["kind"] == "grid"]
            rows = [row for row in rows if row["kind"] != "grid"] + grid[::GRID_STEP]
        files[f"figure-{key}.csv"] = catalogue.to_csv(rows).decode()
    return files


def main() -> None:
    """Write the golden files, and the records if a home folder is named."""
    sys.path[:0] = [str(ROOT.parents[1]), str(ROOT.parent)]
    if sys.argv[1:]:
        dump_records(Path(sys.argv[1]).resolve())
    for study in FIGURES:
        with tempfile.TemporaryDirectory() as folder:
            files = render_figures(study, Path(folder))
        if study == "digits":
            with tempfile.TemporaryDirectory() as folder:
                files |= render_tables(Path(folder))
        for name, text in files.items():
            (ROOT / study / name).write_text(text, newline="")


if __name__ == "__main__":
    main()
