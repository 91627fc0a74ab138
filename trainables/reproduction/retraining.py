"""Train recorded runs again in an empty home folder: `python -m ... < request.json`.

The program trains without Ray, and writes one JSON object per line, the messages of
`trainables.reproduction.process`, which starts it. It is a process of its own, so that nothing is
left from other runs, and the process that compares need not import torch.
"""

from __future__ import annotations

import json
import sys
from functools import cache, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from trainables.datasets import load
from trainables.errors import NalError
from trainables.extensions import load_file
from trainables.reproduction.environment import present_environment
from trainables.run.record import Record, write_once
from trainables.run.spec import RunSpec
from trainables.run_data.labels import label_file_path
from trainables.training.devices import device_name, pick_device
from trainables.training.job import describe_crash, take_stdout
from trainables.training.training_run import TrainingRun

if TYPE_CHECKING:
    from collections.abc import Callable

STUDY = "reproduce"
"""Name of the study in records of runs that were trained again."""


def main() -> None:
    """Read a JSON request from standard input, train its runs, and write messages.

    The keys of the request are "recorded" and "home" (home folders with the records and for the
    runs that are trained again), "data_dir", "cache_dir", and "runs": for each run, after those
    that it needs, its "spec", number of "epochs" and recorded "labels".
    """
    request = json.load(sys.stdin)
    output = take_stdout()

    def send(**message: object) -> None:
        output.write(json.dumps(message) + "\n")
        output.flush()

    try:
        _train_runs(request, send)
    except NalError as error:
        send(error=str(error), is_user_error=error.exit_code == 2)
    except BrokenPipeError:  # the process that compares was killed
        sys.exit(1)
    except Exception as error:  # noqa: BLE001 - the other process shows it in one line
        send(error=describe_crash(error).partition("\n")[0], is_user_error=False)


def _train_runs(request: dict[str, Any], send: Callable[..., None]) -> None:
    """Train the runs of a request, except those whose labels or needed runs are others."""
    recorded_home, home = Path(request["recorded"]), Path(request["home"])
    cache_dir, data_dir = Path(request["cache_dir"]), Path(request["data_dir"])
    read_dataset = cache(lambda name: load(name, data_dir, cache_dir))
    send(environment=present_environment(device_name(pick_device())))
    for entry in request["runs"]:
        spec = RunSpec.from_dict(entry["spec"])
        for file in Record(recorded_home, spec.digest).read_code_files():
            if file.sha256 in spec.code.values():
                load_file(file)
        _copy_annotations(spec, recorded_home, home)
        if any(not _has_ended(home, str(digest)) for digest in spec.needs.values()):
            send(digest=spec.digest, labels="")
            continue
        run = TrainingRun(
            spec, home, partial(read_dataset, spec.dataset), STUDY, diagnostics_every=0
        )
        _train_run(run, entry, send)


def _has_ended(home: Path, digest: str) -> bool:
    """Return whether a run that another needs has a final result."""
    result = Record(home, digest).read_result()
    return result is not None and result.is_final


def _train_run(run: TrainingRun, entry: dict[str, Any], send: Callable[..., None]) -> None:
    """Train one run for its number of epochs, if its noisy labels are the recorded ones.

    Args:
        run: run that is not open yet.
        entry: entry of the run in the request.
        send: function that writes a message.
    """
    digest = run.spec.digest
    with run:
        send(digest=digest, labels=run.labels_sha256)
        if run.labels_sha256 != entry["labels"]:
            return
        while run.result is None and run.epoch < entry["epochs"]:
            epoch = run.epoch
            run.advance()
            for row in run.rows_since(epoch):
                send(digest=digest, row=row)
        if run.result is None:
            run.stop()
    send(digest=digest, ended=True)


def _copy_annotations(spec: RunSpec, recorded_home: Path, home: Path) -> None:
    """Copy labels from a file of the user's, which the home folder of the record holds."""
    path = label_file_path(spec.annotations, recorded_home)
    if spec.annotations and path.exists():
        write_once(label_file_path(spec.annotations, home), path.read_bytes())


if __name__ == "__main__":
    main()
