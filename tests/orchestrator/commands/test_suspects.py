"""The command `suspects`: ranking, CSV file and contact sheet of a real run."""

from __future__ import annotations

import csv
import io
import json
from typing import TYPE_CHECKING

import numpy as np
import pytest
from PIL import Image
from small_runs import complete_run, digits, pixels_of, recipe, runnable
from typer.testing import CliRunner

from orchestrator.cli import app
from orchestrator.commands import suspects
from orchestrator.commands.suspects import run as command
from orchestrator.flags import Locations
from orchestrator.home import Home
from reports.suspects import CSV_COLUMNS
from trainables.datasets.picture_folder import PictureFolder
from trainables.diagnostics.store import Diagnostics, load_diagnostics
from trainables.errors import DataError, UserError
from trainables.run.record import Record

if TYPE_CHECKING:
    from pathlib import Path

    from trainables.run.spec import RunSpec


@pytest.fixture(scope="module")
def spec() -> RunSpec:
    values = {"lambda": 2.0, "alpha": 0.8, "first_target_epoch": 10}
    return runnable(recipe=recipe(30), values=values)


@pytest.fixture(scope="module")
def locations(tmp_path_factory: pytest.TempPathFactory, spec: RunSpec) -> Locations:
    home = tmp_path_factory.mktemp("home")
    complete_run(spec, home, digits, "study")
    return Locations(home_dir=home)


