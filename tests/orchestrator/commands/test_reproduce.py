"""Recorded runs that are trained again: real runs, beside each other, and altered records."""

from __future__ import annotations

import json
import signal
import subprocess
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
from command_line import RunningCommand, call_command
from recorded_runs import create_home, joint_chain, pmd_chain, record, record_killed, write_cell
from small_runs import recipe, runnable

from orchestrator.engine import temp_dirs
from trainables.run.record import Record
from trainables.run.result import Status
from trainables.run.spec import REVISION

if TYPE_CHECKING:
    from pathlib import Path

    from trainables.run.spec import RunSpec


def nal_runs(count: int, epochs: int = 4) -> list[RunSpec]:
    return [runnable(seed=seed, recipe=recipe(epochs)) for seed in range(count)]


def comparisons(output: str) -> dict[str, dict[str, Any]]:
    """Return the comparisons in the JSON output of a command, by the digest of the run."""
    return {run["digest"]: run for run in json.loads(output)["runs"]}


@pytest.mark.slow
def test_runs_are_identical_in_other_processes_beside_each_other(tmp_path: Path) -> None:
    home = create_home(tmp_path / "home")
    killed, undisturbed = nal_runs(2)
    record_killed(home, killed)
    record(home, undisturbed)
    write_cell(home, [killed, undisturbed])
    chains = [pmd_chain(), joint_chain()]
    words = ("--home", home.path, "--json")
    neighbours = [
        RunningCommand.start("reproduce", record(home, *chain)[:10], *words) for chain in chains
    ]
    before = {path: path.stat().st_mtime_ns for path in home.path.rglob("*") if path.is_file()}
    done = call_command("reproduce", "digits/symmetric-0.4/nal", *words)
    outputs = [neighbour.process.communicate() for neighbour in neighbours]

    assert done.returncode == 0, done.stderr
    compared = comparisons(done.stdout)
    assert list(compared) == [killed.digest, undisturbed.digest]
    for run in compared.values():
        assert (run["verdict"], run["epochs"], run["differences"]) == ("identical", 4, [])
        assert run["compared"] == ["noisy labels", "weights"]
    assert "train again   2 runs" in done.stderr
    assert "compare       4 epochs, bit for bit; noisy labels; weights" in done.stderr
    for chain, role, neighbour, (output, errors) in zip(
        chains, ("posterior", "labels"), neighbours, outputs, strict=True
    ):
        assert neighbour.process.returncode == 0, errors
        need, run = comparisons(output).values()
        assert (need["digest"], run["digest"]) == tuple(spec.digest for spec in chain)
        assert (need["verdict"], run["verdict"]) == ("identical", "identical")
        assert (need["is_need"], run["is_need"]) == (True, False)
        assert need["epochs"] == chain[0].recipe.epochs
        assert run["compared"] == ["noisy labels", f"{role} of its needed run", "weights"]
    after = {path: path.stat().st_mtime_ns for path in home.path.rglob("*") if path.is_file()}
    # The records are only read; the cache has the decoded dataset.
    assert {path: after[path] for path in before} == before
    assert {path.relative_to(home.path).parts[0] for path in after.keys() - before} <= {"cache"}


