"""Benchmark of ways to search, on a recorded table of λ × α × seed.

The table, `results/digits-grid.csv`, has the held-out accuracy of NAL on the digits after every
epoch (`search_table.py`). Each seed is a problem of its own: samplers and schedulers of this
project search it as a sweep would, except that proposed values are replaced by the nearest point of
the table, and the paper's point is not tried first. A search has reached its goal when the best
objective of its complete trials is within 0.5 points of the best of the table.

    python benchmarks/search_methods.py

For each method, the results are the mean number of trials and of epochs until the goal, over seeds
and repetitions with other random numbers, and the ratio of epochs to random search. A search that
has not reached the goal after all of its trials counts with all of them. `docs/figures/` has the
distance to the best of the table over the epochs spent.
"""

from __future__ import annotations

import argparse
import os
import sys
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import cache
from itertools import product
from statistics import fmean
from typing import TYPE_CHECKING, Any, cast

from machine import CHECKOUT, save_numbers
from search_table import read_table

sys.path.insert(0, str(CHECKOUT))

from matplotlib.figure import Figure

from orchestrator.sweeping.early_stopping import (
    Hyperband,
    NoStopping,
    StoppingRule,
    SuccessiveHalving,
    find_stop,
)
from orchestrator.sweeping.samplers import (
    GpSampler,
    GridSampler,
    QmcSampler,
    RandomSampler,
    Request,
    Sampler,
    TpeSampler,
)
from orchestrator.sweeping.trials import Trial, TrialState
from search_spaces.loader import load_study
from search_spaces.resolve import matched_recipe
from trainables.cpus import usable_cpu_count

if TYPE_CHECKING:
    from collections.abc import Mapping

    from orchestrator.planning.plan import Values
    from trainables.run.parameters import Space
    from trainables.run.recipe import Recipe

MAX_TRIALS = 100
"""Number of trials after which a search ends: the size of the table."""
GOAL_DISTANCE = 0.005
"""Distance to the best objective of the table at which the goal is reached."""
GRACE, FACTOR = 20, 3
"""First rung of the schedulers (the first target epoch is 10, the window 10 epochs), and factor."""
SAMPLERS = ("random", "qmc", "grid", "tpe", "gp")
"""Names of the compared samplers."""
SCHEDULERS = ("none", "asha", "hyperband")
"""Names of the compared schedulers."""

Point = tuple[float, float]
"""λ and α of a point of the table."""


@dataclass(frozen=True)
class Problem:
    """The table of one seed.

    Attributes:
        accuracies: held-out accuracy after each epoch, by point; shorter if the run diverged.
        epochs: number of epochs of a run.
        window: number of epochs whose mean accuracy is the objective.
    """

    accuracies: Mapping[Point, list[float]]
    epochs: int
    window: int

    def objective(self, point: Point, epoch: int) -> float:
        """Return the objective of a point after an epoch; that of guessing if it has diverged."""
        accuracies = self.accuracies[point]
        if len(accuracies) < epoch:
            return 0.1
        return fmean(accuracies[max(0, epoch - self.window) : epoch])

    @property
    def best(self) -> float:
        """Best objective of the table."""
        return max(self.objective(point, self.epochs) for point in self.accuracies)


@dataclass(frozen=True)
class Search:
    """What a search of one problem has spent and reached.

    Attributes:
        trial_count: number of trials until the goal.
        epoch_count: number of epochs until the goal.
        has_reached: whether the goal was reached.
        course: epochs spent and distance to the best of the table after each trial.
    """

    trial_count: int
    epoch_count: int
    has_reached: bool
    course: list[tuple[int, float]]


def study_recipe() -> Recipe:
    """Return the recipe of the runs in the table."""
    study = load_study("digits").study
    return matched_recipe(study, study.scenarios[0])


@cache
def problems() -> dict[int, Problem]:
    """Return the problem of each seed."""
    recipe = study_recipe()
    table = read_table()
    return {
        seed: Problem(
            {
                key[:2]: [correct / counts[0] for correct in counts[1:]]
                for key, counts in table.items()
                if key[2] == seed
            },
            recipe.epochs,
            recipe.window,
        )
        for seed in sorted({seed for _, _, seed in table})
    }


@cache
def spaces() -> Mapping[str, Space]:
    """Return the search space of the table."""
    return cast("Mapping[str, Space]", load_study("digits").study.space_of("nal"))


def sampler_of(name: str, problem: Problem) -> Sampler:
    """Return a sampler; the grid is that of the table."""
    if name == "grid":
        return GridSampler(
            [{"lambda": point[0], "alpha": point[1]} for point in problem.accuracies]
        )
    samplers: dict[str, Sampler] = {
        "random": RandomSampler(),
        "qmc": QmcSampler(),
        "tpe": TpeSampler(),
        "gp": GpSampler(),
    }
    return samplers[name]


def rule_of(name: str, epochs: int) -> StoppingRule:
    """Return the rule of a scheduler."""
    rungs = tuple(epoch for epoch in (GRACE, GRACE * FACTOR) if epoch < epochs)
    rules: dict[str, StoppingRule] = {
        "none": NoStopping(),
        "asha": SuccessiveHalving(rungs, FACTOR),
        "hyperband": Hyperband(rungs, FACTOR),
    }
    return rules[name]


