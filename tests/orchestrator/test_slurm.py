"""Calls of Slurm's commands, of which scripts on the path take the place."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from orchestrator import slurm
from orchestrator.slurm import (
    SlurmCommandError,
    check_job_script,
    check_names,
    check_value,
    max_array_size,
    parse_options,
    run_slurm_command,
    sbatch_lines,
    states_of_jobs,
)
from trainables.errors import ServiceError, UserError

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


@pytest.fixture
def command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str, str], None]:
    """Return a function that puts a script in place of a command of Slurm."""
    monkeypatch.setenv("PATH", f"{tmp_path}:/bin:/usr/bin")

    def put(name: str, script: str) -> None:
        path = tmp_path / name
        path.write_text(f"#!/bin/sh\n{script}\n")
        path.chmod(0o755)

    return put


def test_options_are_parsed_and_quoted() -> None:
    options = parse_options(
        ["partition=gpu", "--exclusive", "comment=it's a # $(sweep)", "a-b=c=d"]
    )
    assert options == {
        "partition": "gpu",
        "exclusive": "",
        "comment": "it's a # $(sweep)",
        "a-b": "c=d",
    }
    assert sbatch_lines(options).splitlines() == [
        "#SBATCH --partition=gpu",
        "#SBATCH --exclusive",
        """#SBATCH --comment='it'"'"'s a # $(sweep)'""",
        "#SBATCH --a-b=c=d",
    ]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("p", "write a long option of sbatch as NAME=VALUE"),
        ("=gpu", "write a long option"),
        ("mem\n=3", "write a long option"),
        ("comment=a\n#SBATCH --uid=0", "one line of printable characters"),
        ("array=1-9", "cannot be chosen"),
        ("--wrap=rm", "cannot be chosen"),
        ("time=foo", r"^--sbatch time=foo: write MINUTES, .*, such as 1-12:00:00$"),
        ("time", r"^--sbatch time=: write MINUTES"),
        ("mem-per-gpu=1.5G", r"^--sbatch mem-per-gpu=1.5G: write a whole number of megabytes"),
    ],
)
def test_other_texts_are_refused(text: str, message: str) -> None:
    with pytest.raises(UserError, match=message):
        parse_options([text])


@pytest.mark.parametrize(
    ("name", "values"),
    [
        ("time", ["5", "5:30", "1:05:30", "1-2", "1-02:30", "1-02:30:00", "0", "UNLIMITED"]),
        ("mem", ["0", "500", "32G", "32GB", "1t"]),
        ("partition", ["foo", ""]),
    ],
)
def test_values_that_sbatch_accepts(name: str, values: list[str]) -> None:
    for value in values:
        check_value("", name, value)


@pytest.mark.parametrize(
    ("name", "values"),
    [
        ("time", ["foo", "5m", "1d", "1:2:3:4", "1-2:3:4:5", "1-", "", "-1"]),
        ("mem", ["foo", "1.5G", "32GiB", "-1"]),
    ],
)
def test_values_that_sbatch_refuses(name: str, values: list[str]) -> None:
    for value in values:
        with pytest.raises(UserError, match=f"^--{name} {value}: write "):
            check_value(f"--{name} ", name, value)


def test_unknown_options_are_refused_with_a_suggestion() -> None:
    check_names(["constraint", "tres-per-task", "exclusive"])
    with pytest.raises(UserError, match=r"^--sbatch qqs: .* such option: did you mean 'qos'\? \("):
        check_names(["qqs"])
    with pytest.raises(UserError, match="no such option: see `man sbatch`"):
        check_names(["foo-bar-baz"])


def test_a_machine_without_slurm_is_told_in_one_line(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(ServiceError, match=r"sbatch was not found: .* login node$"):
        check_job_script("#!/bin/bash\n")


def test_the_reason_of_a_refusal_is_quoted(command: Callable[[str, str], None]) -> None:
    command("sbatch", "echo 'allocation failure: Invalid account or partition' >&2; exit 1")
    with pytest.raises(ServiceError, match=r"the job \(Invalid account or partition\): correct"):
        check_job_script("#!/bin/bash\n")
    command("sbatch", "echo 'sbatch: error: Unable to contact slurm controller' >&2; exit 1")
    with pytest.raises(ServiceError, match=r"reached \(Unable to contact slurm controller\): "):
        check_job_script("#!/bin/bash\n")


def test_a_command_that_does_not_answer_is_given_up(
    command: Callable[[str, str], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(slurm, "COMMAND_TIMEOUT_SECONDS", 0.1)
    command("squeue", "exec sleep 5")
    with pytest.raises(SlurmCommandError, match="squeue did not answer within"):
        run_slurm_command("squeue")


def test_jobs_that_have_ended_have_no_state(command: Callable[[str, str], None]) -> None:
    lines = r"7_0|RUNNING|None\n7_1|PENDING|Priority\n7_2|TIMEOUT|x\n8|COMPLETING|None\n"
    command("squeue", f"case $* in *--jobs=7,8*) printf '{lines}';; esac")
    assert states_of_jobs(["7", "8"]) == {
        "7_0": ("RUNNING", "None"),
        "7_1": ("PENDING", "Priority"),
        "8": ("COMPLETING", "None"),
    }
    command("squeue", "echo 'slurm_load_jobs error: Invalid job id specified' >&2; exit 1")
    assert states_of_jobs(["7"]) == {}
    command("squeue", "echo 'slurm_load_jobs error: Zero Bytes were transmitted' >&2; exit 1")
    with pytest.raises(SlurmCommandError, match="Zero Bytes"):
        states_of_jobs(["7"])


def test_the_size_of_an_array_is_that_of_the_configuration(
    command: Callable[[str, str], None],
) -> None:
    command("scontrol", "echo 'MaxArraySize            = 1001'")
    assert max_array_size() == 1000
