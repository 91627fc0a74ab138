from __future__ import annotations

import os
import subprocess
import sys

import pytest


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
