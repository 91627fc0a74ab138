"""Texts in a bundle: the list of packages, the script, and the page that explains both."""

from __future__ import annotations

import re
from string import Template
from typing import TYPE_CHECKING

from trainables.datasets import source_of
from trainables.extensions import is_extension
from trainables.reproduction.comparison import TOLERANCE_POINTS
from trainables.run.provenance import TRAINING_PACKAGES

if TYPE_CHECKING:
    from collections.abc import Sequence

    from trainables.reproduction.recorded import RecordedRun

WHEEL_INDEX = "https://download.pytorch.org/whl"
"""Index of PyTorch's wheels whose version names the kind of device, as in 2.6.0+cpu."""

SCRIPT = """\
#!/bin/sh
# Install the recorded package versions into venv/, train the runs again, and compare them.
# Options: --epochs N (compare the first N epochs), --data-dir FOLDER. PYTHON chooses Python.
set -eu
folder=$(CDPATH= cd "$(dirname "$0")" && pwd)
python=${PYTHON:-python3}
case $folder in
  *:*)
    echo "error: $folder: Python cannot search a folder with a colon: move the bundle" >&2
    exit 2
    ;;
esac
"$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2> /dev/null || {
  echo "error: $python is not Python 3.11 or later: set PYTHON to one that is" >&2
  exit 2
}
if [ ! -e "$folder/venv/complete" ]; then
  "$python" -m venv --clear "$folder/venv"
  "$folder/venv/bin/python" -m pip install -r "$folder/environment.txt"
  touch "$folder/venv/complete"
fi
PYTHONPATH="$folder/code" exec "$folder/venv/bin/python" -P -m trainables.reproduction \\
  --data-dir "$folder/data" --cache-dir "$folder/cache" "$@" "$folder/record" \\
  RUNS
"""

README = Template("""\
# $title

$runs

## Train again and compare

```sh
./reproduce.sh
```

The script installs the packages of `environment.txt` into `venv/`, trains the runs again in an
empty folder, those first that others need, and compares them with the records: the noisy labels,
every number of every epoch bit for bit, and the weights. The last line is the verdict, which is
also the exit code:

| verdict | exit code | meaning |
| --- | --- | --- |
| identical | 0 | every number is the same, bit for bit |
| within tolerance | 3 | processor, GPU, PyTorch or NumPy are others; mean accuracies differ by at \
most $tolerance points |
| differs | 4 | the first epoch that differs is printed, with what may explain it |
| altered | 5 | what was compared is the same, but a record was altered after it was written |

`./reproduce.sh --epochs 3` compares the first 3 epochs only. Bits are the same on the device and
with the versions that are recorded. The runs were recorded with Python $python.

## Data

$data

Data are not part of this bundle. Files are expected in `data/`, or in the folder that `--data-dir`
names.

## Files

- `record/runs/<digest>/`: `spec.json`, which determines a run, and `result.json`, with its metrics
  of every epoch
- `labels/<digest>.npy`: the noisy labels on which a run was trained, for other programs. The script
  draws them again, and does not read these files; `labels.sha256` in `result.json` is the SHA-256
  of their values, as little-endian int64
- `environment.txt`: the packages that training imports, in the recorded versions
- `code/`: $code
""")


def environment_text(runs: Sequence[RecordedRun]) -> str:
    """Return the list of packages with the recorded versions, for pip.

    Args:
        runs: recorded runs; the versions are those of the last one.
    """
    environment = runs[-1].environment
    versions = {name: environment.get(name, "") for name in TRAINING_PACKAGES}
    lines = [f"# recorded with Python {environment.get('python', 'of an unknown version')}"]
    labels = {version.partition("+")[2] for version in versions.values()} - {""}
    lines += [f"--extra-index-url {WHEEL_INDEX}/{label}" for label in sorted(labels)]
    lines += [
        f"{name}=={version}" if _is_version(version) else f"{name}  # version not recorded"
        for name, version in versions.items()
    ]
    return "\n".join(lines) + "\n"


def _is_version(text: str) -> bool:
    """Return whether a recorded value is a single version, not several of a continued run."""
    return re.fullmatch(r"[0-9][\w.+!]*", text) is not None


def script_text(runs: Sequence[RecordedRun]) -> str:
    """Return the script that trains runs again."""
    digests = " ".join(run.digest for run in runs if not run.is_need)
    return SCRIPT.replace("RUNS", digests)


def readme_text(runs: Sequence[RecordedRun], code: str) -> str:
    """Return the page that explains a bundle.

    Args:
        runs: recorded runs, each after those that it needs.
        code: sentence that says which code the bundle contains.
    """
    named = [run for run in runs if not run.is_need]
    facts = ["| run | what | epochs | status | device |", "| --- | --- | --- | --- | --- |"]
    facts += [
        f"| `{run.digest[:12]}` | {run.spec.title}{' (needed)' if run.is_need else ''} | "
        f"{len(run.result.trace)} | {run.result.status} | "
        f"{run.environment.get('device', 'unknown')} |"
        for run in runs
    ]
    titles = ", ".join(run.spec.title for run in named[:3]) + (", …" if len(named) > 3 else "")
    return README.substitute(
        title=titles,
        runs="\n".join(facts),
        tolerance=TOLERANCE_POINTS,
        python=named[-1].environment.get("python", "of an unknown version"),
        data=_data_text(runs),
        code=code + _extension_text(runs),
    )


def _data_text(runs: Sequence[RecordedRun]) -> str:
    """Return which data the runs need, by hash, and where to get them."""
    paragraphs = []
    for name, sha256 in sorted({(run.spec.dataset, run.spec.data) for run in runs}):
        text = f"`{name}`, SHA-256 of its content {sha256}; other data are refused."
        if not is_extension(name):
            source = source_of(name)
            text += f" Files: {source.layout}." if source.layout else ""
            text += f" Distributor: {source.distributor}." if source.distributor else ""
            text += " The script downloads it." if source.is_downloadable else ""
        paragraphs.append(text)
    return "\n\n".join(paragraphs)


def _extension_text(runs: Sequence[RecordedRun]) -> str:
    """Return which code from outside the project the runs use."""
    names = sorted({name for run in runs for name in run.spec.code})
    if not names:
        return ""
    return (
        f"; code from outside the project, {', '.join(names)}, is in `record/runs/<digest>/code/`, "
        "or has to be installed if it is a package"
    )
