"""A sweep of a method, a backbone, noise and a dataset of a user's, and what remains of them.

Commands that may execute these files run in processes of their own: none is loaded in this one.
"""

from __future__ import annotations

import json
import shutil
from typing import TYPE_CHECKING, Any

import pytest
from command_line import call_command, results, run_command, runs_in_mlflow
from outside_code import FILES, code_file, write_files

from reports.store import open_store

if TYPE_CHECKING:
    import subprocess
    from collections.abc import Iterator
    from pathlib import Path

pytestmark = pytest.mark.slow

NOT_ALLOWED = "has not been allowed: read the file, then add --allow-code\n"


FLAGS = ("--trials", 1, "--scenario", "my_noise.py:PairFlip-0.3", "--allow-code", "--json")


class Swept:
    """A study that was carried out, after which the user's files were deleted.

    Attributes:
        home: home of the sweep.
        output: what the sweep printed.
        contents: contents of the user's files.
        marker: file that every execution of one of the user's files writes to.
        executed: text of the marker after the sweep.
        state: the user's state folder.
    """

    def __init__(self, folder: Path, engine: str) -> None:
        self.marker, self.state = folder / "marker", folder / "state"
        self.home = folder / engine
        study = write_files(folder / f"files-{engine}" / "mine", self.marker).parent / "mine.yaml"
        loss = study.parent / "my_loss.py"
        loss.write_bytes(loss.read_bytes().replace(b"\n", b"\r\n"))
        self.contents = {name: (study.parent / name).read_bytes() for name in FILES}
        words = ("sweep", study, "--home", self.home, "--engine", engine, *FLAGS)
        self.output = run_command(*words, folder=folder, patience_seconds=400.0)
        assert self.output.returncode == 0, self.output.stderr
        self.executed = self.marker.read_text()
        shutil.rmtree(study.parent)
        shutil.rmtree(self.state)
        self.marker.unlink()

    @property
    def table(self) -> dict[str, Any]:
        """What the sweep printed for programs."""
        plain: dict[str, Any] = json.loads(self.output.stdout)
        return plain

    @property
    def sha256s(self) -> dict[str, str]:
        """SHA-256 of each file."""
        return {name: code_file(content).sha256 for name, content in self.contents.items()}

    def digest_of_run(self, home: Path, method: str) -> str:
        """Return the digest of a run of a method with noise from outside."""
        return next(
            digest
            for digest, result in results(home).items()
            if result["spec"]["method"].startswith(method)
            and result["spec"]["scenario"].startswith("PairFlip")
        )


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Folder of all sweeps, with the user's state folder."""
    path = tmp_path_factory.mktemp("outside")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_STATE_HOME", str(path / "state"))
        yield path


@pytest.fixture(scope="module")
def swept(folder: Path) -> Swept:
    """The sweep in one process."""
    return Swept(folder, "inline")


@pytest.fixture(scope="module")
def swept_on_ray(folder: Path) -> Swept:
    """The sweep on Ray, from another folder with the same files."""
    return Swept(folder, "ray")


@pytest.fixture
def home(swept: Swept, tmp_path: Path) -> Path:
    """A copy of the inline sweep's home."""
    shutil.copytree(swept.home, tmp_path / "home")
    return tmp_path / "home"


@pytest.fixture(autouse=True)
def clean_state(swept: Swept) -> None:
    """Begin each test without anything remembered or executed."""
    shutil.rmtree(swept.state, ignore_errors=True)
    swept.marker.unlink(missing_ok=True)


def report(home: Path, study: str = "mine") -> dict[str, Any]:
    done = call_command("report", study, "--home", home, "--json", folder=home)
    assert done.returncode == 0, done.stderr
    plain: dict[str, Any] = json.loads(done.stdout)
    return plain


def refusal(done: subprocess.CompletedProcess[str]) -> str:
    """Return the one line with which a command was refused."""
    assert done.returncode != 0
    assert done.stderr.count("\n") == 1, done.stderr
    return done.stderr


def test_both_engines_train_the_same_runs(swept: Swept, swept_on_ray: Swept) -> None:
    one, other = results(swept.home), results(swept_on_ray.home)
    assert {digest: result["trace"] for digest, result in one.items()} == {
        digest: result["trace"] for digest, result in other.items()
    }
    assert swept.table["sections"] == swept_on_ray.table["sections"]
    for digest in one:
        folders = [each.home / "runs" / digest / "code" for each in (swept, swept_on_ray)]
        assert (
            len({tuple(sorted(path.name for path in folder.iterdir())) for folder in folders}) == 1
        )
    assert report(swept_on_ray.home) == swept_on_ray.table
    assert not swept.marker.exists()


def test_people_see_which_code_it_was(swept: Swept) -> None:
    shown = swept.output.stderr
    for name, class_name in (("my_loss.py", "LabelSmoothing"), ("my_data.py", "Blobs")):
        assert f"{class_name}, SHA-256 {swept.sha256s[name][:12]}" in shown
    for words in ("Label smoothing", "pair flips 30 %", "blobs", "LeNet"):
        assert words in shown


