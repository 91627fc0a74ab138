"""Values of the searched hyperparameters with which a recorded run was trained."""

from __future__ import annotations

from typing import TYPE_CHECKING

from trainables.run.parameters import Space, active_spaces

if TYPE_CHECKING:
    from collections.abc import Mapping

    from reports.plan_record import HyperparameterValues
    from reports.read import RecordedRun
    from trainables.run.parameters import AnySpace


def trial_values(run: RecordedRun, spaces: Mapping[str, AnySpace]) -> HyperparameterValues:
    """Return the values of the searched hyperparameters of a run, by name.

    Hyperparameters whose conditions are not met, or whose values are not recorded, are left out.

    Args:
        run: recorded run; it stores numbers as metrics, and other values as text.
        spaces: search space by name of hyperparameter.
    """
    values: HyperparameterValues = {}
    for name, space in spaces.items():
        if isinstance(space, Space):
            number = run.metrics.get(f"hp/{name}")
            if number is not None:
                values[name] = int(number) if space.integer else number
        else:
            choices = {str(choice): choice for choice in space.choices}
            if (text := run.params.get(name)) in choices:
                values[name] = choices[text]
    return {name: values[name] for name in active_spaces(spaces, values) if name in values}