@pytest.mark.slow
def test_an_altered_number_is_told_to_differ_at_its_epoch(tmp_path: Path) -> None:
    home = create_home(tmp_path / "home")
    intact, altered, elsewhere, forged, relabelled = nal_runs(5)
    diverging = runnable(seed=5, recipe=recipe(4, learning_rate=1e9))
    specs = [intact, altered, elsewhere, forged, relabelled, diverging]
    record(home, *specs)
    write_cell(home, specs)
    path = home.path / "runs" / altered.digest / "result.json"
    content = json.loads(path.read_text())
    number = content["trace"][2]["train/loss"]
    content["trace"][2]["train/loss"] += 1e-6
    path.write_text(json.dumps(content))
    provenances = {elsewhere: {"torch": "1.0.0"}, forged: {}, relabelled: {}}
    for spec, provenance in provenances.items():
        target = Record(home.path, spec.digest)
        result = target.read_result()
        assert result is not None
        trace = [dict(row) for row in result.trace]
        trace[1]["test/accuracy"] += 0.001
        changed = replace(result, trace=trace, provenance={**result.provenance, **provenance})
        if spec is relabelled:
            changed = replace(changed, labels=replace(result.labels, sha256="0" * 64))
        target.write_result(changed)

    done = call_command("reproduce", "digits/symmetric-0.4/nal", "--home", home.path)
    assert done.returncode == 4, done.stderr
    *_, verdict = lines = done.stdout.splitlines()
    assert verdict == "verdict: differs"

    def texts(spec: RunSpec) -> list[str]:
        first = next(i for i, line in enumerate(lines) if f"({spec.digest[:12]})" in line)
        rest = lines[first + 1 :]
        count = next(i for i, line in enumerate(rest) if not line.startswith("  "))
        return [lines[first].partition("): ")[2], *rest[:count]]

    assert texts(intact) == ["identical (4 epochs, noisy labels, weights)"]
    statement, alteration, difference, *_ = texts(altered)
    assert statement == "differs from epoch 3"
    assert "the record was altered after it was written" in alteration
    assert difference.strip() == f"train/loss {number + 1e-6!r} recorded, {number!r} now"
    statement, _, reason = texts(elsewhere)
    assert statement.startswith("within tolerance (differs from epoch 2, but mean accuracies by")
    assert "torch: 1.0.0 recorded" in reason
    assert texts(forged)[0] == "differs from epoch 2"
    statement, difference, *_ = texts(relabelled)
    assert statement == "differs before epoch 1"
    assert difference.startswith("  noisy labels 000000000000 recorded, ")
    assert texts(diverging) == ["identical (0 epochs, noisy labels, divergence)"]
    diverged = Record(home.path, diverging.digest).read_result()
    assert diverged is not None
    assert diverged.status is Status.DIVERGED

    first_epochs = ("--epochs", 2, "--home", home.path, "--json")
    done = call_command("reproduce", altered.digest, *first_epochs)
    assert done.returncode == 5, done.stderr
    (run,) = comparisons(done.stdout).values()
    assert (run["verdict"], run["epochs"], run["is_altered"]) == ("altered", 2, True)


@pytest.mark.slow
def test_an_interrupt_leaves_nothing(tmp_path: Path) -> None:
    home = create_home(tmp_path / "home")
    (spec,) = nal_runs(1)
    record(home, spec)
    process = RunningCommand.start("reproduce", spec.digest[:8], "--home", home.path)
    parent = temp_dirs._parent_folder()
    pattern = f"{temp_dirs.TEMP_FOLDER_PREFIX}{process.process.pid}-*/home/format"
    process.wait_for(lambda: any(parent.glob(pattern)) and bool(process.children()))
    code, errors = process.end_by(signal.SIGINT)
    assert (code, errors) == (130, "interrupted\n")
    assert not any(parent.glob(pattern.partition("/")[0]))


# --- requests that are refused before anything is trained


@pytest.fixture
def no_process(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the start of a process that trains fail."""
    monkeypatch.setattr(subprocess, "Popen", lambda *_, **__: pytest.fail("a process was started"))


@pytest.mark.usefixtures("no_process")
def test_bad_requests_are_one_line(tmp_path: Path) -> None:
    from fake_runs import record_run

    home = create_home(tmp_path / "home")
    (spec,) = nal_runs(1)
    record_run(home.path, spec)
    old = replace(spec, revision=REVISION - 1)
    record_run(home.path, old)

    def message(*words: object, command: str = "reproduce") -> str:
        done = call_command(command, *words, "--home", home.path)
        assert (done.returncode, done.stdout) == (2, ""), done.stderr
        (line,) = done.stderr.splitlines()
        return line

    assert message("zz") == (
        f"error: no run in {home.path}/runs has a digest that begins with 'zz': `python -m "
        f"orchestrator ui --home {home.path}` shows the recorded runs"
    )
    assert message(old.digest[:12]) == (
        f"error: run {old.digest[:12]} was recorded with revision {REVISION - 1} of the training "
        f"code, but revision {REVISION} is installed, which gives other bits: install commit "
        "0123abc to train it again"
    )
    assert message(old.digest[:12], command="bundle") == message(old.digest[:12])
    assert "of which 5 cannot be compared" in message(spec.digest, "--epochs", 5)
    assert "no sweep is recorded" in message("digits/symmetric-0.4/nal")
    assert not (tmp_path / "bundle").exists()