def test_each_record_has_the_files_of_its_run(swept: Swept) -> None:
    assert {name for name in FILES if name in swept.executed} == set(FILES)
    home = swept.home
    by_sha256 = {code_file(content).sha256: content for content in swept.contents.values()}
    for digest, result in results(home).items():
        code = set(result["spec"]["code"].values())
        files = {
            path.stem: path.read_bytes() for path in (home / "runs" / digest / "code").iterdir()
        }
        assert files == {sha256: by_sha256[sha256] for sha256 in code}
        expected = {"my_data.py", "my_net.py"}
        expected |= {"my_loss.py"} if "@" in result["spec"]["method"] else set()
        expected |= {"my_noise.py"} if "@" in result["spec"]["scenario"] else set()
        assert code == {swept.sha256s[name] for name in expected}


def test_the_sweep_keeps_the_files_beside_its_study(swept: Swept) -> None:
    (archive,) = (swept.home / "sweeps").glob("*/")
    assert {path.name: path.read_bytes() for path in archive.glob("*.py")} == swept.contents
    assert "@" not in (archive / "study.yaml").read_text()


def artifacts(home: Path, folder: Path) -> dict[str, bytes]:
    """Return the Python files among the artifacts of a home's sweep."""
    uri = f"sqlite:///{home}/mlflow.db"
    (sweep,) = runs_in_mlflow(uri, "sweep")
    client = open_store(uri)
    names = [item.path for item in client.list_artifacts(sweep.info.run_id)]
    folder.mkdir()
    for name in names:
        client.download_artifacts(sweep.info.run_id, name, str(folder))
    return {path.name: path.read_bytes() for path in folder.glob("*.py")}


def test_mlflow_has_the_files(swept: Swept, tmp_path: Path) -> None:
    assert artifacts(swept.home, tmp_path / "downloads") == swept.contents


def test_report_needs_no_code(swept: Swept) -> None:
    assert report(swept.home) == swept.table
    assert not swept.marker.exists()


def test_sync_needs_no_code(swept: Swept, home: Path, tmp_path: Path) -> None:
    (home / "mlflow.db").unlink()
    shutil.rmtree(home / "artifacts")
    done = call_command("sync", "--home", home, folder=home)
    assert done.returncode == 0, done.stderr
    assert report(home) == swept.table
    assert not swept.marker.exists()
    assert not swept.state.exists()
    assert artifacts(home, tmp_path / "downloads") == swept.contents
    names = {run.info.run_name for run in runs_in_mlflow(f"sqlite:///{home}/mlflow.db", "run")}
    before = {
        run.info.run_name for run in runs_in_mlflow(f"sqlite:///{swept.home}/mlflow.db", "run")
    }
    assert names == before


def test_the_archived_study_finds_everything_recorded(swept: Swept, home: Path) -> None:
    (archive,) = (home / "sweeps").glob("*/")
    command = ("sweep", archive / "study.yaml", "--engine", "inline", "--home", home, "--json")
    assert refusal(call_command(*command, folder=home)).endswith(NOT_ALLOWED)
    assert not swept.marker.exists()
    count = len(results(home))
    done = run_command(*command, "--allow-code", folder=home)
    assert done.returncode == 0, done.stderr
    assert f"{count} runs already recorded: nothing is left" in done.stderr
    assert json.loads(done.stdout)["sections"] == swept.table["sections"]
    assert len(results(home)) == count
    assert report(home) == swept.table


def test_suspects_read_the_dataset_from_the_record(swept: Swept, home: Path) -> None:
    digest = swept.digest_of_run(home, "LabelSmoothing")
    command = ("suspects", digest[:12], "--home", home, "--json")
    assert refusal(call_command(*command, folder=home)).endswith(NOT_ALLOWED)
    assert not swept.marker.exists()
    done = run_command(*command, "--allow-code", folder=home)
    assert done.returncode == 0, done.stderr
    assert swept.marker.read_text() == "my_data.py "
    done = run_command(*command, folder=home)
    assert done.returncode == 0, done.stderr


def test_a_changed_file_of_a_record_is_refused(swept: Swept, home: Path) -> None:
    digest = swept.digest_of_run(home, "ce")
    sha256 = swept.sha256s["my_data.py"]
    path = home / "runs" / digest / "code" / f"{sha256}.py"
    path.write_bytes(path.read_bytes() + b"# changed\n")
    command = ("suspects", digest, "--home", home, "--allow-code")
    changed = code_file(path.read_bytes()).sha256
    message = f"error: {path} has been changed: its SHA-256 is {changed}\n"
    assert refusal(run_command(*command, folder=home)) == message
    path.unlink()
    line = refusal(run_command(*command, folder=home))
    expected = f"error: run {digest[:12]} cannot be read: the source code of dataset Blobs@"
    assert line.startswith(expected)
    assert not swept.marker.exists()


def test_a_changed_file_trains_other_runs(swept: Swept, home: Path) -> None:
    (archive,) = (home / "sweeps").glob("*/")
    folder = home.parent / "changed"
    shutil.copytree(archive, folder)
    with (folder / "my_loss.py").open("ab") as file:
        file.write(b"# changed\r\n")
    command = ("sweep", folder / "study.yaml", "--home", home, "--engine", "inline", "--json")
    done = run_command(*command, "--allow-code", folder=home)
    assert done.returncode == 0, done.stderr
    before, after = results(swept.home), results(home)
    added = [after[digest]["spec"]["method"] for digest in after if digest not in before]
    assert added
    assert {name.partition("@")[0] for name in added} == {"LabelSmoothing"}
