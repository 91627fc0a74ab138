"""What a machine of a cluster may lack."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from trainables.datasets import load
from trainables.node_check import NodeDemand, node_demand, own_versions
from trainables.training.job import Job

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def demand(tmp_path: Path) -> NodeDemand:
    """What runs of the study digits need, which this machine has."""
    marker = tmp_path / ".marker-1"
    marker.write_text("text")
    data = load("digits", tmp_path, None).digest
    job = Job(tmp_path, tmp_path, "digits", dataset="digits", data=data)
    return NodeDemand(job, marker, "text", own_versions())


def test_a_machine_that_lacks_nothing_has_no_problem(demand: NodeDemand) -> None:
    assert demand.find_problem(has_gpu=False) == ""
    assert sorted(path.name for path in demand.job.home.glob(".*")) == [demand.marker.name]


def test_other_versions_are_named(demand: NodeDemand) -> None:
    older = replace(demand, versions={**demand.versions, "torch": "1.0"})
    version = demand.versions["torch"]
    assert older.find_problem(has_gpu=False) == (
        f"has torch {version}, but the command has 1.0: install the same version on both"
    )


def test_another_folder_at_the_path_of_the_home_is_told(demand: NodeDemand) -> None:
    home = demand.job.home
    hint = "choose a folder that all nodes share"
    demand.marker.unlink()
    assert demand.find_problem(has_gpu=False) == f"has another folder at --home {home}: {hint}"
    demand.marker.write_text("of another command")
    assert demand.find_problem(has_gpu=False) == f"has another folder at --home {home}: {hint}"
    elsewhere = home / "elsewhere"
    moved = replace(
        demand, job=replace(demand.job, home=elsewhere), marker=elsewhere / demand.marker.name
    )
    assert moved.find_problem(has_gpu=False) == f"has no folder --home {elsewhere}: {hint}"


def test_other_data_are_told(demand: NodeDemand) -> None:
    other = replace(demand, job=replace(demand.job, data="f" * 64))
    assert other.find_problem(has_gpu=False) == (
        f"has other data of digits in {demand.job.data_dir} (SHA-256 {demand.job.data[:12]}, "
        "expected ffffffffffff): copy the data of the command's machine"
    )
    missing = replace(demand, job=replace(demand.job, dataset="cifar10"))
    assert missing.find_problem(has_gpu=False).startswith("cannot read the data (")


def test_the_marker_is_removed_as_are_those_of_killed_commands(tmp_path: Path) -> None:
    job = Job(tmp_path, tmp_path, "digits")
    (tmp_path / ".marker-digits-of-a-killed-command").touch()
    other = tmp_path / ".marker-cifar10-of-another-study"
    other.touch()
    with node_demand(job) as demand:
        assert sorted(tmp_path.iterdir()) == sorted([demand.marker, other])
        assert demand.find_problem(has_gpu=False) == ""
    assert list(tmp_path.iterdir()) == [other]


@pytest.mark.slow
def test_a_gpu_that_pytorch_cannot_use_is_told(demand: NodeDemand) -> None:
    import torch

    on_gpu = replace(demand, job=replace(demand.job, gpus=1))
    problem = on_gpu.find_problem(has_gpu=True)
    assert (
        problem.startswith("has a GPU that PyTorch cannot use (") is not torch.cuda.is_available()
    )
