"""The `noise` command, which draws, describes and saves noisy labels."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from rich.table import Column

from orchestrator.commands.train import train_in_this_process
from orchestrator.output import CommandConsole, facts_table, headed_table, print_json
from orchestrator.planning.loading import load_plan
from search_spaces.schema import Phase
from trainables.noise import noise_of
from trainables.run.result import LabelStatistics
from trainables.run_data.labels import store_labels, verified_labels

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from rich.console import Console

    from orchestrator.flags import Locations, StudyFlags
    from orchestrator.planning.plan import Plan
    from trainables.run_data.realisation import Realisation

MAX_MATRIX_CLASS_COUNT = 12
"""Largest number of classes for which the whole transition matrix is printed."""
MAX_PRINTED_FLIPS = 15
"""Number of label flips, the most frequent, printed in place of a matrix that is too large."""


def run(study_flags: StudyFlags, locations: Locations, seed: int, *, as_json: bool) -> int:
    """Draw the noisy labels of a study's runs for one seed, describe them, and save them.

    Args:
        study_flags: flags that select the study and change it; labels are drawn for its first
            scenario.
        locations: locations of the data and the home folder.
        seed: base seed of all random draws, except those whose seed the study fixes.
        as_json: whether to print JSON on standard output.

    Returns:
        The exit code, 0.

    Raises:
        NalError: if the labels cannot be drawn.
    """
    console = CommandConsole(stderr=as_json)
    plan = load_plan(study_flags, locations, console, may_write=True).plan
    scenario = plan.study.scenarios[0]
    labels = _draw_labels(plan, scenario, seed, locations, console)
    path = store_labels(labels.noisy_labels, locations.home_dir)
    facts = LabelStatistics.from_realisation(labels, scenario)
    if as_json:
        print_json(
            {
                "scenario": scenario,
                "seed": seed,
                "sha256": facts.sha256,
                "samples": facts.count,
                "nominal_rate": facts.nominal_rate,
                "true_rate": facts.flip_rate,
                "transition": facts.transition,
                "file": str(path),
            }
        )
        return 0
    _print_labels(console, labels, facts, scenario, path)
    _print_transition(console, labels, plan.dataset.classes)
    return 0


def _draw_labels(
    plan: Plan, scenario: str, seed: int, locations: Locations, console: Console
) -> Realisation:
    """Draw the noisy labels of a scenario.

    If they are drawn from the predictions of a network, the network is trained first.
    """
    spec = plan.spec(Phase.CONFIRM, "ce", scenario, {}, seed)
    if not spec.needs:
        return verified_labels(spec, plan.dataset, locations.home_dir)
    train_in_this_process(plan.needs_of(spec), plan, locations, console, lambda _result: None)
    from trainables.training.devices import pick_device
    from trainables.training.outcomes import load_labels

    return load_labels(spec, locations.home_dir, plan.dataset, pick_device())[0]


def _print_labels(
    console: Console, labels: Realisation, facts: LabelStatistics, scenario: str, path: Path
) -> None:
    """Print the kind, rates and SHA-256 of noisy labels, and the file that they are saved to."""
    noise = noise_of(scenario)
    rows = [
        (
            "noise",
            noise.title + (", the same labels for all seeds" if noise.is_seed_independent else ""),
        ),
        ("samples", str(facts.count)),
    ]
    if facts.nominal_rate is not None:
        rows.append(("nominal rate", f"{facts.nominal_rate:.2%}"))
    if facts.flip_rate is None:
        rows += [
            ("true rate", "not known, because the dataset has no true labels"),
            ("changed", f"{labels.flip_rate:.2%} of the dataset's labels"),
        ]
    else:
        rows.append(("true rate", f"{facts.flip_rate:.2%}"))
    rows += [("SHA-256", facts.sha256), ("saved to", str(path))]
    console.print(facts_table(rows), soft_wrap=True)


def _print_transition(console: Console, labels: Realisation, classes: Sequence[str]) -> None:
    """Print the transition matrix of noisy labels, or its largest entries for many classes."""
    matrix = np.array(labels.transition)
    if len(classes) <= MAX_MATRIX_CLASS_COUNT:
        console.print("\ntransition matrix in percent (rows: true classes, columns: noisy labels):")
        table = headed_table("", *(Column(name[:10], justify="right") for name in classes), gap=2)
        for name, row in zip(classes, matrix, strict=True):
            table.add_row(name, *(f"{100 * rate:.1f}" if rate else "·" for rate in row))
        console.print(table)
        return
    flip_rates = matrix - np.diag(np.diag(matrix))
    sorted_positions = np.argsort(-flip_rates, axis=None, kind="stable")[:MAX_PRINTED_FLIPS]
    console.print(
        f"\nthe {MAX_PRINTED_FLIPS} most frequent label flips, in percent of the true class:"
    )
    table = headed_table("class", "noisy label", Column("%", justify="right"), gap=2)
    for position in sorted_positions:
        true_label, noisy_label = divmod(int(position), len(classes))
        if flip_rates[true_label, noisy_label]:
            table.add_row(
                classes[true_label],
                classes[noisy_label],
                f"{100 * flip_rates[true_label, noisy_label]:.1f}",
            )
    console.print(table)
    console.print("\nAdd --json to print the whole transition matrix.")
