"""The `launch slurm` command, which writes and submits the job script of a sweep."""

from __future__ import annotations

import os
import shlex
import shutil
from dataclasses import dataclass, replace
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING

from orchestrator.flags import flag_arguments
from orchestrator.interpreter import module_command
from orchestrator.launching.slurm_script import SweepCommand, slurm_script
from orchestrator.output import CommandConsole, print_json
from orchestrator.slurm import (
    SlurmAwayError,
    check_job_script,
    check_names,
    check_value,
    parse_options,
    submit_job_script,
)
from orchestrator.sweeping.search_storage import check_search_url
from reports.store import check_uri, has_password
from search_spaces.files import is_study_path
from trainables.errors import HomeError, ServiceError, UserError
from trainables.run.record import write_atomically

if TYPE_CHECKING:
    from orchestrator.flags import Locations, StudyFlags
    from search_spaces.schema import Study

MIN_RAY_VERSION = (2, 52)
"""First version of Ray that admits only those who have the token of a cluster."""

URI_VARIABLE = "MLFLOW_TRACKING_URI"
"""Environment variable with the URI of the MLflow store."""


@dataclass(frozen=True, slots=True)
class Allocation:
    """What one job asks of Slurm.

    Attributes:
        nodes: number of nodes.
        gpus: number of GPUs of each node; 0 for none.
        cpus: number of CPUs of each node; None for as many as the runs on its GPUs need.
        mem: memory of each node, such as "32G"; None for the cluster's default.
        time: time limit, such as "1-12:00:00"; None for the partition's default.
        partition: name of the partition; None for the cluster's default.
        account: account that pays; None for the user's default.
        grace: seconds before the time limit at which the sweep ends and the job is requeued.
    """

    nodes: int
    gpus: int
    cpus: int | None
    mem: str | None
    time: str | None
    partition: str | None
    account: str | None
    grace: int

    def check(self) -> None:
        """Check the form of memory and time limit, which only Slurm knows in full.

        Raises:
            UserError: if Slurm would refuse one of them.
        """
        for name, value in (("mem", self.mem), ("time", self.time)):
            if value is not None:
                check_value(f"--{name} ", name, value)

    def cpus_for(self, study: Study) -> int:
        """Return the number of CPUs of each node.

        Raises:
            UserError: if they are too few for one run of the study, or its runs use no GPUs.
        """
        per_run, gpus_per_run = study.resources.cpus, study.resources.gpus
        if self.gpus and not gpus_per_run:
            raise UserError(
                f"--gpus {self.gpus}: the runs of this study use no GPU (resources.gpus = 0): "
                "leave out --gpus, or add --set resources.gpus=1"
            )
        if self.cpus is None:
            return per_run * (int(self.gpus / gpus_per_run) if self.gpus else 1)
        if self.cpus < per_run:
            raise UserError(
                f"--cpus {self.cpus}: one run requires resources.cpus = {per_run} on one node: "
                "ask for more CPUs, or reduce resources.cpus with --set"
            )
        return self.cpus

    def options(self, study: Study, log: Path) -> dict[str, str]:
        """Return the options of sbatch.

        Args:
            study: study of the sweep.
            log: file for the output of the job, in which Slurm replaces %j by the job's ID.
        """
        chosen = {
            "mem": self.mem,
            "time": self.time,
            "partition": self.partition,
            "account": self.account,
            "gpus-per-node": str(self.gpus) if self.gpus else None,
        }
        return {
            "nodes": str(self.nodes),
            "ntasks-per-node": "1",
            "cpus-per-task": str(self.cpus_for(study)),
            **{name: value for name, value in chosen.items() if value is not None},
            "signal": f"B:USR1@{self.grace}",
            "open-mode": "append",
            "output": f"{str(log.parent).replace('%', '%%')}/{log.name}",
        }


def launch_on_slurm(
    study_flags: StudyFlags,
    locations: Locations,
    allocation: Allocation,
    *,
    out: Path | None,
    submit: bool,
    as_json: bool,
) -> int:
    """Write the job script of a sweep, and submit it if asked for.

    Slurm checks the script before it is written, where Slurm is at hand.

    Args:
        study_flags: flags that select the study and change it.
        locations: locations of data and results, and further options of sbatch.
        allocation: what the job asks of Slurm.
        out: file for the script; None for a file in the home folder.
        submit: whether to submit the script.
        as_json: whether to print JSON on standard output.

    Returns:
        The exit code.

    Raises:
        UserError: if the study or an option is invalid, or the script would contain a password.
        ServiceError: if Slurm refuses the job or, to submit it, cannot be used.
    """
    options = parse_options(locations.sbatch)
    allocation.check()
    variables = _check_tracking_uri(locations)
    _check_search_storage(locations)
    _check_ray_version()
    loaded = study_flags.load()
    home, study = locations.home, loaded.name
    log = home.path / "slurm" / f"{_file_name(study)}-%j.log"
    command = _sweep_command(study_flags, locations, variables)
    own_options = {
        "job-name": f"nal-{study}",
        **allocation.options(loaded.study, log),
        "requeue": "",
    }
    script = slurm_script({**own_options, **options}, command)
    was_checked = _check_script(script, submit=submit)
    if not was_checked:
        check_names(options)
    home.create()  # the job checks that its nodes see this folder
    path = out or home.path / "slurm" / f"{_file_name(study)}.sbatch"
    previous_path = _keep_other_script(path, script)
    _write_private(path, script)
    job_id = submit_job_script(script) if submit else None
    console = CommandConsole(stderr=as_json)
    if not was_checked:
        console.print("Slurm has not checked the script, since it cannot be reached from here")
    if not allocation.gpus and not any(name.startswith(("gpus", "gres")) for name in options):
        console.print("no GPUs are asked for (--gpus): the runs are trained on CPUs")
    if previous_path is not None:
        console.print(f"the file that was there is kept as {previous_path}", soft_wrap=True)
    console.print(f"job script: {path}", soft_wrap=True)
    if job_id is None:
        console.print(f"submit it with: {shlex.join(['sbatch', str(path)])}", soft_wrap=True)
    else:
        console.print(f"job {job_id} is submitted; its output: {_log_of(log, job_id)}")
    if as_json:
        print_json({"script": str(path), "job": job_id})
    return 0


