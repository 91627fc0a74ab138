"""Calls of Slurm's commands, and checks of the options of `sbatch`."""

from __future__ import annotations

import re
import shlex
import subprocess
from difflib import get_close_matches
from typing import TYPE_CHECKING

from trainables.errors import ServiceError, UserError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

COMMAND_TIMEOUT_SECONDS = 60.0
"""Time limit for one call of a command of Slurm, in seconds."""

RESERVED_OPTIONS = {
    *("array", "error", "nodes", "ntasks", "ntasks-per-node", "output", "parsable"),
    *("test-only", "wait", "wrap"),
}
"""Long options of `sbatch` that decide what a job is, and cannot be chosen."""

KNOWN_OPTIONS = RESERVED_OPTIONS | {
    *("account", "acctg-freq", "bb", "bbf", "begin", "chdir", "cluster-constraint", "clusters"),
    *("comment", "constraint", "container", "container-id", "contiguous", "core-spec"),
    *("cores-per-socket", "cpu-freq", "cpus-per-gpu", "cpus-per-task", "deadline", "delay-boot"),
    *("dependency", "distribution", "exclude", "exclusive", "export", "export-file"),
    *("extra", "extra-node-info", "get-user-env", "gid", "gpu-bind", "gpu-freq", "gpus"),
    *("gpus-per-node", "gpus-per-socket", "gpus-per-task", "gres", "gres-flags", "hold"),
    *("ignore-pbs", "input", "job-name", "kill-on-invalid-dep", "licenses", "mail-type"),
    *("mail-user", "mcs-label", "mem", "mem-bind", "mem-per-cpu", "mem-per-gpu", "mincpus"),
    *("network", "nice", "no-kill", "no-requeue", "nodefile", "nodelist", "ntasks-per-core"),
    *("ntasks-per-gpu", "ntasks-per-socket", "oom-kill-step", "open-mode", "overcommit"),
    *("oversubscribe", "partition", "power", "prefer", "priority", "profile", "propagate"),
    *("qos", "quiet", "reboot", "requeue", "reservation", "resv-ports", "segment", "signal"),
    *("sockets-per-node", "spread-job", "stepmgr", "switches", "thread-spec"),
    *("threads-per-core", "time", "time-min", "tmp", "tres-bind", "tres-per-task", "uid"),
    *("use-min-nodes", "verbose", "wait-all-nodes", "wckey"),
}
"""Long options of `sbatch` in version 22.05 of Slurm, and those that later versions have added."""

OPTIONS_WITHOUT_VALUE = {
    *("contiguous", "hold", "ignore-pbs", "no-requeue", "overcommit", "oversubscribe", "quiet"),
    *("reboot", "requeue", "spread-job", "stepmgr", "use-min-nodes", "verbose"),
}
"""Long options of `sbatch` that are set by their name alone."""

_TIME = re.compile(r"\d+(:\d+){0,2}|\d+-\d+(:\d+){0,2}|unlimited|infinite", re.IGNORECASE)
_TIME_FORMS = (
    "MINUTES, MINUTES:SECONDS, HOURS:MINUTES:SECONDS, DAYS-HOURS, DAYS-HOURS:MINUTES or "
    "DAYS-HOURS:MINUTES:SECONDS, such as 1-12:00:00"
)
_SIZE = re.compile(r"\d+([KMGT]B?)?", re.IGNORECASE)
_SIZE_FORMS = "a whole number of megabytes, or one with K, M, G or T, such as 32G"

VALUE_FORMS = {
    **dict.fromkeys(("time", "time-min"), (_TIME, _TIME_FORMS)),
    **dict.fromkeys(("mem", "mem-per-cpu", "mem-per-gpu"), (_SIZE, _SIZE_FORMS)),
}
"""Forms of the values of some options: a pattern, and its description."""

DEAD_STATES = {
    *("BOOT_FAIL", "CANCELLED", "COMPLETED", "DEADLINE", "FAILED", "NODE_FAIL", "OUT_OF_MEMORY"),
    *("PREEMPTED", "REVOKED", "TIMEOUT"),
}
"""States of jobs that `squeue` may still list, although the job will not run again."""


class SlurmCommandError(ServiceError):
    """A command of Slurm failed or did not answer; the same call may work later."""


class SlurmAwayError(ServiceError):
    """Slurm cannot be reached."""


def run_slurm_command(command: str, *arguments: str, text: str | None = None) -> str:
    """Run one of Slurm's commands and return what it prints.

    Args:
        command: name of the command, such as "squeue".
        arguments: arguments of the command.
        text: text on the standard input of the command.

    Returns:
        The text on standard output.

    Raises:
        ServiceError: if the command is not installed.
        SlurmCommandError: if the command fails or does not answer within a minute.
    """
    try:
        process = subprocess.run(  # noqa: S603 - Slurm's command on the user's path
            [command, *arguments],
            input=text,
            stdin=subprocess.DEVNULL if text is None else None,
            capture_output=True,
            text=True,
            timeout=COMMAND_TIMEOUT_SECONDS,
            check=False,
        )
    except FileNotFoundError:
        raise ServiceError(
            f"{command} was not found: type the command on a machine from which jobs are submitted "
            "to Slurm, such as the cluster's login node"
        ) from None
    except subprocess.TimeoutExpired:
        raise SlurmCommandError(
            f"{command} did not answer within {COMMAND_TIMEOUT_SECONDS:.0f} seconds"
        ) from None
    if process.returncode:
        raise SlurmCommandError(_reason_in(process.stderr) or f"{command} failed")
    return process.stdout


