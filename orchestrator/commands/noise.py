"""The `noise` command: draw, describe and save the noisy labels of a study for one seed."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from rich.console import Console
from rich.table import Column

from orchestrator.commands.train import train_here
from orchestrator.output import facts_table, headed_table, print_json
from orchestrator.planning.loading import load_plan
from search_spaces.schema import Phase
from trainables.noise import noise_of
from trainables.run.result import LabelFacts
from trainables.run_data.labels import pinned_labels, store_labels

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from orchestrator.flags import Changes, Places
    from orchestrator.planning.plan import Plan
    from trainables.run_data.realisation import Realisation

MAX_MATRIX_CLASSES = 12
"""Largest number of classes for which the whole transition matrix is printed."""
MAX_FLIPS = 15
"""Number of the most frequent label flips, which are printed if the matrix is too large."""


def run(changes: Changes, places: Places, seed: int, *, as_json: bool) -> int:
    """Draw the noisy labels of a study's runs for one seed, describe them, and save them.

    Args:
        changes: the study and the changes that flags make to it; labels are drawn for its first
            scenario.
        places: locations of the data and the home folder.
        seed: seed of every random axis, such as noise, that the study does not hold fixed.
        as_json: whether to print JSON on standard output.

    Returns:
        The exit code, 0.

    Raises:
        NalError: if the labels cannot be drawn.
    """
    console = Console(stderr=as_json, highlight=False)
    plan = load_plan(changes, places, console, writes=True).plan
    scenario = plan.study.scenarios[0]
    labels = _draw_labels(plan, scenario, seed, places, console)
    path = store_labels(labels.noisy, places.home_dir)
    facts = LabelFacts.of(labels, scenario)
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
    plan: Plan, scenario: str, seed: int, places: Places, console: Console
) -> Realisation:
    """Draw the noisy labels of a scenario.

    If the noise depends on the predictions of a network, that network is trained first.
    """
    spec = plan.spec(Phase.CONFIRM, "ce", scenario, {}, seed)
    if not spec.needs:
        return pinned_labels(spec, plan.dataset, places.home_dir)
    train_here(plan.needs_of(spec), plan, places, console, lambda _result: None)
    from trainables.training.devices import pick_device
    from trainables.training.outcomes import load_labels

    return load_labels(spec, places.home_dir, plan.dataset, pick_device())[0]


def _print_labels(
    console: Console, labels: Realisation, facts: LabelFacts, scenario: str, path: Path
) -> None:
    noise = noise_of(scenario)
    rows = [
        ("noise", noise.title + (", one draw for all seeds" if noise.one_draw else "")),
        ("samples", str(facts.count)),
    ]
    if facts.nominal_rate is not None:
        rows.append(("nominal rate", f"{facts.nominal_rate:.2%}"))
    if facts.flip_rate is None:
        rows += [
            ("true rate", "not known: the dataset's own labels are noisy"),
            ("changed", f"{labels.flip_rate:.2%} of the dataset's labels"),
        ]
    else:
        rows.append(("true rate", f"{facts.flip_rate:.2%}"))
    rows += [("SHA-256", facts.sha256), ("saved to", str(path))]
    console.print(facts_table(rows), soft_wrap=True)


def _print_transition(console: Console, labels: Realisation, classes: Sequence[str]) -> None:
    matrix = np.array(labels.transition)
    if len(classes) <= MAX_MATRIX_CLASSES:
        console.print(
            "\ntransition matrix in percent, true classes in rows, noisy labels in columns:"
        )
        table = headed_table("", *(Column(name[:10], justify="right") for name in classes), gap=2)
        for name, row in zip(classes, matrix, strict=True):
            table.add_row(name, *(f"{100 * p:.1f}" if p else "·" for p in row))
        console.print(table)
        return
    flips = matrix - np.diag(np.diag(matrix))
    order = np.argsort(-flips, axis=None, kind="stable")[:MAX_FLIPS]
    console.print(f"\nthe {MAX_FLIPS} most frequent flips, in percent of the true class:")
    table = headed_table("class", "noisy label", Column("%", justify="right"), gap=2)
    for position in order:
        true_label, noisy_label = divmod(int(position), len(classes))
        if flips[true_label, noisy_label]:
            table.add_row(
                classes[true_label],
                classes[noisy_label],
                f"{100 * flips[true_label, noisy_label]:.1f}",
            )
    console.print(table)
    console.print("\nAdd --json to get the whole matrix.")
