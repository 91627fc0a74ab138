"""Every rule of a study, with the file, line and key that its error names."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from search_spaces.loader import load_study
from search_spaces.resolve import resolve
from trainables.errors import StudyError
from trainables.run.seeds import RANDOM_AXES

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

RULES = [
    # keys and types
    ("title: a small study", "titel: a small study", "titel", "did you mean 'title'?"),
    ("  batch_size: 64", "  batchsize: 64", "recipe.batchsize", "did you mean 'batch_size'?"),
    (
        "    kind: constant",
        "    kind: constant\n    gama: 1",
        "recipe.schedule.gama",
        "known: kind",
    ),
    ("  trials: 4", "  trails: 4", "search.trails", "did you mean 'trials'?"),
    ("high: 0.99}", "hi: 0.99}", "search.space.nal.alpha.hi", "did you mean 'high'?"),
    ("dataset: digits", "dataset: digits\nepochs: 3", "epochs", "did you mean 'recipe.epochs'?"),
    ("dataset: digits", "dataset: digits\nalpha: 1", "alpha", "'hyperparameters.nal.alpha'?"),
    ("  epochs: 60", "  epochs: '60'", "recipe.epochs", "must be an integer, got '60'"),
    ("  epochs: 60", "  epochs: 60.5", "recipe.epochs", "must be an integer, got 60.5"),
    ("  epochs: 60", "  epochs: true", "recipe.epochs", "must be an integer, got True"),
    ("methods: [ce, nal]", "methods: ce", "methods", "must be a list, got 'ce'"),
    ("select:\n  seeds: [2000, 2001]", "select: 3", "select", "must be a mapping"),
    ("  hold_out: true", "  hold_out: 1", "confirm.hold_out", "must be a boolean, got 1"),
    # recipe
    ("  epochs: 60", "  epochs: 0", "recipe.epochs", "must be at least 1, got 0"),
    ("learning_rate: 0.05", "learning_rate: 0", "recipe.learning_rate", "must be above 0"),
    ("    kind: constant", "    kind: cosine", "recipe.schedule.kind", "'cosine-restarts'"),
    ("    kind: constant", "    period: 5", "recipe.schedule", "kind is missing"),
    ("  schedule:\n    kind: constant", "  schedule: 3", "recipe.schedule", "must be a mapping"),
    (
        "    kind: constant",
        "    kind: cosine-restarts\n    period: 0",
        "recipe.schedule.period",
        "period must be at least 1, got 0",
    ),
    ("  window: 10", "  augmentation: [turn]", "recipe.augmentation", "known: crop, flip"),
    ("  window: 10", "  precision: float16", "recipe.precision", "must be 'float32' or 'bf16'"),
    ("  window: 10", "  mean: [1, 1, 1]\n  std: [1, 1, 1]", "recipe.mean", "1 channels"),
    # names
    ("dataset: digits", "dataset: digit", "dataset", "did you mean 'digits'?"),
    ("  name: mlp", "  name: mpl", "backbone.name", "did you mean 'mlp'?"),
    ("  hidden: [16]", "  hiden: [16]", "backbone.hiden", "did you mean 'hidden'?"),
    ("  hidden: [16]", "  hidden: []", "backbone.hidden", "at least 1, got []"),
    ("  hidden: [16]", "  hidden: [0]", "backbone.hidden", "at least 1, got [0]"),
    ("  name: mlp\n  hidden: [16]", "  name: resnet34", "backbone.name", "takes images of 3×32×32"),
    ("[symmetric-0.4, clean]", "[symetric-0.4]", "scenarios", "unknown scenario 'symetric-0.4'"),
    ("[symmetric-0.4, clean]", "[symmetric-1.4]", "scenarios", "the rate must be above 0"),
    ("[symmetric-0.4, clean]", "[clean, clean]", "scenarios", "clean is given twice"),
    ("[symmetric-0.4, clean]", "[]", "scenarios", "must have at least 1 item"),
    ("methods: [ce, nal]", "methods: [ce, nall]", "methods", "did you mean 'nal'?"),
    ("methods: [ce, nal]", "methods: [ce, nal, ce]", "methods", "ce is given twice"),
    # hyperparameters
    ("    first_target_epoch: 10", "    first_epoch: 10", "hyperparameters.nal.first_epoch", "did"),
    (
        "    first_target_epoch: 10",
        "    first_target_epoch: 61",
        "hyperparameters.nal.first_target_epoch",
        "after the last epoch (60)",
    ),
    (
        "    first_target_epoch: 10",
        "    target_interval: 1.5",
        "hyperparameters.nal.target_interval",
        "an integer at least 1, got 1.5",
    ),
    ("  nal:\n    first", "  nla:\n    first", "hyperparameters.nla", "did you mean 'nal'?"),
    (
        "  nal:\n    first_target_epoch: 10",
        "  ce: {beta: 1}",
        "hyperparameters.ce.beta",
        "has no parameters",
    ),
    ("  nal:\n    first_target_epoch: 10", "  nal: 3", "hyperparameters.nal", "must be a mapping"),
    # reference
    ("    alpha: 0.9", "    alpha: 0.4", "reference.nal.alpha", "outside the searched range"),
    ("    alpha: 0.9", "    alpha: 1", "reference.nal.alpha", "below 1, got 1"),
    ("    alpha: 0.9", "    target_interval: 2", "reference.nal.target_interval", "not searched"),
    ("    alpha: 0.9", "    first_target_epoch: 2", "reference.nal.first_target_epoch", "fixed"),
    (
        "    lambda: 0.5\n    alpha: 0.9",
        "    lambda: 0.5",
        "search.space.nal.alpha",
        "add reference.nal.alpha",
    ),
    # space
    ("low: 0.5, high: 0.99", "low: 0.5, high: 0.4", "search.space.nal.alpha.high", "above low"),
    ("low: 0.5, high: 0.99", "low: 0.5, high: 1", "search.space.nal.alpha.high", "below 1"),
    ("low: 0.05, high: 20", "low: 0, high: 20", "search.space.nal.lambda.low", "if log is true"),
    ("low: 0.05, high: 20, log: true", "low: 0, high: 9", "search.space.nal.lambda.low", "above 0"),
    ("      alpha: {low", "      alfa: {low", "search.space.nal.alfa", "did you mean 'alpha'?"),
    ("low: 0.5, high: 0.99", "low: 0.5, hihg: 1", "search.space.nal.alpha.hihg", "mean 'high'?"),
    ("low: 0.5, high: 0.99", "low: x, high: 1", "search.space.nal.alpha.low", "be a number, got"),
    ("high: 20, log: true", "high: 20, log: 1", "search.space.nal.lambda.log", "true or false"),
    ("{low: 0.5, high: 0.99}", "[0.5, 0.9]", "search.space.nal.alpha", "must be a mapping like"),
    *(
        ("high: 0.99}", f"high: 0.99}}\n      {new}", key, part)
        for new, key, part in (
            # integers
            (
                "target_interval: {low: 1, high: 2.5}",
                "search.space.nal.target_interval.high",
                "target_interval must be an integer at least 1, got 2.5",
            ),
            (
                "target_interval: {low: 0, high: 2}",
                "search.space.nal.target_interval.low",
                "target_interval must be an integer at least 1, got 0",
            ),
            # choices
            (
                "clamps: {low: 0, high: 1}",
                "search.space.nal.clamps.low",
                "clamps must be true or false, which is no interval: list the values, like "
                "choices: [true, false]",
            ),
            (
                "clamps: {choices: [true]}",
                "search.space.nal.clamps.choices",
                "choices must have at least two values, got 1",
            ),
            (
                "clamps: {choices: [true, true]}",
                "search.space.nal.clamps.choices",
                "True is given twice: remove one",
            ),
            (
                "clamps: {choices: [true, maybe]}",
                "search.space.nal.clamps.choices",
                "clamps must be true or false, got 'maybe'",
            ),
            (
                "clamps: {choices: true}",
                "search.space.nal.clamps.choices",
                "must be a list like [soft, hard], got True",
            ),
            (
                "delta: {choices: [0, 0.5], low: 0}",
                "search.space.nal.delta.low",
                "choices and low exclude each other: state a list of choices, or an interval",
            ),
            # conditions
            (
                "delta: {low: 0, high: 0.5, when: {clamps: true}}",
                "search.space.nal.delta.when.clamps",
                "delta depends on clamps, which is not searched: add a space for clamps, or "
                "remove the condition; known: alpha, delta, lambda",
            ),
            (
                "delta: {low: 0, high: 0.5, when: {clmps: true}}",
                "search.space.nal.delta.when.clmps",
                "which is not searched",
            ),
            (
                "delta: {low: 0, high: 0.5, when: {alpha: 0.9}}",
                "search.space.nal.delta.when.alpha",
                "delta depends on alpha, which is a real number",
            ),
            (
                "clamps: {choices: [true, false], when: {target_interval: 9}}\n"
                "      target_interval: {low: 1, high: 5}",
                "search.space.nal.clamps.when.target_interval",
                "9 is no value that is searched for target_interval: use values of [1, 5]",
            ),
            (
                "clamps: {choices: [true, false], when: {target_interval: []}}\n"
                "      target_interval: {low: 1, high: 5}",
                "search.space.nal.clamps.when.target_interval",
                "an empty list is no value",
            ),
            (
                "clamps: {choices: [true, false], when: {target_interval: 2}}\n"
                "      target_interval: {low: 1, high: 5, when: {clamps: true}}",
                "search.space.nal.clamps.when",
                "conditions form a circle: clamps -> target_interval -> clamps",
            ),
            (
                "clamps: {choices: [true, false], when: [target_interval]}",
                "search.space.nal.clamps.when",
                "must be a mapping from searched parameters to values, like {clamps: false}",
            ),
            # priors
            (
                "delta: {low: 0, high: 0.5, prior: {width: 0}}",
                "search.space.nal.delta.prior.width",
                "width must be a number above 0, got 0",
            ),
            (
                "delta: {low: 0, high: 0.5, prior: {wdth: 1}}",
                "search.space.nal.delta.prior.wdth",
                "unknown key 'wdth': did you mean 'width'?",
            ),
            (
                "clamps: {choices: [true, false], prior: {width: 1}}",
                "search.space.nal.clamps.prior",
                "choices and prior exclude each other",
            ),
        )
    ),
    (
        "    lambda: 0.5\n    alpha: 0.9",
        "    alpha: 0.3",
        "reference.nal.alpha",
        "0.3 is outside the searched range [0.5, 0.99]: widen search.space.nal.alpha",
    ),
    ("  space:\n    nal:", "  space:\n    nla:", "search.space.nla", "did you mean 'nal'?"),
    (
        "    first_target_epoch: 10\nreference:\n  nal:\n    lambda: 0.5\n",
        "    alpha: 0.9\nreference:\n  nal:\n    lambda: 0.5\n",
        "search.space.nal.alpha",
        "also fixed, by hyperparameters.nal.alpha",
    ),
    # search
    ("tune: [nal]", "tune: [nal, nal]", "tune", "nal is given twice"),
    ("tune: [nal]", "tune: [gce]", "tune", "'gce' is not among the methods"),
    ("tune: [nal]", "tune: [bootstrap]", "tune", "'bootstrap' is not among the methods"),
    (
        "scenario: symmetric-0.4",
        "scenario: symmetric-0.5",
        "search.scenario",
        "not among the scenarios",
    ),
    ("  trials: 4", "  trials: 0", "search.trials", "greater than or equal to 1, got 0"),
    ("  trials: 4", "  scope: all", "search.scope", "must be 'study' or 'scenario', got 'all'"),
    ("  hold_out: 0.3", "  hold_out: 0", "search.hold_out", "must be greater than 0"),
    ("  hold_out: 0.3", "  hold_out: 1", "search.hold_out", "must be less than 1"),
    ("  hold_out: 0.3", "  hold_out: 1e-4", "search.hold_out", " samples, 0 are held out"),
    (
        "  trials: 4",
        "  sampler: annealing",
        "search.sampler",
        "must be 'tpe', 'gp', 'random', 'qmc' or 'grid', got 'annealing'",
    ),
    ("  trials: 4", "  lag: 0", "search.lag", "greater than or equal to 1, got 0"),
    (
        "  trials: 4",
        "  grid: {nal: {lambda: 2, alpha: 2}}",
        "search.grid",
        "has no effect with the sampler tpe: set search.sampler=grid, or leave the grid out",
    ),
    (
        "  trials: 4",
        "  trials: 4\n  sampler: grid\n  grid: {nla: {lambda: 2}}",
        "search.grid.nla",
        "did you mean 'nal'?",
    ),
    (
        "  trials: 4",
        "  trials: 4\n  sampler: grid\n  grid: {nal: {lambda: 2}}",
        "search.grid.nal",
        "the sampler grid needs values of alpha, which the study searches for nal: write a list or "
        "a number of values, as in {nal: {lambda: 5, alpha: 5}}",
    ),
    (
        "  trials: 4",
        "  trials: 4\n  sampler: grid\n  grid: {nal: {lambda: 2, alpha: 2, q: 2}}",
        "search.grid.nal.q",
        "q is not searched: ",
    ),
    (
        "  trials: 4",
        "  trials: 4\n  sampler: grid\n  grid: {nal: {lambda: [1, 30], alpha: 2}}",
        "search.grid.nal.lambda",
        "30 is not in the searched space [0.05, 20]: change search.space.nal.lambda",
    ),
    (
        "  trials: 4",
        "  trials: 4\n  sampler: grid\n  grid: {nal: {lambda: [1, 1.0], alpha: 2}}",
        "search.grid.nal.lambda",
        "1 is given twice: remove one",
    ),
    (
        "  trials: 4",
        "  trials: 4\n  sampler: grid\n  grid: {nal: {lambda: 1, alpha: 2}}",
        "search.grid.nal.lambda",
        "must be a list of values, or the number of values, from 2 to 10000, got 1",
    ),
    # seeds
    ("  seeds: [1000]", "  seeds: [-1]", "search.seeds", "greater than or equal to 0, got -1"),
    ("  seeds: [1000]", "  seeds: []", "search.seeds", "must have at least 1 item"),
    ("  seeds: [1000]", "  seeds: [7, 7]", "search.seeds", "7 is given twice"),
    ("  seeds: [1000]", "  seed: 1000", "search.seed", "write search.seeds, such as [1000]"),
    ("  seeds: [0, 1, 2]", "  seeds: []", "confirm.seeds", "must have at least 1 item"),
    ("  seeds: [0, 1, 2]", "  seeds: [0, 0]", "confirm.seeds", "0 is given twice"),
    ("  seeds: [0, 1, 2]", "  seeds: [1000]", "confirm.seeds", "1000 is also in search.seeds"),
    ("  seeds: [0, 1, 2]", "  seeds: [2001]", "confirm.seeds", "2001 is also in select.seeds"),
    ("[2000, 2001]", "[1000, 2001]", "select.seeds", "1000 is also in search.seeds"),
    ("select:", "fixed_seeds: {shuffle: 0}\nselect:", "fixed_seeds.shuffle", "unknown random axis"),
    ("select:", "fixed_seeds: {noise: -1}\nselect:", "fixed_seeds.noise", "equal to 0, got -1"),
    (
        "select:",
        f"fixed_seeds: {{{', '.join(f'{axis}: 0' for axis in RANDOM_AXES)}}}\nselect:",
        "fixed_seeds",
        "all random axes are held fixed",
    ),
    ("select:", "select:\n  candidates: 0", "select.candidates", "equal to 1, got 0"),
    # size and resources
    ("dataset: digits", "dataset: digits\nsubset: 0", "subset", "equal to 1, got 0"),
    ("dataset: digits", "dataset: digits\nsubset: 1438", "subset", "must be from 1 to 1437"),
    ("dataset: digits", "dataset: digits\nsubset: 1", "subset", " samples, 0 are held out"),
    ("select:", "resources: {cpus: 0}\nselect:", "resources.cpus", "equal to 1, got 0"),
    ("select:", "resources: {gpus: 2}\nselect:", "resources.gpus", "less than or equal to 1"),
]


@pytest.mark.parametrize(("old", "new", "key", "part"), RULES)
def test_a_broken_rule_names_file_line_and_key(
    write_study: Callable[..., Path], old: str, new: str, key: str, part: str
) -> None:
    path = write_study(old, new)
    with pytest.raises(StudyError) as error_info:
        load_study(str(path))
    message = str(error_info.value)
    line = int(message.removeprefix(f"{path}:").partition(":")[0])
    assert message.startswith(f"{path}:{line}: {key}: ")
    assert part in message
    assert "\n" not in message
    name = next(k for k in reversed(key.split(".")) if not k.isdecimal())
    assert f"{name}:" in path.read_text().splitlines()[line - 1]


def test_a_missing_key_names_the_mapping_that_lacks_it(write_study: Callable[..., Path]) -> None:
    path = write_study("  batch_size: 64\n", "")
    with pytest.raises(StudyError) as error_info:
        load_study(str(path))
    assert str(error_info.value) == f"{path}:7: recipe.batch_size: is missing"

    path = write_study("low: 0.5, high: 0.99", "low: 0.5")
    with pytest.raises(StudyError) as error_info:
        load_study(str(path))
    assert str(error_info.value) == f"{path}:31: search.space.nal.alpha.high: is missing"

    path = write_study("dataset: digits\n", "")
    with pytest.raises(StudyError) as error_info:
        load_study(str(path))
    assert str(error_info.value) == f"{path}: dataset: is missing"


def test_the_small_study_is_valid(write_study: Callable[..., Path]) -> None:
    study = load_study(str(write_study())).study
    assert study.backbone.parameters == {"hidden": (16,), "attention": "linear"}
    targets = {"first_target_epoch": 10, "target_interval": 1}
    assert resolve(study, "nal", study.scenarios[0]).hyperparameters.items() >= targets.items()