def _reason_in(errors: str) -> str:
    """Return the last line that a command of Slurm wrote, without the prefixes of Slurm."""
    lines = errors.strip().splitlines()
    return re.sub(r"^(\w+: )?((error|fatal): )?(allocation failure: )?", "", (lines or [""])[-1])


def parse_options(texts: Iterable[str]) -> dict[str, str]:
    """Return the options of `sbatch` that a repeatable flag sets.

    Args:
        texts: values of the flag, NAME=VALUE each; NAME alone for an option without a value.

    Raises:
        UserError: if a text is no long option of `sbatch`, or an option that cannot be chosen, or
            a value has a form that `sbatch` refuses.
    """
    options = {}
    for text in texts:
        name, _, value = text.removeprefix("--").partition("=")
        if not re.fullmatch(r"[a-z][a-z-]+", name):
            raise UserError(
                f"--sbatch {text}: write a long option of sbatch as NAME=VALUE, such as "
                "partition=gpu or constraint=a100"
            )
        if name in RESERVED_OPTIONS:
            raise UserError(f"--sbatch {text}: this option cannot be chosen: leave it out")
        if name in OPTIONS_WITHOUT_VALUE and value:
            raise UserError(
                f"--sbatch {text}: this option has no value: write --sbatch {name}, or leave it out"
            )
        check_value(f"--sbatch {name}=", name, value)
        options[name] = value
    for name, value in options.items():
        if not value.isprintable():
            raise UserError(f"--sbatch {name}: the value must be one line of printable characters")
    return options


def check_value(prefix: str, name: str, value: str) -> None:
    """Check the form of the value of an option of `sbatch`, as far as it is known here.

    Args:
        prefix: beginning of the user's flag, before the value.
        name: long option of `sbatch`.
        value: value of the option.

    Raises:
        UserError: if `sbatch` would refuse the value.
    """
    if name in VALUE_FORMS:
        pattern, forms = VALUE_FORMS[name]
        if not pattern.fullmatch(value):
            raise UserError(f"{prefix}{value}: write {forms}")


def check_names(names: Iterable[str]) -> None:
    """Check that `sbatch` has some options, where it cannot be asked itself.

    Args:
        names: long options.

    Raises:
        UserError: if an option is unknown.
    """
    for name in names:
        if name not in KNOWN_OPTIONS:
            similar = get_close_matches(name, sorted(KNOWN_OPTIONS - RESERVED_OPTIONS), n=1)
            hint = f"did you mean '{similar[0]}'?" if similar else "see `man sbatch`"
            raise UserError(
                f"--sbatch {name}: sbatch has no such option: {hint} (options that a plug-in adds "
                "are accepted on a machine from which jobs are submitted)"
            )


def sbatch_lines(options: Mapping[str, str]) -> str:
    """Return the lines of a job script that set options of `sbatch`; every value is quoted.

    Args:
        options: long options with their values, "" for one without a value.
    """
    return "\n".join(
        f"#SBATCH --{name}={shlex.quote(value)}" if value else f"#SBATCH --{name}"
        for name, value in options.items()
    )


def check_job_script(script: str) -> None:
    """Check that Slurm would accept a job script, without submitting it.

    Args:
        script: text of the job script.

    Raises:
        SlurmAwayError: if Slurm cannot be reached.
        ServiceError: if Slurm refuses the script.
    """
    try:
        run_slurm_command("sbatch", "--test-only", text=script)
    except SlurmCommandError as error:
        if re.search("contact|configuration|communicat|not answer", str(error)):
            raise SlurmAwayError(
                f"Slurm cannot be reached ({error}): type the command on a machine from which "
                "jobs are submitted, or wait until Slurm is back; `sinfo` says whether it is"
            ) from error
        raise ServiceError(
            f"Slurm does not accept the job ({error}): correct the options of sbatch; `sinfo` "
            "lists the partitions"
        ) from error


def submit_job_script(script: str) -> str:
    """Submit a job script and return the ID of the job.

    Args:
        script: text of the job script.

    Raises:
        ServiceError: if Slurm refuses the script or cannot be reached.
    """
    return run_slurm_command("sbatch", "--parsable", text=script).strip().partition(";")[0]


def states_of_jobs(job_ids: Iterable[str]) -> Mapping[str, tuple[str, str]]:
    """Return the states of those jobs that have not ended.

    Args:
        job_ids: IDs of jobs, of which those of arrays stand for all their elements.

    Returns:
        By ID (JOB_INDEX for the elements of an array): the state, such as "RUNNING" or "PENDING",
        and the reason why the job is in this state.

    Raises:
        SlurmCommandError: if Slurm does not answer.
    """
    states = {}
    try:
        lines = run_slurm_command(
            *("squeue", "--noheader", "--array", "--states=all", "--format=%i|%T|%r"),
            f"--jobs={','.join(job_ids)}",
        ).splitlines()
    except SlurmCommandError as error:
        if "Invalid job id" not in str(error):  # all of them have ended a while ago
            raise
        lines = []
    for line in lines:
        job_id, state, reason = line.strip().split("|", 2)
        if state not in DEAD_STATES:
            states[job_id] = (state, reason)
    return states


def max_array_size() -> int:
    """Return the number of elements that a job array may have at most.

    Raises:
        SlurmCommandError: if Slurm does not answer.
    """
    found = re.search(r"MaxArraySize\s*=\s*(\d+)", run_slurm_command("scontrol", "show", "config"))
    return max(1, int(found[1]) - 1) if found else 1000
