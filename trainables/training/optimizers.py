"""Optimisers of PyTorch, without the machinery of `torch.compile`.

PyTorch wraps methods of its optimisers so that `torch.compile` leaves them out. These wrappers
import the compiler at their first call, which takes seconds and 150 MB. Optimisers are never
compiled here, so that the wrapped methods are called directly. A process that imports torchvision
has the compiler all the same: `torchvision.ops` imports it.
"""

from __future__ import annotations

from inspect import unwrap
from typing import TypeVar

import torch

OptimizerType = TypeVar("OptimizerType", bound=type[torch.optim.Optimizer])

WRAPPED_METHODS = ("add_param_group", "load_state_dict", "state_dict", "zero_grad")
"""Names of the methods that PyTorch excludes from compilation, apart from `step`."""


def call_without_compiler(optimizer_class: OptimizerType) -> OptimizerType:
    """Replace the wrapped methods of a class of optimisers by those inside (class decorator)."""
    for name in WRAPPED_METHODS:
        setattr(optimizer_class, name, unwrap(getattr(optimizer_class, name)))
    # The wrapper of `step` also switches gradients off.
    optimizer_class.step = torch.no_grad()(unwrap(optimizer_class.step))  # type: ignore[method-assign]
    return optimizer_class


@call_without_compiler
class Sgd(torch.optim.SGD):
    """Stochastic gradient descent, with momentum and weight decay."""


@call_without_compiler
class RAdam(torch.optim.RAdam):
    """Adam with a rectified variance of its step size (Liu et al., 2020)."""