def nearest_point(values: Values, problem: Problem) -> Point:
    """Return the point of the table that is nearest on the scales of the search space."""

    def distance(point: Point) -> float:
        return sum(
            (spaces()[name].position(value) - spaces()[name].position(float(values[name]))) ** 2
            for name, value in zip(("lambda", "alpha"), point, strict=True)
        )

    return min(problem.accuracies, key=distance)


def search(sampler_name: str, scheduler: str, seed: int, repetition: int, lag: int) -> Search:
    """Search the problem of one seed until the goal is reached."""
    problem = problems()[seed]
    sampler, rule = sampler_of(sampler_name, problem), rule_of(scheduler, problem.epochs)
    goal = problem.best - GOAL_DISTANCE
    trials: list[Trial] = []
    best, spent = 0.0, 0
    course = []
    for number in range(MAX_TRIALS):
        ended = trials[: max(0, number - lag + 1)]
        pending = [Trial(trial.number, trial.values) for trial in trials[len(ended) :]]
        values = sampler.propose(Request(spaces(), None, repetition, number, [*ended, *pending]))
        point = nearest_point(values, problem)
        steps = {epoch: problem.objective(point, epoch) for epoch in rule.steps_of(number)}
        stop = find_stop(rule, number, steps, ended)
        objective = problem.objective(point, stop or problem.epochs)
        trials.append(
            Trial(
                number,
                {"lambda": point[0], "alpha": point[1]},
                TrialState.STOPPED if stop else TrialState.COMPLETE,
                objective,
                {epoch: value for epoch, value in steps.items() if not stop or epoch <= stop},
            )
        )
        spent += stop or problem.epochs
        if not stop:
            best = max(best, objective)
        course.append((spent, problem.best - best))
        if best >= goal:
            return Search(number + 1, spent, has_reached=True, course=course)
    return Search(MAX_TRIALS, spent, has_reached=False, course=course)


def search_task(task: tuple[str, str, int, int, int]) -> Search:
    """Carry out `search` with the arguments in a tuple."""
    return search(*task)


def mean_distances(searches: list[Search], budgets: list[int]) -> list[float]:
    """Return the mean distance to the best of the table, in points, after each number of epochs.

    Before its first complete trial, a search is as far away as guessing.
    """

    def distance(one: Search, budget: int) -> float:
        return next((gap for spent, gap in reversed(one.course) if spent <= budget), 0.5)

    return [100 * fmean(distance(one, budget) for one in searches) for budget in budgets]


def draw(distances: dict[str, list[float]], runs: list[float]) -> None:
    """Draw the distance to the best of the table over the epochs spent."""
    figure = Figure(figsize=(6.4, 4), layout="constrained")
    axes = figure.subplots()
    for name, values in distances.items():
        sampler, scheduler = name.split(" + ")
        if sampler == "grid" or scheduler == "hyperband":
            continue  # between others
        style = {"none": "-", "asha": "--"}[scheduler]
        colour = f"C{SAMPLERS.index(sampler)}"
        axes.plot(runs, values, style, color=colour, label=name.removesuffix(" + none"))
    axes.set(xlabel="epochs spent, in whole runs", ylabel="points below the best of the table")
    axes.set(yscale="log")
    axes.legend(ncols=2, fontsize="small")
    figure.savefig(CHECKOUT / "docs" / "figures" / "search-methods.svg", metadata={"Date": None})


def main() -> None:
    """Search every problem with every method, and save the means."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0] if __doc__ else "")
    parser.add_argument("--repetitions", type=int, default=50)
    parser.add_argument("--gp-repetitions", type=int, default=50, help="fewer, as it is slow")
    parser.add_argument("--lag", type=int, default=4)
    arguments = parser.parse_args()
    os.environ["OMP_NUM_THREADS"] = "1"
    epochs = study_recipe().epochs
    budgets = [runs * epochs for runs in range(1, 41)]
    numbers: dict[str, Any] = {
        "seeds": len(problems()),
        "points": len(next(iter(problems().values())).accuracies),
        "goal, points below the best": 100 * GOAL_DISTANCE,
        "lag": arguments.lag,
        "points within the goal, mean": fmean(
            sum(
                problem.objective(point, problem.epochs) >= problem.best - GOAL_DISTANCE
                for point in problem.accuracies
            )
            for problem in problems().values()
        ),
    }
    distances: dict[str, list[float]] = {}
    random_epochs = 1.0
    with ProcessPoolExecutor(usable_cpu_count()) as pool:
        for sampler, scheduler in product(SAMPLERS, SCHEDULERS):
            repetitions = arguments.gp_repetitions if sampler == "gp" else arguments.repetitions
            tasks = [
                (sampler, scheduler, seed, repetition, arguments.lag)
                for seed in problems()
                for repetition in range(repetitions)
            ]
            searches = list(pool.map(search_task, tasks, chunksize=4))
            name = f"{sampler} + {scheduler}"
            mean_epochs = fmean(one.epoch_count for one in searches)
            if name == "random + none":
                random_epochs = mean_epochs
            numbers[name] = {
                "searches": len(searches),
                "reached": round(fmean(one.has_reached for one in searches), 3),
                "trials": round(fmean(one.trial_count for one in searches), 1),
                "epochs": round(mean_epochs),
                "epochs / random": round(mean_epochs / random_epochs, 3),
            }
            print(name, numbers[name], flush=True)
            distances[name] = mean_distances(searches, budgets)
    draw(distances, [budget / epochs for budget in budgets])
    save_numbers("search-methods", numbers, ("optuna", "torch", "numpy"))


if __name__ == "__main__":
    main()
