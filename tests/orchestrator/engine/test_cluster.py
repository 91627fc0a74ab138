"""Slots of a cluster, a slow start of Ray, and the CPUs per run after a lack of memory."""

from __future__ import annotations

import os
import re
import secrets
import stat
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest
import ray

from orchestrator.engine import cluster
from orchestrator.engine.cluster import (
    AUTH_VARIABLES,
    check_nodes,
    count_slots,
    cpus_for_fewer_runs,
    has_gpus,
    ray_cluster,
)
from trainables.errors import ServiceError, UserError

if TYPE_CHECKING:
    from pathlib import Path


def set_nodes(monkeypatch: pytest.MonkeyPatch, nodes: list[dict[str, float]]) -> None:
    """Let the cluster consist of nodes with some resources, and of a dead one."""
    dead = {"Alive": False, "Resources": {"CPU": 64, "GPU": 8}}
    states = [{"Alive": True, "Resources": node} for node in nodes]
    monkeypatch.setattr(ray, "nodes", lambda: [*states, dead])


@pytest.mark.parametrize(
    ("nodes", "cpus", "gpus", "expected"),
    [
        ([{"CPU": 16}], 4, 0, 4),
        ([{"CPU": 3}, {"CPU": 3}], 2, 0, 2),  # not 6 // 2
        ([{"CPU": 8}, {"CPU": 8, "GPU": 2}], 1, 1, 2),
        ([{"CPU": 8, "GPU": 1}, {"CPU": 8, "GPU": 1}], 1, 0.4, 4),  # not 2 // 0.4
        ([{"CPU": 2}, {"CPU": 1, "GPU": 4}], 1, 1, 1),
    ],
)
def test_slots_are_counted_on_each_node(
    nodes: list[dict[str, float]],
    cpus: int,
    gpus: float,
    expected: int,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    set_nodes(monkeypatch, nodes)
    assert count_slots(cpus, gpus) == expected


def test_a_run_that_fits_on_no_node_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    set_nodes(monkeypatch, [{"CPU": 3}, {"CPU": 2, "GPU": 1}])
    message = (
        r"^one run requires resources.cpus = 4 and resources.gpus = 0 on one machine, but Ray's "
        r"machines have 3 CPUs and 0 GPUs; 2 CPUs and 1 GPU: reduce "
    )
    with pytest.raises(UserError, match=message):
        count_slots(4, 0)


def test_only_live_nodes_have_gpus(monkeypatch: pytest.MonkeyPatch) -> None:
    set_nodes(monkeypatch, [{"CPU": 4}])
    assert not has_gpus()
    set_nodes(monkeypatch, [{"CPU": 4}, {"CPU": 4, "GPU": 1}])
    assert has_gpus()


@pytest.mark.parametrize(
    ("nodes", "cpus", "gpus", "expected"),
    [
        ([{"CPU": 16}], 1, 0, 2),
        ([{"CPU": 16}], 2, 0, 4),
        ([{"CPU": 6}], 1, 0, 2),
        ([{"CPU": 3}], 1, 0, 2),
        ([{"CPU": 2}], 2, 0, 2),
        ([{"CPU": 1}], 1, 0, 1),
        ([{"CPU": 16, "GPU": 4}], 1, 1, 6),
        ([{"CPU": 16, "GPU": 1}], 1, 1, 1),
        ([{"CPU": 2}, {"CPU": 64}], 1, 0, 2),
        ([{"CPU": 0}, {"CPU": 8}], 1, 0, 2),
        ([], 1, 0, 1),
    ],
)
def test_fewer_runs_occupy_more_cpus_each(
    nodes: list[dict[str, float]],
    cpus: int,
    gpus: float,
    expected: int,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    set_nodes(monkeypatch, nodes)
    assert cpus_for_fewer_runs(cpus, gpus) == expected


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
        "from orchestrator.engine.cluster import count_slots, ray_cluster\n"
        "with ray_cluster(None, print): print(count_slots(cpus=1, gpus=0))"
    )
    process = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert process.stdout.splitlines()[-1] == "1"


@pytest.mark.slow
def test_nodes_are_checked_for_the_package_and_the_home(tmp_path: Path) -> None:
    missing = tmp_path / "elsewhere"
    with ray_cluster(None, print):
        check_nodes(tmp_path)
        with pytest.raises(ServiceError, match=f"cannot access --home {missing}"):
            check_nodes(missing)
