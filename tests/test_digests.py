"""Digests of specs, searches and sweeps, which must not change when the project is extended.

The values below name recorded runs, searches and sweeps in the homes of users. A change that alters
one of them is wrong, unless it raises `REVISION`: the recorded runs would no longer be found.
"""

from __future__ import annotations

from dataclasses import dataclass, field, make_dataclass, replace
from typing import TYPE_CHECKING, Any

import pytest
from plans import random_data, searches_of

from orchestrator.planning.plan import Plan
from orchestrator.sweeping.samplers import GridSampler, QmcSampler, TpeSampler
from orchestrator.sweeping.search import SearchRules, search_digest
from orchestrator.sweeping.sweep import Sweep
from search_spaces.loader import Change, load_study
from trainables.backbones import backbone_of
from trainables.methods import METHODS, method_of
from trainables.run.identity import NEUTRAL_DEFAULT, identity_of
from trainables.run.parameters import (
    AnySpace,
    ChoiceSpace,
    FrozenMap,
    Parameter,
    Prior,
    Space,
    complete_parameters,
)
from trainables.run.recipe import Recipe
from trainables.run.schedules import CosineRestarts, MultiStep
from trainables.run.seeds import Seeds
from trainables.run.spec import RunSpec

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

DATA, OTHER = "d" * 64, "e" * 64
SMALL = Recipe(epochs=60, batch_size=64, learning_rate=0.05, weight_decay=5e-4)
PAPER = Recipe(
    epochs=120,
    batch_size=64,
    learning_rate=0.02,
    weight_decay=1e-3,
    schedule=CosineRestarts(10, 1e-3),
    augmentation=("crop", "flip"),
    mean=(0.4914, 0.4822, 0.4465),
    std=(0.2023, 0.1994, 0.201),
)


def spec(
    method: str = "nal",
    values: Mapping[str, Any] | None = None,
    backbone: str = "mlp",
    **changes: Any,
) -> RunSpec:
    """Return a spec of revision 1, which needs neither a study nor data."""
    fields: dict[str, Any] = {
        "dataset": "digits",
        "data": DATA,
        "subset": None,
        "scenario": "symmetric-0.4",
        "recipe": SMALL,
        "hold_out": 0.3,
        "evaluate": ("val", "test"),
        "seeds": Seeds.from_base_seed(0),
        "revision": 1,
        **changes,
    }
    return RunSpec(
        backbone=backbone,
        backbone_parameters=complete_parameters(backbone, backbone_of(backbone).parameters, {}),
        method=method,
        hyperparameters=complete_parameters(method, method_of(method).parameters, values or {}),
        **fields,
    )


SPECS: dict[str, RunSpec] = {
    "plain": spec("ce"),
    "nal": spec(values={"lambda": 1.893, "alpha": 0.7789}),
    "trial": spec(evaluate=("val",), seeds=Seeds.from_base_seed(1000, subset=0)),
    "paper": spec(
        backbone="resnet34", dataset="cifar10", recipe=PAPER, hold_out=0.0, evaluate=("test",)
    ),
    "multistep": spec(
        "dac",
        recipe=replace(SMALL, schedule=MultiStep((30, 50), 0.2), optimizer="radam"),
        needs=FrozenMap({"retained": OTHER}),
    ),
    "pmd": spec(scenario="pmd-1-0.35", needs=FrozenMap({"posterior": OTHER})),
    "clean": spec("ce", scenario="clean", hold_out=0.0, evaluate=()),
    "human": spec("elr", scenario="human-worse", dataset="cifar10n", annotations=OTHER),
    "large": spec(
        backbone="resnet50",
        dataset="pictures",
        recipe=replace(PAPER, crop_size=224, drop_last=True, nesterov=True, tf32=True),
        unreadable="skip",
        threads=8,
    ),
    "subset": spec(subset=1000, balanced=True, scenario="file-mine", annotations=DATA),
}
SPACE = {"lambda": Space(0.1, 50, log=True), "alpha": Space(0.5, 0.99)}
CONDITIONAL: dict[str, AnySpace] = {
    "lambda": Space(0.1, 50, log=True, prior=Prior(0.2)),
    "clamps": ChoiceSpace((False, True)),
    "target_interval": Space(1, 9, integer=True, when={"clamps": (False,)}),
}
MEAN: dict[str, str | int] = {"protocol": "held-out-mean", "window": 10}
RULES = SearchRules(
    SPACE, TpeSampler(), seeds=(1000,), lag=4, reference={"lambda": 0.5, "alpha": 0.9}
)
CONDITIONAL_RULES = SearchRules(CONDITIONAL, TpeSampler(), seeds=(1000,), lag=4)
SEARCHES = {
    "nal": (SPECS["trial"], RULES, MEAN),
    "recipe": (
        SPECS["plain"],
        SearchRules({"learning_rate": Space(0.01, 1, log=True)}, QmcSampler(), (7, 8), lag=1),
        MEAN,
    ),
    "pmd": (
        SPECS["pmd"],
        SearchRules({"lambda": Space(0.1, 50)}, GridSampler([{"lambda": 0.5}]), (0,), lag=2),
        {**MEAN, "window": 5},
    ),
    "conditions": (SPECS["trial"], CONDITIONAL_RULES, MEAN),
}

