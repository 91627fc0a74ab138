"""Numbers of runs that share a GPU."""

from __future__ import annotations

import pytest
from factories import make_spec

from orchestrator.engine.packing import GpuPacking
from trainables.run.recipe import Recipe

SPEC = make_spec(seed=0).to_dict()


@pytest.mark.parametrize(
    ("used_fraction", "max_runs", "expected"),
    [
        (0.10, 4, 0.25),  # the study's bound
        (0.10, 16, 0.1111),  # nine runs of 11 % each
        (0.22, 8, 0.25),
        (0.40, 8, 0.5),
        (0.60, 8, 1.0),
        (1.00, 8, 1.0),
        (0.00, 8, 0.125),
        (0.10, 1, 1.0),  # not shared
    ],
)
def test_runs_share_a_gpu_if_their_memory_has_room(
    used_fraction: float, max_runs: int, expected: float
) -> None:
    packing = GpuPacking(1.0, max_runs)
    assert packing.gpus_of(SPEC) == 1.0
    assert packing.learn(SPEC, used_fraction) == expected
    assert packing.gpus_of(SPEC) == expected
    assert round(1 / expected) * expected <= 1


def test_only_runs_of_the_same_network_share_a_gpu() -> None:
    packing = GpuPacking(1.0, 4)
    packing.learn(SPEC, 0.1)
    other_seed = make_spec(seed=1).to_dict()
    larger_batch = make_spec(recipe=Recipe(6, 512, 0.05, window=3)).to_dict()
    assert packing.gpus_of(other_seed) == 0.25
    assert packing.gpus_of(larger_batch) == 1.0


def test_the_largest_measurement_counts() -> None:
    packing = GpuPacking(1.0, 8)
    for used_fraction in (0.2, 0.4, 0.1):
        packing.learn(SPEC, used_fraction)
    assert packing.gpus_of(SPEC) == 0.5


def test_runs_on_cpus_have_no_gpu() -> None:
    packing = GpuPacking(0.0, 4)
    assert packing.learn(SPEC, 0.1) == 0.0
