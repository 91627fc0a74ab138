"""Slots of nodes, the CPUs per run after a lack of memory, and nodes that lack something."""

from __future__ import annotations

import pytest
import ray

from orchestrator.engine.nodes import Nodes
from trainables.errors import UserError


def set_nodes(monkeypatch: pytest.MonkeyPatch, nodes: list[dict[str, float]]) -> None:
    """Let the cluster consist of nodes with some resources, and of a dead one."""
    dead = {"NodeID": "dead", "Alive": False, "Resources": {"CPU": 64, "GPU": 8}}
    states = [
        {"NodeID": f"node {number}", "Alive": True, "Resources": node}
        for number, node in enumerate(nodes)
    ]
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
    nodes_of_ray = Nodes(cpus, gpus, None, print)
    nodes_of_ray.update()
    assert nodes_of_ray.slot_count == expected


def test_a_run_that_fits_on_no_node_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    set_nodes(monkeypatch, [{"CPU": 3}, {"CPU": 2, "GPU": 1}])
    message = (
        r"^one run requires resources.cpus = 4 and resources.gpus = 0 on one machine, but Ray's "
        r"machines have 3 CPUs and 0 GPUs; 2 CPUs and 1 GPU: reduce "
    )
    with pytest.raises(UserError, match=message):
        Nodes(4, 0, None, print).wait_for_checks()


def test_runs_have_gpus_where_a_live_node_has_any(monkeypatch: pytest.MonkeyPatch) -> None:
    nodes = Nodes(1, 1, None, print)
    set_nodes(monkeypatch, [{"CPU": 4}, {"CPU": 4, "GPU": 1}])
    nodes.wait_for_checks()
    assert nodes.gpus == 1
    set_nodes(monkeypatch, [{"CPU": 4}])
    nodes.wait_for_checks()
    assert nodes.gpus == 0


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
    nodes_of_ray = Nodes(cpus, gpus, None, print)
    nodes_of_ray.update()
    assert nodes_of_ray.cpus_for_fewer_runs() == expected