def test_a_real_run(
    locations: Locations, spec: RunSpec, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    assert command(locations, spec.digest[:10], out, 20, allow_code=False, as_json=True) == 0
    output = json.loads(capsys.readouterr().out)
    rows = list(csv.DictReader(io.StringIO((out / "suspects.csv").read_text())))
    assert tuple(rows[0]) == CSV_COLUMNS
    assert len(rows) == output["samples"] == 1006
    wrong = [row["given"] != row["true"] for row in rows]
    assert output["mislabelled"] == sum(wrong)
    assert output["precision"] == pytest.approx(np.mean(wrong[: sum(wrong)]))
    assert output["precision"] > 0.9  # a random order has 40 %
    assert output["score"] == "balanced-margin"
    assert output["auroc"] > 0.95
    assert output["estimated_share"] == pytest.approx(np.mean(wrong), abs=0.06)
    assert output["estimate_is_too_low"] is False
    for row in rows[:20]:
        assert int(row["true"]) == digits().train.labels[int(row["index"])]
    diagnostics = load_diagnostics(Record(locations.home_dir, spec.digest).folder)
    assert diagnostics is not None
    position = list(diagnostics["position"]).index(int(rows[0]["index"]))
    assert float(rows[0]["loss"]) == pytest.approx(float(diagnostics["loss"][position]), abs=1e-4)
    with Image.open(out / "suspects.png") as sheet:
        assert sheet.width > 900
        pixels = np.asarray(sheet.convert("L"))
    first = pixels_of(digits().train)[int(rows[0]["index"])][0].astype(float)
    thumbnail = pixels[38:158, 10:130].reshape(8, 15, 8, 15).mean(axis=(1, 3))
    np.testing.assert_allclose(thumbnail, first * 255 / 16, atol=2)


def test_printed_text(
    locations: Locations, spec: RunSpec, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command(locations, spec.digest, tmp_path / "out", 5, allow_code=False, as_json=False)
    text = capsys.readouterr().out
    assert "of 1006 labels are wrong; among the first" in text
    assert (
        "431 other samples were held out and are not ranked: train with --set confirm.hold_out"
        in text
    )
    assert "labels (4" in text.partition("estimate: ")[2]
    assert str(tmp_path / "out" / "suspects.csv") in text
    assert "too weak" not in text


def test_samples_without_a_rank_are_listed(
    locations: Locations, spec: RunSpec, tmp_path: Path
) -> None:
    command(locations, spec.digest, tmp_path, 1, allow_code=False, as_json=True)
    ranked, others = (
        {int(row["index"]) for row in csv.DictReader(io.StringIO((tmp_path / name).read_text()))}
        for name in ("suspects.csv", "not-ranked.csv")
    )
    assert ranked | others == set(range(1437))
    assert not ranked & others


def test_probabilities_of_a_run(locations: Locations, spec: RunSpec, tmp_path: Path) -> None:
    for name in ("p.npz", "p.csv"):
        options = {"probabilities_path": tmp_path / name, "score_name": "disagreement"}
        command(locations, spec.digest, tmp_path, 1, allow_code=False, as_json=True, **options)  # type: ignore[arg-type]
    with np.load(tmp_path / "p.npz") as file:
        arrays = dict(file)
    assert arrays["pred_probs"].shape == (1006, 10)
    np.testing.assert_allclose(arrays["pred_probs"].sum(axis=1), 1)
    rows = list(csv.reader(io.StringIO((tmp_path / "p.csv").read_text())))
    assert rows[0] == ["index", "file", "given", *map(str, range(10))]
    assert [int(row[2]) for row in rows[1:]] == arrays["labels"].tolist()
    with pytest.raises(UserError, match=r"p.txt: the name of the file must end in .csv or .npz"):
        command(
            *(locations, spec.digest, tmp_path, 1),
            allow_code=False,
            as_json=True,
            probabilities_path=tmp_path / "p.txt",
        )


def test_weak_network_is_said(
    locations: Locations, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    spec = runnable(recipe=recipe(1, learning_rate=1e-4))
    complete_run(spec, locations.home_dir, digits, "study")
    command(locations, spec.digest, tmp_path / "out", 5, allow_code=False, as_json=True)
    out = capsys.readouterr()
    assert "the network is too weak to tell which labels are wrong: its test" in out.err
    assert json.loads(out.out)["warning"].startswith("the network is too weak to tell")


def test_contact_sheet_names_file_and_both_labels(
    locations: Locations, spec: RunSpec, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    drawn: list[list[list[str]]] = []

    def draw(_images: object, captions: list[list[str]], _title: str) -> bytes:
        drawn.append(captions)
        return b""

    names = [f"{label}/{n}.png" for n, label in enumerate(digits().train.labels)]
    monkeypatch.setattr(suspects, "draw_contact_sheet", draw)
    monkeypatch.setattr(suspects, "list_training_files", lambda *_: names)
    command(locations, spec.digest, tmp_path, 3, allow_code=False, as_json=True)
    monkeypatch.setattr(suspects, "list_training_files", lambda *_: None)
    command(locations, spec.digest, tmp_path, 3, allow_code=False, as_json=True)

    rows = list(csv.DictReader(io.StringIO((tmp_path / "suspects.csv").read_text())))[:3]
    labels = [[f"given: {row['given']}", f"proposed: {row['proposed']}"] for row in rows]
    positions = [int(row["index"]) for row in rows]
    assert drawn == [
        [[names[n], *both] for n, both in zip(positions, labels, strict=True)],
        [[f"index {n}", *both] for n, both in zip(positions, labels, strict=True)],
    ]


def test_errors_are_one_line(locations: Locations, spec: RunSpec, tmp_path: Path) -> None:
    def fails(name: str, kind: type[Exception], message: str) -> None:
        with pytest.raises(kind, match=message):
            command(locations, name, tmp_path, 5, allow_code=False, as_json=False)

    fails("zzz", UserError, r"no run in .* has a digest that begins with 'zzz'")
    (locations.home_dir / "runs" / f"{spec.digest[:5]}twin").mkdir()
    fails(spec.digest[:5], UserError, r"digests of 2 runs begin with .*: write more digits")
    fails(f"{spec.digest[:5]}twin", UserError, "has not ended")
    (locations.home_dir / "runs" / f"{spec.digest[:5]}twin").rmdir()
    bare = runnable(method="ce", recipe=recipe(1))
    complete_run(bare, locations.home_dir, digits, "study", diagnostics_every=0)
    fails(bare.digest, UserError, "has no diagnostics of its last epoch")


def test_other_data_are_refused(locations: Locations, tmp_path: Path, spec: RunSpec) -> None:
    from unittest import mock

    other = mock.Mock(digest="0" * 64)
    with (
        mock.patch("orchestrator.commands.suspects.load", return_value=other),
        pytest.raises(DataError, match=r"has SHA-256 000000000000, but the run was trained on"),
    ):
        command(locations, spec.digest, tmp_path, 5, allow_code=False, as_json=False)


def test_a_relative_data_folder_is_kept_as_an_absolute_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for split, count in (("train", 12), ("test", 2)):
        for label, name in enumerate("ab"):
            for n in range(count):
                path = tmp_path / "own" / split / name / f"{n}.png"
                path.parent.mkdir(parents=True, exist_ok=True)
                Image.new("RGB", (8, 8), (9 * n, 200 * label, 0)).save(path)
    dataset = PictureFolder().read(tmp_path / "own")
    short = recipe(1, window=1, mean=(0.5,) * 3, std=(0.5,) * 3, crop_size=8, batch_size=8)
    spec = runnable(dataset, method="ce", scenario="clean", recipe=short, hold_out=0.0, evaluate=())
    Home(tmp_path / "home").create()
    complete_run(spec, tmp_path / "home", lambda: dataset)
    # The index that the first command caches must name the files in any working directory.
    for folder, data in ((tmp_path, "own"), (tmp_path / "home", "../own")):
        monkeypatch.chdir(folder)
        arguments = ["suspects", spec.digest[:12], "--home", str(tmp_path / "home")]
        result = CliRunner().invoke(app, [*arguments, "--data-dir", data])
        assert result.exit_code == 0, result.output
        assert (folder / f"suspects-{spec.digest[:12]}" / "suspects.png").exists()


def test_a_run_of_an_earlier_version_says_how_it_is_ranked(
    locations: Locations,
    spec: RunSpec,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def without_history(folder: Path) -> Diagnostics:
        diagnostics = load_diagnostics(folder)
        assert diagnostics is not None
        kept = {name: x for name, x in diagnostics.arrays.items() if "history/" not in name}
        return Diagnostics(kept)

    monkeypatch.setattr(suspects, "load_diagnostics", without_history)
    command(locations, spec.digest, tmp_path, 5, allow_code=False, as_json=False)
    text = capsys.readouterr().out
    assert "from which balanced-margin is computed: the ranking is by last-epoch instead." in text
    command(locations, spec.digest, tmp_path, 5, allow_code=False, as_json=False, score_name="loss")
    assert "earlier version" not in capsys.readouterr().out
