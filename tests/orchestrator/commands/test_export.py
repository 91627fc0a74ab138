from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from small_runs import CPU, complete_run, digits, pixels_of, recipe, runnable

from orchestrator.commands.export import run as command
from orchestrator.flags import Locations
from orchestrator.home import Home
from trainables.errors import HomeError, UserError
from trainables.run.record import Record
from trainables.training.classifier import load_model


def test_names_of_files_are_checked_first(tmp_path: Path) -> None:
    locations = Locations(home_dir=tmp_path)

    def fails(path: Path | None, error: type[Exception], message: str) -> None:
        with pytest.raises(error, match=message):
            command(locations, "a", path, logs_model=False, allow_code=False)

    fails(None, UserError, "nothing to do: name a file, such as model.pt2, or set --log")
    fails(tmp_path / "model.onnx", UserError, r"must end in .pt2")
    fails(tmp_path / "no" / "model.pt2", HomeError, "the folder does not exist")
    fails(tmp_path / "model.pt2", UserError, "no run in .* has a digest that begins with 'a'")


READ_MODEL = """
import sys
import mlflow, numpy
mlflow.set_tracking_uri(sys.argv[1])
model = mlflow.pyfunc.load_model(sys.argv[2])
assert model.metadata.signature is not None
numpy.save(sys.argv[4], model.predict(numpy.load(sys.argv[3])))
print("orchestrator" in sys.modules or "trainables" in sys.modules)
"""
"""Program that reads a model from MLflow and computes its predictions, without this project."""


@pytest.mark.slow
def test_mlflow_reads_the_logged_model_without_this_project(
    tmp_path: Path,
) -> None:
    spec = runnable(recipe=recipe(3), evaluate=("test",))
    home = Home(tmp_path / "home")
    home.create()
    complete_run(spec, home.path, digits)
    locations = Locations(home_dir=home.path)
    program = [sys.executable, "-m", "orchestrator", "export", spec.digest[:12], "--log"]
    done = subprocess.run(
        [*program, str(tmp_path / "model.pt2"), "--home", str(home.path)],
        capture_output=True,
        text=True,
        check=False,
        cwd=Path(__file__).parents[3],
    )
    assert done.returncode == 0, done.stderr
    assert "uint8 images of 1×8×8 → probabilities of 10 classes" in done.stdout
    assert (tmp_path / "model.pt2").stat().st_size > 10_000
    address = done.stdout.split("MLflow: ")[1].strip()
    images = pixels_of(digits().test)[:5]
    np.save(tmp_path / "x.npy", images)
    arguments = [locations.store_uri, address, str(tmp_path / "x.npy"), str(tmp_path / "p.npy")]
    done = subprocess.run(
        [sys.executable, "-c", READ_MODEL, *arguments],
        capture_output=True,
        text=True,
        check=False,
        cwd=tmp_path,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == "False"
    expected = load_model(Record(home.path, spec.digest)).predict(images, CPU)
    np.testing.assert_allclose(np.load(tmp_path / "p.npy"), expected, atol=1e-6)
