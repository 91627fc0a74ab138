"""The Python API on a recorded sweep, and the examples of its page."""

from __future__ import annotations

import re
import shutil
import sqlite3
from contextlib import closing
from typing import TYPE_CHECKING

import pytest
from documents import ROOT
from golden.regenerate import GOLDEN, load_records

import reports
from reports import Results
from reports.formats import format_csv
from reports.plan_record import PlanRecord
from reports.results import SweepResults
from reports.store import home_database, home_store_uri
from trainables.errors import HomeError, ServiceError, UserError

if TYPE_CHECKING:
    from pathlib import Path

EXAMPLES = re.findall(
    r"```python\n(.*?)```", (ROOT / "docs" / "python-api.md").read_text("utf-8"), re.DOTALL
)


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home folder with the recorded sweep."""
    home = tmp_path_factory.mktemp("api") / "runs"
    home.mkdir()
    load_records(home)
    with closing(sqlite3.connect(home_database(home))) as database, database:
        # The store is a copy of an empty one, whose default experiment lies elsewhere.
        database.execute(
            "UPDATE experiments SET artifact_location = ? WHERE experiment_id = 0",
            [f"{home.as_uri()}/artifacts/0"],
        )
    return home


@pytest.fixture(scope="module")
def sweep(home: Path) -> SweepResults:
    return Results(home).sweep("digits")


def golden(name: str) -> str:
    return (GOLDEN / name).read_bytes().decode()


def test_the_sweeps_of_a_home_are_listed(home: Path, sweep: SweepResults) -> None:
    frame = Results(home).sweeps()
    assert frame[["study", "sweep"]].to_numpy().tolist() == [["digits", sweep.plan.sweep]]
    assert frame["started"].dt.year.tolist() == [2026]
    assert (
        repr(sweep)
        == f"<sweep {sweep.plan.sweep[:12]} of study digits, finished, 21 recorded runs>"
    )


def test_a_store_is_read_by_its_address_too(home: Path, sweep: SweepResults) -> None:
    other = Results(home_store_uri(home), home=home).sweep()
    assert (other.plan, other.home) == (sweep.plan, home)


def test_cells_have_the_numbers_of_the_golden_table(sweep: SweepResults) -> None:
    lines = sweep.cells[["row", "mean", "sd"]].itertuples(index=False, name=None)
    texts = [f"{mean:.2f} ± {sd:.2f}" for _, mean, sd in lines]
    printed = re.findall(r"\d+\.\d\d ± \d+\.\d\d", golden("table.md"))
    assert texts == printed
    assert len(texts) == 6


def test_runs_and_curves_belong_together(sweep: SweepResults) -> None:
    runs, curves = sweep.runs, sweep.curves()
    assert sorted(set(curves["epoch"])) == [1, 2, 3]
    last = curves[curves["epoch"] == 3]
    assert runs["digest"].is_unique
    assert len(runs) == len(sweep.recorded)
    both = last.merge(runs, on=["digest", "seed"], validate="1:1")
    assert len(both) == (runs["phase"] == "confirm").sum() == 9
    assert both["value"].tolist() == both["test/accuracy_last"].tolist()


def test_a_table_shows_itself(sweep: SweepResults, tmp_path: Path) -> None:
    table = sweep.table()
    assert "82.22 ± 2.17" in repr(table)
    assert "<strong>82.22 ± 2.17</strong>" in table._repr_html_()
    markdown = table._repr_markdown_()
    assert [line for line in markdown.splitlines() if line.startswith("|")] == [
        line for line in golden("table.md").splitlines() if line.startswith("|")
    ]
    assert r"\textbf{82.22 $\pm$ 2.17}" in table.to_latex()
    table.save(tmp_path / "table.csv")
    assert (tmp_path / "table.csv").read_bytes().decode() == format_csv(table.table)


def test_spread_and_columns_change_the_table(sweep: SweepResults) -> None:
    table = sweep.table(spread="se", columns=["memory"])
    assert "82.22 ± 1.25" in repr(table)
    assert table.table.columns[-1] == "peak memory, MB"
    assert sweep.table(columns="memory").table.columns == table.table.columns


def test_a_figure_shows_itself_and_has_its_numbers(sweep: SweepResults, tmp_path: Path) -> None:
    figure = sweep.figure("curves")
    assert "<svg" in figure._repr_svg_()
    assert "n = 3" in figure.caption
    rows = figure.data.to_dict("records")
    line = next(row for row in rows if (row["line"], row["epoch"]) == ("Cross Entropy", 3))
    assert line["n"] == 3
    assert (line["mean"], line["std"]) == pytest.approx((82.22, 2.17), abs=0.005)
    paths = figure.save(tmp_path / "new")
    assert sorted(path.suffix for path in paths) == [".csv", ".pdf", ".png", ".svg"]
    assert all(path.stat().st_size for path in paths)


def test_the_page_has_the_table(sweep: SweepResults) -> None:
    page = sweep.page()
    assert page.startswith("<!DOCTYPE html>")
    assert "82.22 ± 2.17" in page


@pytest.mark.parametrize(
    ("request_result", "message"),
    [
        (lambda sweep: sweep.table("std"), "there is no spread 'std'; did you mean 'sd'?"),
        (lambda sweep: sweep.table(columns=["hour"]), "no column 'hour'; did you mean 'hours'?"),
        (lambda sweep: sweep.figure("curve"), "there is no figure 'curve'; did you mean 'curves'?"),
        (lambda sweep: sweep.figure(9), "there is no figure '9'"),
        (
            lambda sweep: sweep.figure("response"),
            "needs at least 6 trials of its search, of",
        ),
        (lambda sweep: sweep.figure("curves", "clean"), "has no such scenario"),
        (lambda sweep: sweep.curves("test/acc"), "recorded 'test/acc'; did you mean 'test/accu"),
        (lambda sweep: sweep.table().save("table.xls"), "no format has the suffix '.xls'"),
        (lambda sweep: unfinished(sweep).table(), "no runs of the confirm phase yet"),
        (lambda sweep: unfinished(sweep).page(), "no runs of the confirm phase yet"),
    ],
)
def test_an_impossible_request_is_one_line(
    sweep: SweepResults, request_result: object, message: str
) -> None:
    assert callable(request_result)
    with pytest.raises(UserError) as caught:
        request_result(sweep)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def unfinished(sweep: SweepResults) -> SweepResults:
    """Return a sweep that is still searching."""
    text = sweep.plan.to_json()
    plan = PlanRecord.from_json(text)
    plan.cells.clear()
    return SweepResults(sweep.uri, sweep.home, plan, sweep.recorded)


def test_a_sweep_that_still_searches_has_frames(sweep: SweepResults) -> None:
    searching = unfinished(sweep)
    assert len(searching.trials) == len(sweep.trials) == 3
    assert len(searching.cells) == len(searching.curves()) == 0


def test_a_copied_home_is_refused_with_the_command_that_helps(home: Path, tmp_path: Path) -> None:
    copied = tmp_path / "a copy"
    shutil.copytree(home, copied)
    with pytest.raises(HomeError, match=r"was copied or moved.* sync --home '.*/a copy'`"):
        Results(copied)


def test_errors_name_no_flags(sweep: SweepResults) -> None:
    with pytest.raises(UserError, match=r"^table\.doc: no format has the suffix"):
        sweep.table().save("table.doc")
    with pytest.raises(ServiceError, match=r"cannot be reached .*: start it, or name") as error:
        Results("http://127.0.0.1:1").sweeps()
    assert "--" not in str(error.value)


def test_nothing_is_created_where_nothing_is_recorded(tmp_path: Path) -> None:
    with pytest.raises(HomeError, match="no run is recorded in the home folder"):
        Results(tmp_path)
    with pytest.raises(HomeError, match="there is no MLflow store"):
        Results(f"sqlite:///{tmp_path}/other.db")
    assert list(tmp_path.iterdir()) == []


def test_a_database_of_another_program_is_refused(tmp_path: Path) -> None:
    with closing(sqlite3.connect(home_database(tmp_path))) as database, database:
        database.execute("CREATE TABLE other (number INTEGER)")
    with pytest.raises(HomeError, match="cannot be used: no such table"):
        Results(tmp_path)


def test_the_package_has_no_other_names() -> None:
    with pytest.raises(AttributeError, match="module 'reports' has no attribute 'results_of'"):
        reports.results_of  # noqa: B018


def test_the_examples_of_the_page_run(
    home: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    import matplotlib as mpl
    from matplotlib import pyplot as plt

    mpl.use("agg")
    (tmp_path / "runs").symlink_to(home)
    monkeypatch.chdir(tmp_path)
    names: dict[str, object] = {}
    for example in EXAMPLES:
        exec(compile(example, "python-api.md", "exec"), names)  # noqa: S102
    plt.close("all")
    written = {path.name for path in tmp_path.iterdir()} - {"runs"}
    assert written == {"table.tex", "times.md", "curves.png", "figures", "page.html"}
    printed = capsys.readouterr().out
    assert re.search(r"Cross Entropy +82\.22 +2\.17 +3\n", printed)
    assert "better by" in printed
    assert "varies no hyperparameter" in printed
