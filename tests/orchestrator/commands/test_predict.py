from __future__ import annotations

import csv
import io
from typing import TYPE_CHECKING

import numpy as np
import pytest
from PIL import Image
from small_runs import complete_run, digits, pixels_of, recipe, runnable

from orchestrator.commands.predict import CSV_COLUMNS
from orchestrator.commands.predict import run as command
from orchestrator.flags import Locations
from trainables.errors import DataError, UserError

if TYPE_CHECKING:
    from pathlib import Path

    from trainables.run.spec import RunSpec


@pytest.fixture(scope="module")
def spec() -> RunSpec:
    return runnable(recipe=recipe(3), evaluate=("test",))


@pytest.fixture(scope="module")
def locations(tmp_path_factory: pytest.TempPathFactory, spec: RunSpec) -> Locations:
    home = tmp_path_factory.mktemp("home")
    complete_run(spec, home, digits)
    return Locations(home_dir=home)


def rows_of(text: str) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(text)))


def test_pictures_and_arrays_are_classified_alike(
    locations: Locations, spec: RunSpec, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    images = pixels_of(digits().test)[:3]
    np.save(tmp_path / "a.npy", images)
    paths = [tmp_path / "a.npy"]
    for n, image in enumerate(images):
        paths.append(tmp_path / f"{n}, [b].png")
        Image.fromarray(image[0]).save(paths[-1])
    assert command(locations, spec.digest[:8], paths, None, allow_code=False) == 0
    rows = rows_of(capsys.readouterr().out)
    assert tuple(rows[0]) == CSV_COLUMNS
    assert [row["file"] for row in rows] == [str(paths[0])] * 3 + [str(path) for path in paths[1:]]
    assert [row["index"] for row in rows] == ["0", "1", "2", "", "", ""]
    for array_row, picture_row in zip(rows[:3], rows[3:], strict=True):
        assert array_row["class"] == picture_row["class"]
        assert float(array_row["probability"]) == pytest.approx(
            float(picture_row["probability"]), rel=1e-4
        )


def test_a_file_that_cannot_be_read_is_named_and_the_others_are_classified(
    locations: Locations, spec: RunSpec, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    np.save(tmp_path / "a.npy", pixels_of(digits().test)[:2])
    (tmp_path / "text.png").write_text("text")
    paths = [tmp_path / name for name in ("text.png", "a.npy", "nothing.png")]
    out = tmp_path / "out.csv"
    assert command(locations, spec.digest, paths, out, allow_code=False) == 1
    assert [row["file"] for row in rows_of(out.read_text())] == [str(paths[1])] * 2
    printed = capsys.readouterr()
    assert printed.out == ""
    assert printed.err.splitlines() == [
        f"2 predictions: {out}",
        f"left out: cannot read {paths[0]} as a picture: replace or remove the file",
        f"left out: there is no file {paths[2]}",
    ]


def test_errors_write_nothing(locations: Locations, spec: RunSpec, tmp_path: Path) -> None:
    out = tmp_path / "out.csv"
    with pytest.raises(DataError, match="no predictions: there is no file"):
        command(locations, spec.digest, [tmp_path / "a.png"], out, allow_code=False)
    with pytest.raises(UserError, match=r"no run in .* has a digest that begins with 'zzz'"):
        command(locations, "zzz", [tmp_path / "a.png"], out, allow_code=False)
    assert not out.exists()


def test_pixels_between_0_and_1_are_suspicious(
    locations: Locations, spec: RunSpec, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    images = pixels_of(digits().test)[:2]
    np.save(tmp_path / "right.npy", images)
    np.save(tmp_path / "scaled.npy", (images > 128).astype(np.uint8))
    np.save(tmp_path / "float.npy", images / 255)
    paths = [tmp_path / name for name in ("right.npy", "scaled.npy", "float.npy")]
    assert command(locations, spec.digest, paths, None, allow_code=False) == 1
    warning, error = capsys.readouterr().err.splitlines()
    assert warning.startswith(f"{paths[1]}: no pixel is above 1, so that")
    assert error.endswith("required are uint8 images of 1×8×8, with pixels from 0 to 255")
