"""A slow start of Ray, and the token of the user."""

from __future__ import annotations

import os
import re
import secrets
import stat
import subprocess
import sys
from pathlib import Path
from typing import Any

import jsonschema  # type: ignore[import-untyped]
import pytest
import ray
import yaml
from documents import ROOT
from ray.autoscaler._private.util import prepare_config, validate_config

from orchestrator.engine import cluster
from orchestrator.engine.cluster import (
    AUTH_VARIABLES,
    TIMEOUT_OUTPUT,
    check_cluster,
    ray_cluster,
)
from trainables.errors import ServiceError


def fields(required: str = "", **properties: Any) -> dict[str, Any]:
    """Return the schema of an object with these properties only."""
    return {
        "type": "object",
        "properties": properties,
        "required": required.split(),
        "additionalProperties": False,
    }


TEXT, COUNT, POD = {"type": "string"}, {"type": "integer"}, {"type": "object", "minProperties": 1}
GROUP = {
    "rayStartParams": {"type": "object", "additionalProperties": TEXT},
    "template": fields("spec", metadata=POD, spec=POD),
}
WORKER_GROUP = fields(
    "groupName template",
    groupName=TEXT,
    replicas=COUNT,
    minReplicas=COUNT,
    maxReplicas=COUNT,
    **GROUP,
)
RAY_JOB = fields(
    "apiVersion kind metadata spec",
    apiVersion={"const": "ray.io/v1"},
    kind={"const": "RayJob"},
    metadata=fields("name", name=TEXT),
    spec=fields(
        entrypoint=TEXT,
        shutdownAfterJobFinishes={"type": "boolean"},
        ttlSecondsAfterFinished=COUNT,
        backoffLimit=COUNT,
        rayClusterSpec=fields(
            "headGroupSpec",
            rayVersion=TEXT,
            authOptions=fields(mode={"enum": ["disabled", "token"]}),
            headGroupSpec=fields("template", **GROUP),
            workerGroupSpecs={"type": "array", "items": WORKER_GROUP},
        ),
    ),
)
"""The fields of a RayJob that the documents use, with the types of KubeRay's definition (1.6)."""


class SlowRay:
    """Double of `ray.init`, whose first attempts fail as those of a node that starts slowly."""

    def __init__(self, failure_count: int) -> None:
        self.failures_left = failure_count

    def init(self, **_options: Any) -> None:
        if self.failures_left:
            self.failures_left -= 1
            raise Exception("The current node timed out during startup. This\ncould happen")  # noqa: TRY002


@pytest.fixture
def _no_ray(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ray, "shutdown", lambda: None)
    monkeypatch.setattr(os, "environ", dict(os.environ))


@pytest.mark.usefixtures("_no_ray", "user_home")
def test_a_slow_start_is_repeated(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ray, "init", SlowRay(1).init)
    notices: list[str] = []
    with ray_cluster(None, notices.append):
        pass
    assert notices == [
        "Ray on this machine could not be used (The current node timed out during startup. This): "
        "attempt 2 of 3"
    ]


@pytest.mark.usefixtures("_no_ray", "user_home")
def test_a_start_that_is_always_too_slow_is_explained(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ray, "init", SlowRay(cluster.MAX_START_ATTEMPTS).init)
    notices: list[str] = []
    message = (
        r"^Ray on this machine could not be used in 3 attempts \(The current .*--engine inline$"
    )
    with pytest.raises(ServiceError, match=message), ray_cluster(None, notices.append):
        pass
    assert len(notices) == cluster.MAX_START_ATTEMPTS - 1


