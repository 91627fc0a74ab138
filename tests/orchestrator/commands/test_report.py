"""The command `report`."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from command_line import call_command
from factories import cell_specs, make_cell, make_plan, make_result
from stores import fresh_store

from orchestrator.commands import report
from orchestrator.commands.report import ReportRequest
from orchestrator.flags import Locations
from orchestrator.tracking.archive import SweepArchive
from orchestrator.tracking.tracker import Tracker
from orchestrator.watching.progress_record import ProgressRecord, RunFailure, Start
from reports.figures.report import FigureRequest
from search_spaces.schema import Phase
from trainables.errors import HomeError, StudyError
from trainables.run.record import Record

OLD, NEW = "ab" * 32, "cd" * 32


def record_sweep(uri: str, folder: Path, digest: str, study: str = "mine") -> None:
    cell = make_cell("ce", seeds=(0, 1))
    tracker = Tracker(uri, folder / "artifacts", study)
    tracker.start_sweep(make_plan([cell], sweep=digest, study=study), "")
    for spec in cell_specs("ce", "symmetric-0.4", (0, 1), {}):
        tracker.record(make_result(spec, accuracy=0.9), Phase.CONFIRM, cell)


def test_report_names_the_logs_of_failed_runs(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    uri = fresh_store(tmp_path)
    record_sweep(uri, tmp_path, OLD)
    archive = SweepArchive.of(tmp_path, OLD)
    archive.folder.mkdir(parents=True)
    now = "2026-01-01T00:00:00+00:00"
    start = Start("host", 1, now, 1.0, 1.0, 1, "ended")
    failures = [RunFailure(text * 32, "confirm", "ce", "clean", "a bug") for text in ("ab", "cd")]
    ProgressRecord(now, [start], {"study": "mine"}, failures=failures).write(archive.folder)
    log_path = Record(tmp_path, "cd" * 32).log_path
    log_path.parent.mkdir(parents=True)
    log_path.touch()
    report.run(
        "mine", Locations(home_dir=tmp_path, tracking_uri=uri), ReportRequest(), as_json=False
    )
    output = capsys.readouterr()
    line = "run that could not be carried out: confirm: ce on clean, {}: a bug"
    assert output.err.splitlines() == [
        line.format("ab" * 6),
        f"{line.format('cd' * 6)}; log: {log_path}",
    ]
    assert str(tmp_path) not in output.out


@pytest.mark.parametrize("as_json", [False, True])
def test_report_says_which_of_several_sweeps_of_a_name_it_prints(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], *, as_json: bool
) -> None:
    uri = fresh_store(tmp_path)
    locations = Locations(home_dir=tmp_path, tracking_uri=uri)
    record_sweep(uri, tmp_path, OLD)
    record_sweep(uri, tmp_path, "ef" * 32, study="other")

    report.run("mine", locations, ReportRequest(), as_json=as_json)
    assert capsys.readouterr().err == ""

    record_sweep(uri, tmp_path, NEW)
    report.run("mine", locations, ReportRequest(), as_json=as_json)
    output = capsys.readouterr()
    assert re.fullmatch(
        r"This is sweep cdcdcdcdcdcd, the latest of 2 of 'mine'\. The table of another is printed "
        r"by `report DIGEST`: abababababab \(\d{4}-\d\d-\d\d \d\d:\d\d\)\n",
        output.err,
    )
    if as_json:
        assert json.loads(output.out)["sweep"] == NEW

    report.run("abab", locations, ReportRequest(), as_json=as_json)
    output = capsys.readouterr()
    assert output.err == ""
    if as_json:
        assert json.loads(output.out)["sweep"] == OLD


def test_a_study_is_named_by_its_name_or_its_file(
    tmp_path: Path,
) -> None:
    uri = fresh_store(tmp_path)
    (tmp_path / "mine.yaml").write_text("extends: digits\ntitle: mine\n")
    for study, digit in (("mine", "a"), ("other", "b")):
        plan = make_plan([make_cell("ce", seeds=(0,))], study=study, sweep=64 * digit)
        tracker = Tracker(uri, tmp_path / "artifacts", study)
        tracker.start_sweep(plan, "")
        result = make_result(cell_specs("ce", "symmetric-0.4", (0,), {})[0])
        tracker.record(result, Phase.CONFIRM, plan.cells[0])
    for sweep in ("mine", "mine.yaml", str(tmp_path / "mine.yaml"), "aaaa"):
        process = call_command("report", sweep, "--json", "--home", ".", folder=tmp_path)
        assert process.returncode == 0, process.stderr
        assert json.loads(process.stdout)["study"] == "mine"
    process = call_command("report", "mime.yaml", "--home", ".", folder=tmp_path)
    assert "the study file 'mime.yaml' does not exist" in process.stderr


@pytest.mark.parametrize(
    ("file", "content", "fault"),
    [
        ("mine.yaml", "extends: digits\nepochz: 3\n", "mine.yaml:2: epochz: unknown key"),
        ("digits.yaml", "extends: cifar10\n", "the name 'digits' belongs to a study that comes"),
    ],
)
def test_a_study_file_that_is_not_valid_is_refused(
    tmp_path: Path, file: str, content: str, fault: str
) -> None:
    uri, study = fresh_store(tmp_path), file.removesuffix(".yaml")
    (tmp_path / file).write_text(content)
    locations = Locations(home_dir=tmp_path, tracking_uri=uri)
    with pytest.raises(StudyError) as error:
        report.run(str(tmp_path / file), locations, ReportRequest(), as_json=False)
    assert fault in str(error.value)
    assert "latest sweep" not in str(error.value)

    for digest in (OLD, NEW):
        record_sweep(uri, tmp_path, digest, study)
    with pytest.raises(StudyError) as error:
        report.run(str(tmp_path / file), locations, ReportRequest(), as_json=False)
    assert fault in str(error.value)
    assert str(error.value).endswith(
        f"(this study file is not valid; `report {study}` prints the latest sweep of that name, "
        f"{NEW[:12]})"
    )
    # Code is not executed, so that it is not known whether the rest of a study is valid.
    (tmp_path / "mine.yaml").write_text("extends: digits\nmethods: [ce, mine.py:Mine]\ntune: []\n")
    (tmp_path / "mine.py").write_text("raise SystemExit\n")
    record_sweep(uri, tmp_path, "ef" * 32)
    assert report.run(str(tmp_path / "mine.yaml"), locations, ReportRequest(), as_json=False) == 0


def test_the_page_is_written_beside_the_table(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    uri = fresh_store(tmp_path)
    record_sweep(uri, tmp_path, OLD)
    locations = Locations(home_dir=tmp_path, tracking_uri=uri)
    report.run("mine", locations, ReportRequest(page_file=tmp_path / "page.html"), as_json=False)
    output = capsys.readouterr()
    assert "Cross Entropy" in output.out
    assert output.err == f"wrote {tmp_path}/page.html\n"
    page = (tmp_path / "page.html").read_text()
    assert page.count("<polyline") == 2
    assert str(tmp_path) not in page

    folder = tmp_path / "missing"
    with pytest.raises(HomeError, match="missing"):
        report.run("mine", locations, ReportRequest(page_file=folder / "page.html"), as_json=True)
    assert capsys.readouterr() == ("", "")


@pytest.mark.parametrize("as_json", [False, True])
def test_files_that_were_written_are_named_as_they_were_typed(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    *,
    as_json: bool,
) -> None:
    locations = Locations(home_dir=tmp_path, tracking_uri=fresh_store(tmp_path))
    record_sweep(locations.store_uri, tmp_path, OLD)
    monkeypatch.chdir(tmp_path)
    request = ReportRequest(
        table_files=(Path("t.md"), Path("t.csv")),
        figures=FigureRequest(("curves",), Path("figures")),
    )
    report.run("mine", locations, request, as_json=as_json)
    output = capsys.readouterr()
    paths = [line.removeprefix("wrote ") for line in output.err.splitlines()]
    assert paths[:2] == ["t.md", "t.csv"]
    assert {Path(path).suffix for path in paths[2:]} == {".svg", ".pdf", ".png", ".csv"}
    assert all(Path(path).stat().st_size for path in paths)
    assert {Path(path).parent for path in paths[2:]} == {Path("figures")}
    assert as_json == output.out.startswith("{")
