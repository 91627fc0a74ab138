"""Train a run and print its trace: `python -m trainables.training.self_check < spec.json`.

The command `doctor` compares the traces of two processes. Nothing is written outside a temporary
folder.
"""

from __future__ import annotations

import json
import sys
import tempfile
from contextlib import redirect_stdout
from pathlib import Path

from trainables.datasets import load
from trainables.run.spec import RunSpec
from trainables.training.job import describe_crash
from trainables.training.training_run import TrainingRun


def main() -> None:
    """Read the JSON of a spec from standard input, and print device and trace of its run as JSON.

    The dataset of the spec must need no files, such as digits.
    """
    try:
        with redirect_stdout(sys.stderr), tempfile.TemporaryDirectory() as folder:
            spec, home = RunSpec.from_dict(json.load(sys.stdin)), Path(folder)
            with TrainingRun(spec, home, lambda: load(spec.dataset, home, None), "check") as run:
                while (result := run.advance()) is None:
                    pass
    except Exception as error:  # noqa: BLE001 - the caller shows it in one line
        sys.exit(describe_crash(error) or str(error))
    values = {"device": result.provenance["device"], "trace": result.trace}
    sys.stdout.write(json.dumps(values))


if __name__ == "__main__":
    main()
