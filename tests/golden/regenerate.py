"""Write the golden files of the recorded sweep anew, after a deliberate change of the tables.

python tests/golden/regenerate.py           # files from the committed records
python tests/golden/regenerate.py HOME      # the records too, from the sweep in a home folder
"""

from __future__ import annotations

import json
import shutil
import sqlite3
import sys
import tempfile
from contextlib import closing, suppress
from pathlib import Path

GOLDEN = Path(__file__).resolve().parent / "digits"
"""Folder of the recorded sweep and its golden files."""

TABLES = ("experiments", "runs", "tags", "params", "latest_metrics", "metrics")
"""Tables of MLflow's database that reports read."""

HISTORY = "test/accuracy"
"""Metric whose values over the epochs are kept: that of the figure of learning curves."""

DIAGNOSTICS = "diagnostics"
"""Folder of the diagnostics of the runs in the table, each named by the digest of the run."""

FORMATS = (".md", ".tex", ".csv", ".html")
"""Suffixes of the golden files."""

HIDDEN_TAGS = ("nal.host", "nal.commit", "mlflow.user", "mlflow.source.name")
"""Tags that name a machine, a person or a path, whose values are replaced."""


def dump_records(home: Path) -> None:
    """Write the sweep in a home folder as SQL, without names of machines and paths."""
    lines = []
    with closing(sqlite3.connect(f"{(home / 'mlflow.db').as_uri()}?mode=ro", uri=True)) as database:
        database.row_factory = sqlite3.Row
        for table in TABLES:
            query = f"SELECT * FROM {table} ORDER BY 1, 2"  # noqa: S608 - constants
            for row in database.execute(query):
                values = {name: row[name] for name in row.keys() if row[name] is not None}  # noqa: SIM118
                if table == "experiments" and values["experiment_id"] == 0:
                    continue
                if table == "metrics" and values["key"] != HISTORY:
                    continue
                for name in ("artifact_location", "artifact_uri"):
                    if name in values:
                        values[name] = "ARTIFACTS/" + values[name].partition("/artifacts/")[2]
                if "user_id" in values:
                    values["user_id"] = "user"
                if values.get("key") in HIDDEN_TAGS:
                    values["value"] = "hidden"
                columns = ", ".join(values)
                literals = ", ".join(_literal(value) for value in values.values())
                lines.append(f"INSERT INTO {table} ({columns}) VALUES ({literals});")  # noqa: S608
        (plan_path,) = home.glob("sweeps/*/plan.json")
    GOLDEN.mkdir(exist_ok=True)
    (GOLDEN / "records.sql").write_text("\n".join(lines) + "\n")
    (GOLDEN / "plan.json").write_bytes(plan_path.read_bytes())
    dump_diagnostics(home, plan_path)


def dump_diagnostics(home: Path, plan_path: Path) -> None:
    """Copy the diagnostics of the runs in the table of the sweep in a home folder."""
    shutil.rmtree(GOLDEN / DIAGNOSTICS, ignore_errors=True)
    (GOLDEN / DIAGNOSTICS).mkdir()
    for cell in json.loads(plan_path.read_text())["cells"]:
        for digest in cell["digests"]:
            path = home / "runs" / digest / "diagnostics.npz"
            shutil.copyfile(path, GOLDEN / DIAGNOSTICS / f"{digest}.npz")


def _literal(value: object) -> str:
    if isinstance(value, str):
        return "'" + value.replace("'", "''") + "'"
    return repr(value)


def load_records(folder: Path) -> str:
    """Load the recorded sweep into a new MLflow store in a folder, and return its URI."""
    from stores import fresh_store

    uri = fresh_store(folder)
    sql = (GOLDEN / "records.sql").read_text()
    sql = sql.replace("'ARTIFACTS/", f"'{folder.as_uri()}/artifacts/")
    with closing(sqlite3.connect(folder / "mlflow.db")) as database:
        database.executescript(f"BEGIN; {sql} COMMIT;")
        ((address,),) = database.execute(
            "SELECT artifact_uri FROM runs JOIN tags USING (run_uuid)"
            " WHERE key = 'nal.kind' AND value = 'sweep'"
        )
    plan_path = Path(address.removeprefix("file://")) / "plan.json"
    plan_path.parent.mkdir(parents=True)
    plan_path.write_bytes((GOLDEN / "plan.json").read_bytes())
    for path in (GOLDEN / DIAGNOSTICS).glob("*.npz"):
        run_folder = folder / "runs" / path.stem
        run_folder.mkdir(parents=True)
        shutil.copyfile(path, run_folder / "diagnostics.npz")
    return uri


def render_files(folder: Path) -> dict[str, str]:
    """Return the tables of the recorded sweep and the numbers of its figures, by file name.

    Args:
        folder: empty folder for an MLflow store.
    """
    from reports.comparison import comparison_table
    from reports.figures.catalogue import FIGURES, to_csv
    from reports.figures.report import open_source
    from reports.figures.source import MissingDataError
    from reports.formats import find_format
    from reports.report import read_confirmed_sweep

    uri = load_records(folder)
    plan, runs = read_confirmed_sweep(uri, "digits")
    table = comparison_table(plan, runs)
    files = {f"table{suffix}": find_format(Path(f"table{suffix}"))(table) for suffix in FORMATS}
    source = open_source(uri, folder, plan, runs)
    for key, figure in FIGURES.items():
        with suppress(MissingDataError):
            files[f"figure-{key}.csv"] = to_csv(figure.collect(source).rows()).decode()
    return files


def main() -> None:
    """Write the golden files, and the records if a home folder is named."""
    sys.path[:0] = [str(GOLDEN.parents[2]), str(GOLDEN.parents[1])]
    if sys.argv[1:]:
        dump_records(Path(sys.argv[1]).resolve())
    with tempfile.TemporaryDirectory() as folder:
        files = render_files(Path(folder))
    for path in GOLDEN.glob("figure-*.csv"):
        path.unlink()
    for name, text in files.items():
        (GOLDEN / name).write_text(text, newline="")


if __name__ == "__main__":
    main()
