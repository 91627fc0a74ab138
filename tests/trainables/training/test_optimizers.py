from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import torch

from trainables.training.optimizers import RAdam, Sgd

if TYPE_CHECKING:
    from collections.abc import Callable

SGD_OPTIONS = {"lr": 0.001, "momentum": 0.9, "weight_decay": 1e-3, "nesterov": True}
RADAM_OPTIONS = {"lr": 0.01, "weight_decay": 1e-3, "decoupled_weight_decay": True}


def train(make: Callable[..., torch.optim.Optimizer], options: dict[str, Any]) -> torch.Tensor:
    """Return the weights after some steps, with the optimiser's state written and read half-way."""
    torch.manual_seed(0)
    layers = torch.nn.Sequential(torch.nn.Linear(5, 7), torch.nn.ReLU(), torch.nn.Linear(7, 3))
    optimizer = make(layers.parameters(), **options)
    for step in range(12):
        if step == 6:
            state = optimizer.state_dict()
            optimizer = make(layers.parameters(), **options)
            optimizer.load_state_dict(state)
        optimizer.zero_grad(set_to_none=True)
        loss: torch.Tensor = layers(torch.randn(4, 5)).square().sum()
        torch.autograd.backward(loss)
        optimizer.step()
    return torch.cat([weight.detach().flatten() for weight in layers.parameters()])


@pytest.mark.parametrize(
    ("ours", "theirs", "options"),
    [(Sgd, torch.optim.SGD, SGD_OPTIONS), (RAdam, torch.optim.RAdam, RADAM_OPTIONS)],
)
def test_steps_are_those_of_pytorch(
    ours: type[torch.optim.Optimizer],
    theirs: type[torch.optim.Optimizer],
    options: dict[str, Any],
) -> None:
    weights = train(ours, options)
    assert weights.isfinite().all()
    assert torch.equal(weights, train(theirs, options))


@pytest.mark.slow
def test_training_does_not_import_the_compiler() -> None:
    program = (
        "import sys; from test_optimizers import *\n"
        "train(Sgd, SGD_OPTIONS); train(RAdam, RADAM_OPTIONS)\n"
        "print([name for name in ('torch._dynamo', 'sympy') if name in sys.modules])"
    )
    process = subprocess.run(
        [sys.executable, "-c", program],
        env=os.environ | {"PYTHONPATH": os.pathsep.join([*sys.path, str(Path(__file__).parent)])},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (process.returncode, process.stdout) == (0, "[]\n"), process.stderr