STUDY = """\
title: a study
dataset: digits
backbone: {name: mlp, hidden: [16]}
scenarios: [symmetric-0.4]
recipe: {epochs: 6, batch_size: 32, learning_rate: 0.05, window: 3}
methods: [ce, nal]
tune: [nal]
reference:
  nal: {lambda: 0.5, alpha: 0.9}
search:
  space:
    nal:
      lambda: {low: 0.05, high: 20, log: true}
      alpha: {low: 0.5, high: 0.99}
"""
SWEEPS: dict[str, dict[str, object]] = {
    "plain": {},
    "pmd": {
        "scenarios": ["pmd-1-0.35", "file-mine"],
        "posterior": {"recipe": {"epochs": 30}, "seed": 7},
        "search": {"scope": "scenario"},
    },
    "published": {
        "dataset": "cifar10",
        "backbone": {"name": "preact18"},
        "methods": ["elr", "joint", "nal"],
        "recipes": {"elr": "published", "joint": "published"},
        "overrides": [{"scenario": "symm*", "recipe": {"epochs": 9}}],
        "resources": {"cpus": 2},
        "fixed_seeds": {"noise": 3},
        "tune": [],
        "vary": {"nal": {"lambda": [0.1, 10]}},
    },
}


def sweep_digest(name: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """Return the digest of a sweep of revision 1 over data with a fixed digest."""
    monkeypatch.setattr("orchestrator.planning.plan.REVISION", 1)
    path = folder / "study.yaml"
    path.write_text(STUDY)
    changes = [Change(key, value, "--set") for key, value in SWEEPS[name].items()]
    dataset = replace(random_data(), digest=DATA)
    annotations = {"file-mine": OTHER} if name == "pmd" else {}
    return Plan("study", load_study(str(path), changes).study, dataset, annotations).digest


DIGESTS = {
    "run plain": "f4218a9f3242de953f2089ae54c7dc2dd8ea6786ab4428a0e7149a7eec555314",
    "run nal": "01b1bc34feface3cb07a3ec8441aded584cbed5960f0bdec3a4c1a387f675eca",
    "run trial": "ff005b86f18771e0bbc7ef57bff6bd6a985d34684ea5d0140d9fe7c5f42196db",
    "run paper": "f496986cb3613570d9c58c9f43926019491fedf63bebe4fa1480bbffbad44e37",
    "run multistep": "4f96a2c30981cc542cd74345a7c15602c0ace227ef6674cbeb506d1427997ff7",
    "run pmd": "1b4d003342e566f4ca7d11f7014c644a45c59c4cf3f7199c422f36abd4defbc3",
    "run clean": "665a5a361dacac51dfc4149cd8f5a8c7d7a0211f59af0e3f06855328a7a4b70c",
    "run human": "75868155dcc17ec6d1b35ed47b2e3ab22957bfcbbf69f3cbaee6e4c19c879a98",
    "run large": "30239dd54adbafcafb73fdee52063c72d491786327692603a5f3143062b276a7",
    "run subset": "df31183d80109331137fde1ac24de8bff24268357c4bd29142039758ef262b30",
    # Searches moved when the sampler's settings entered their digests, and again when the seeds,
    # the lag and the reference did.
    "search nal": "bab2de41ae5e07afca7e649c26d7cf4858215c23ed9276f97046ac4a4595f122",
    "search recipe": "592b14892079f9fc7efa590d1522f30e3c9b15b42826fa5d3fb7ab67caa9417d",
    "search pmd": "dfbcea8e8bde43a27dff0840054aedf1d8adbd97165b34cc18be2b75e003b328",
    "search conditions": "410d893896f6bfb7ef2fe87f735f975abd9ed288ea120a76366c4fc31d3bf2e5",
}


# Moved with the digests of searches above, and with every `REVISION`: now 2.
SWEEP_SEARCH = "bd06f4f21e8362e1eee0735a3f369506db80afafaccb795946406e5b5151a1a1"
"""Digest of the search that the sweep "plain" opens."""
SWEEP_DIGESTS = {
    "plain": "f440cfa62788ee68e0610bca22cad7be2a1fec9cec4c5c7d03a8c1985588ff24",
    "pmd": "c5b9988e639eb4e615b4f68242ef142d5163bd1e5334a6f4ebf21577f198f0ba",
    # Moved twice: the published recipe of ELR restarts, and its runs are now read at cycle ends;
    # that of Joint Opt now has the padding, normalisation and last epoch of its public codes.
    "published": "b7cec91bdf4bb3def52ba5312abb095ac67c0068034035c39846a98bda176281",
}


def digests() -> dict[str, str]:
    return {
        **{f"run {name}": spec.digest for name, spec in SPECS.items()},
        **{f"search {name}": search_digest(*arguments) for name, arguments in SEARCHES.items()},
    }


def test_digests_have_not_changed() -> None:
    assert digests() == DIGESTS


@pytest.mark.parametrize("name", SWEEPS)
def test_digests_of_sweeps_have_not_changed(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert sweep_digest(name, tmp_path, monkeypatch) == SWEEP_DIGESTS[name]


def test_the_digest_of_a_sweeps_search_has_not_changed(tmp_path: Path) -> None:
    (tmp_path / "study.yaml").write_text(STUDY)
    study = load_study(str(tmp_path / "study.yaml")).study
    plan = Plan("study", study, replace(random_data(), digest=DATA))
    (tuning,) = Sweep(plan, tmp_path, searches_of(tmp_path)).tunings
    assert tuning.search.study.study_name == SWEEP_SEARCH


# --- added fields


def with_field(instance: Any, name: str, neutral: object) -> Any:
    """Return an equal instance of a class with one more field, which has its neutral value."""
    kind = type(instance)
    grown = make_dataclass(
        f"Grown{kind.__name__}",
        [(name, object, field(default=neutral, metadata=NEUTRAL_DEFAULT))],
        bases=(kind,),
        frozen=True,
        slots=True,
    )
    values = {one: getattr(instance, one) for one in kind.__dataclass_fields__ if one[0] != "_"}
    return grown(**values)


@pytest.mark.parametrize("name", SPECS)
def test_a_neutral_field_changes_no_digest(name: str) -> None:
    original = SPECS[name]
    grown = with_field(original, "ema", 0.0)
    assert grown.digest == original.digest
    assert replace(grown, ema=0.999).digest != original.digest
    for part in ("recipe", "seeds"):
        inner = with_field(getattr(original, part), "dropout", None)
        assert replace(original, **{part: inner}).digest == original.digest
        changed = replace(inner, dropout=1)
        assert replace(original, **{part: changed}).digest != original.digest
    schedule = with_field(original.recipe.schedule, "warm_up", 0)
    recipe = replace(original.recipe, schedule=schedule)
    assert replace(original, recipe=recipe).digest == original.digest


def test_a_parameter_that_is_added_moves_no_digest_while_it_is_neutral(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    later = Parameter("temperature", default=2.0, neutral=1.0, help="added after a release")
    nal = METHODS["nal"]
    monkeypatch.setattr(nal, "parameters", (*nal.parameters, later))
    before = SPECS["nal"]
    values = before.hyperparameters
    neutral = replace(before, hyperparameters=FrozenMap({**values, "temperature": 1.0}))
    other = replace(before, hyperparameters=FrozenMap({**values, "temperature": 2.0}))
    assert neutral.digest == before.digest == DIGESTS["run nal"]
    assert other.digest != before.digest
    # A record from before the parameter existed is read with its neutral value, not its default.
    assert RunSpec.from_dict(before.to_dict()) == neutral
    assert RunSpec.from_dict(other.to_dict()) == other
    base = search_digest(neutral, RULES, MEAN)
    assert base == search_digest(before, RULES, MEAN)


def test_the_digest_of_a_search_covers_the_values_where_conditions_are_not_met() -> None:
    trial = SPECS["trial"]
    digest = search_digest(trial, CONDITIONAL_RULES, MEAN)
    for name, value in {"lambda": 2.0, "clamps": True}.items():  # searched in every trial
        other = replace(trial, hyperparameters=FrozenMap({**trial.hyperparameters, name: value}))
        assert search_digest(other, CONDITIONAL_RULES, MEAN) == digest
    values = {**trial.hyperparameters, "target_interval": 7}
    other = replace(trial, hyperparameters=FrozenMap(values))
    assert search_digest(other, CONDITIONAL_RULES, MEAN) != digest


@pytest.mark.parametrize(
    "changes",
    [
        {"lambda": Space(0.1, 50, log=True)},
        {"lambda": Space(0.1, 50, log=True, prior=Prior(0.3))},
        {"clamps": ChoiceSpace((True, False))},
        {"target_interval": Space(1, 8, integer=True, when={"clamps": (False,)})},
        {"target_interval": Space(1, 9, integer=True, when={"clamps": (True,)})},
        {"target_interval": Space(1, 9, integer=True)},
    ],
)
def test_the_digest_of_a_search_covers_its_spaces(changes: dict[str, AnySpace]) -> None:
    rules = replace(CONDITIONAL_RULES, spaces={**CONDITIONAL, **changes})
    digest = search_digest(SPECS["trial"], rules, MEAN)
    assert digest != search_digest(SPECS["trial"], CONDITIONAL_RULES, MEAN)


@dataclass(frozen=True)
class Inner:
    always: int = 1
    later: int = field(default=0, metadata=NEUTRAL_DEFAULT)


@dataclass(frozen=True)
class Outer:
    inner: Inner = Inner()
    pair: tuple[int, ...] = (1, 2)
    computed: int = field(default=0, init=False)


def test_identity_leaves_out_what_is_neutral_at_every_depth() -> None:
    assert identity_of(Outer()) == {"inner": {"always": 1}, "pair": [1, 2]}
    assert identity_of(Outer(Inner(later=3)))["inner"] == {"always": 1, "later": 3}