def _check_script(script: str, *, submit: bool) -> bool:
    """Check that Slurm would accept a job script, and return whether it could be asked.

    Args:
        script: text of the script.
        submit: whether the script is to be submitted, for which Slurm must be there.

    Raises:
        ServiceError: if Slurm refuses the script, or cannot be reached and is needed.
    """
    if not submit and shutil.which("sbatch") is None:
        return False
    try:
        check_job_script(script)
    except SlurmAwayError:
        if submit:
            raise
        return False
    return True


def _log_of(log: Path, job_id: str) -> Path:
    """Return the file for the output of a job."""
    return log.with_name(log.name.replace("%j", job_id))


def _file_name(study: str) -> str:
    """Return the name of a study without characters that have a meaning in file names of Slurm."""
    return "".join(char if char.isalnum() or char in "-_." else "_" for char in study)


def _check_tracking_uri(locations: Locations) -> dict[str, str]:
    """Return the environment variables that the job needs for its MLflow store.

    Raises:
        UserError: if the job script would contain a password.
        ServiceError: if the URI of the store is malformed. Whether the store answers is checked in
            the job, which may reach other machines than this one does.
    """
    uri = locations.tracking_uri
    if uri is None:
        return {}
    check_uri(uri)
    if not has_password(uri):
        return {}
    if uri != os.environ.get(URI_VARIABLE):
        raise UserError(
            "--tracking-uri: the job script would contain the password of this URI: set the "
            f"environment variable {URI_VARIABLE} to the URI instead; jobs inherit it"
        )
    return {URI_VARIABLE: "the URI of the MLflow store, which contains a password"}


def _check_search_storage(locations: Locations) -> None:
    """Check the URL of the database of searches, of which the script must not have the password.

    Raises:
        UserError: if the URL is invalid, or the job script would contain a password.
    """
    url = locations.search_storage
    if url is None:
        return
    check_search_url(url)
    if has_password(url):
        raise UserError(
            "--search-storage: the job script would contain the password of this URL: keep it in "
            "~/.pgpass, and leave it out of the URL"
        )


def _check_ray_version() -> None:
    """Check that Ray can keep strangers out of its cluster.

    Raises:
        ServiceError: if Ray is too old.
    """
    installed = version("ray")
    if tuple(int(part) for part in installed.split(".")[:2]) < MIN_RAY_VERSION:
        raise ServiceError(
            f"Ray {installed} admits everybody on the cluster's network: install Ray "
            f"{'.'.join(map(str, MIN_RAY_VERSION))} or later, which requires a token"
        )


def _sweep_command(
    study_flags: StudyFlags, locations: Locations, variables: dict[str, str]
) -> SweepCommand:
    """Return the command that the job carries out, which is independent of the folder it is in."""
    if is_study_path(study_flags.study):
        study_flags = replace(study_flags, study=str(Path(study_flags.study).resolve()))
    locations = replace(
        locations, sbatch=(), tracking_uri=None if variables else locations.tracking_uri
    )
    python, *options, _, _ = module_command("orchestrator")
    return SweepCommand(
        python=python,
        is_safe="-P" in options,
        arguments=[*flag_arguments("sweep", study_flags, locations), "--yes"],
        folder=Path.cwd(),
        home=locations.home_dir,
        required_variables=variables,
    )


def _keep_other_script(path: Path, script: str) -> Path | None:
    """Rename a file that is in the place of a script and differs from it, since users edit scripts.

    Returns:
        The new path; None if there was no such file.

    Raises:
        HomeError: if the file cannot be read or renamed.
    """
    previous_path = path.with_name(f"{path.name}.previous")
    try:
        if not path.exists() or path.read_bytes() == script.encode():
            return None
        path.replace(previous_path)
    except OSError as error:
        raise HomeError(f"cannot replace {path}: {error.strerror}") from error
    return previous_path


def _write_private(path: Path, text: str) -> None:
    """Write a file that only the user can read.

    Raises:
        HomeError: if the file cannot be written.
    """
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        previous_mask = os.umask(0o077)
        try:
            write_atomically(path, text)
        finally:
            os.umask(previous_mask)
    except OSError as error:
        raise HomeError(f"cannot write {path}: {error.strerror}") from error