@pytest.fixture
def user_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return the home directory of a user who has no token for Ray and has chosen nothing."""
    monkeypatch.setenv("HOME", str(tmp_path))
    for variable in AUTH_VARIABLES:
        monkeypatch.delenv(variable, raising=False)
    return tmp_path


@pytest.mark.usefixtures("_no_ray")
def test_a_token_that_only_the_user_can_read_is_created_once(
    user_home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    token_file = user_home / ".ray" / "auth_token"
    tokens: list[str] = []
    monkeypatch.setattr(ray, "init", lambda **_options: tokens.append(token_file.read_text()))
    for _ in range(2):
        with ray_cluster(None, tokens.append):
            pass
    assert re.fullmatch("[0-9a-f]{64}", tokens[0])
    assert tokens == [tokens[0]] * 2
    assert stat.S_IMODE(token_file.stat().st_mode) == 0o600
    assert stat.S_IMODE(token_file.parent.stat().st_mode) == 0o700
    assert list(token_file.parent.iterdir()) == [token_file]


@pytest.mark.usefixtures("_no_ray")
@pytest.mark.parametrize("variable", sorted(AUTH_VARIABLES))
def test_no_token_is_created_where_the_user_has_chosen(
    variable: str, user_home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ray, "init", lambda **_options: None)
    monkeypatch.setenv(variable, "disabled")
    with ray_cluster(None, print):
        pass
    assert not list(user_home.iterdir())


@pytest.mark.usefixtures("_no_ray")
def test_a_token_of_a_faster_process_is_kept(
    user_home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    token_file = user_home / ".ray" / "auth_token"

    def create_token(_byte_count: int) -> str:
        token_file.write_text("of the faster process")
        return "of this process"

    monkeypatch.setattr(secrets, "token_hex", create_token)
    monkeypatch.setattr(ray, "init", lambda **_options: None)
    with ray_cluster(None, print):
        pass
    assert token_file.read_text() == "of the faster process"
    assert list(token_file.parent.iterdir()) == [token_file]


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="needs CPU affinity")
def test_ray_on_this_machine_uses_the_cpus_of_the_affinity_only() -> None:
    program = (
        "import os; os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})\n"
        "from orchestrator.engine.cluster import ray_cluster\n"
        "from orchestrator.engine.nodes import Nodes\n"
        "with ray_cluster(None, print):\n"
        "    nodes = Nodes(1, 0, None, print); nodes.update(); print(nodes.slot_count)"
    )
    process = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert process.stdout.splitlines()[-1] == "1"


def test_the_configuration_for_the_cluster_launcher_is_valid() -> None:
    page = (ROOT / "docs" / "cluster.md").read_text()
    blocks = re.findall(r"```yaml\n(.*?)```", page, re.DOTALL)
    [config] = [yaml.safe_load(block) for block in blocks if "cluster_name" in block]
    validate_config(prepare_config(config))


def test_the_rayjob_has_the_fields_of_its_definition() -> None:
    job = yaml.safe_load((ROOT / "docs" / "rayjob.yaml").read_text())
    jsonschema.validate(job, RAY_JOB)
    cluster_spec = job["spec"]["rayClusterSpec"]
    for group in (cluster_spec["headGroupSpec"], *cluster_spec["workerGroupSpecs"]):
        group["rayStartParams"]["num-cpus"] = 0
    with pytest.raises(jsonschema.ValidationError, match="0 is not of type 'string'"):
        jsonschema.validate(job, RAY_JOB)


@pytest.mark.parametrize(
    ("address", "message"),
    [
        ("ray://10.0.0.1:10001", "Ray Client cannot be used: type the command on a node of the"),
        ("10.0.0.1", "write HOST:PORT of the cluster's head node, such as 10.0.0.1:6379, or auto"),
        (":6379", "write HOST:PORT"),
        ("http://10.0.0.1:6379", "write HOST:PORT"),
    ],
)
def test_a_malformed_address_is_explained(address: str, message: str) -> None:
    with pytest.raises(ServiceError, match=f"^--ray-address {address}: .*{message}"):
        check_cluster(address)


@pytest.mark.parametrize(
    ("output", "message"),
    [
        ("AuthenticationError: RPC error: InvalidAuthToken: Authentication", "rejects this user's"),
        (
            "RuntimeError: Ray version mismatch: cluster has Ray version 2.55.1",
            "another version of",
        ),
        (
            "ConnectionError: Could not find any running Ray instance. Please",
            "no Ray is running on",
        ),
        (
            "ConnectionError: Found multiple active Ray instances: {'a', 'b'}.",
            "is ambiguous, since",
        ),
        (TIMEOUT_OUTPUT, "has not answered within 20 s"),
        ("Traceback\nOSError: strange", r"does not respond as a Ray cluster \(OSError: strange\)"),
    ],
)
def test_the_answer_of_a_cluster_that_cannot_be_joined_is_explained(
    output: str, message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cluster, "_health_check", lambda *_: output)
    with pytest.raises(ServiceError, match=rf"^--ray-address auto .*{message}"):
        check_cluster("auto")


@pytest.mark.usefixtures("_no_ray", "user_home")
@pytest.mark.parametrize(("answer", "warnings"), [(None, 1), ("InvalidAuthToken", 0)])
def test_a_cluster_that_asks_for_no_token_is_announced(
    answer: str | None, warnings: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    modes: list[str] = []

    def health_check(_address: str, environment: dict[str, str]) -> str | None:
        modes.append(environment["RAY_AUTH_MODE"])
        return answer

    monkeypatch.setattr(ray, "init", lambda **_options: None)
    monkeypatch.setattr(cluster, "_health_check", health_check)
    notices: list[str] = []
    with ray_cluster("10.0.0.1:6379", notices.append):
        pass
    assert modes == ["disabled"]
    assert len(notices) == warnings
    assert all(notice.startswith("WARNING: the Ray cluster at 10.0.0.1") for notice in notices)


@pytest.mark.usefixtures("_no_ray", "user_home")
def test_a_machine_that_is_no_node_is_explained_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    def init(**_options: Any) -> None:
        try:
            raise RuntimeError("No node info found matching attributes: ''")
        except RuntimeError as error:
            raise ConnectionError("Failed to connect to Ray cluster at 10.0.0.1:6379") from error

    monkeypatch.setattr(ray, "init", init)
    message = r"^--ray-address 10.0.0.1:6379 can be reached, but this machine is none of its nodes"
    with pytest.raises(ServiceError, match=message), ray_cluster("10.0.0.1:6379", print):
        pass


@pytest.mark.usefixtures("_no_ray", "user_home")
def test_the_folder_around_the_files_of_ray_is_closed_to_others(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    modes: list[int] = []

    def init(_temp_dir: str, **_options: Any) -> None:
        modes.append(stat.S_IMODE(Path(_temp_dir).parent.stat().st_mode))

    monkeypatch.setattr(ray, "init", init)
    with ray_cluster(None, print):
        pass
    assert modes == [0o700]
