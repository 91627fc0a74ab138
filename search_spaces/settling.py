"""What a study leaves to what is published, written out: presets, values, recipes, overrides.

It works on the plain tree, before the schema reads it: what is not well formed is left for the
schema to refuse.
"""

from __future__ import annotations

import copy
import json
from dataclasses import asdict, dataclass, field
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Any

from trainables.errors import FieldError, suggest
from trainables.methods import METHODS, method_of
from trainables.methods.published import Published, Selection, Setting, matching
from trainables.noise import noise_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from search_spaces.yaml_lines import KeyPath
    from trainables.methods import Method

Tree = dict[str, Any]

LEFT_TO_THE_STUDY = ("mean", "std", "window", "evaluate_every", "precision", "tf32")
"""Of a published recipe: what does not belong to the optimisation, or is not published."""
WORDS = ("matched", "published")


@dataclass
class Settled:
    """A study's tree with everything published written out.

    Attributes:
        tree: as the schema reads it.
        sources: where what was written out comes from, by path.
    """

    tree: Tree
    sources: dict[KeyPath, str] = field(default_factory=dict)


def settle(tree: Tree) -> Settled:
    """Write out what a study takes from what is published.

    Raises:
        FieldError: a preset, a published recipe or an override that is not there.
    """
    settled = Settled(copy.deepcopy(tree))
    work = settled.tree
    scenarios = [name for name in _listed(work.get("scenarios")) if isinstance(name, str)]
    if not isinstance(work.get("dataset"), str) or not scenarios:
        return settled
    per_scenario = _overrides(settled, scenarios)
    _settle_recipes(settled, per_scenario)
    _settle_values(settled, per_scenario)
    entries = [{"scenario": name, **per_scenario[name]} for name in scenarios]
    _write_overrides(settled, [entry for entry in entries if len(entry) > 1])
    return settled


def _mapping(value: object) -> Tree:
    return value if isinstance(value, dict) else {}


def _listed(value: object) -> list[Any]:
    return value if isinstance(value, list) else []


_SOURCES = "sources"
"""Key under which an override gathers sources while it is settled."""


def _overrides(settled: Settled, scenarios: Sequence[str]) -> dict[str, Tree]:
    """Expand the patterns of `overrides`, later entries over earlier ones."""
    given = settled.tree.pop("overrides", None)
    found: dict[str, Tree] = {name: {} for name in scenarios}
    if given is not None and not isinstance(given, list):
        raise FieldError("overrides", "must be a list of mappings like {scenario: asymmetric-*}")
    for position, entry in enumerate(given or []):
        pattern = _mapping(entry).get("scenario")
        if not isinstance(pattern, str):
            raise FieldError(f"overrides.{position}", "must be a mapping with a scenario")
        unknown = set(entry) - {"scenario", "recipe", "hyperparameters", "recipes", "source"}
        if unknown:
            known = suggest(min(unknown), ("scenario", "recipe", "hyperparameters", "source"))
            raise FieldError(f"overrides.{position}", f"unknown key '{min(unknown)}': {known}")
        if "*" not in pattern:
            try:
                noise_of(pattern)
            except FieldError as error:
                raise FieldError(f"overrides.{position}.scenario", error.message) from error
        for name in scenarios:
            if fnmatchcase(name, pattern):
                _lay(settled, found[name], entry, position)
    return found


def _lay(settled: Settled, override: Tree, entry: Tree, position: int) -> None:
    said = entry.get("source")
    text = said if isinstance(said, str) else f"overrides.{position}"
    sources = override.setdefault(_SOURCES, {})
    if isinstance(recipe := entry.get("recipe"), dict):
        base = override.get("recipe", _mapping(settled.tree.get("recipe")))
        override["recipe"] = {**copy.deepcopy(base), **recipe}
        sources |= {("recipe", key): text for key in recipe}
    for section in ("hyperparameters", "recipes"):
        for method, values in _mapping(entry.get(section)).items():
            override.setdefault(section, {}).setdefault(method, {}).update(_mapping(values))
            sources |= {(section, method, name): text for name in _mapping(values)}


def _write_overrides(settled: Settled, entries: list[Tree]) -> None:
    for position, entry in enumerate(entries):
        for path, text in entry.pop(_SOURCES, {}).items():
            settled.sources["overrides", position, *path] = text
    entries = [entry for entry in entries if len(entry) > 1]
    if entries:
        settled.tree["overrides"] = entries


def _settle_recipes(settled: Settled, overrides: dict[str, Tree]) -> None:
    """Resolve `recipes`: the same for all scenarios, or one for each."""
    given = settled.tree.pop("recipes", None)
    if given is not None and not isinstance(given, dict):
        raise FieldError("recipes", "must be a mapping like {elr: published}")
    kept: Tree = {}
    for method, choice in (given or {}).items():
        path = f"recipes.{method}"
        if method not in METHODS:
            raise FieldError(path, f"unknown method '{method}': {suggest(str(method), METHODS)}")
        if choice == "matched":
            continue
        if method in _listed(settled.tree.get("tune")):
            raise FieldError(
                path, "a tuned method is trained under the matched recipe: leave it out of tune"
            )
        if not isinstance(choice, dict) and choice not in WORDS:
            raise FieldError(path, f"must be matched, published or a mapping, got {choice!r}")
        resolved = {name: _recipe(settled, choice, method, name, overrides) for name in overrides}
        first = next(iter(resolved.values()))
        if all(recipe == first for recipe in resolved.values()):
            kept[method] = first
            settled.sources |= _recipe_sources(method, first, choice)
        else:
            for name, recipe in resolved.items():
                overrides[name].setdefault("recipes", {})[method] = recipe
                said = _recipe_sources(method, recipe, choice)
                overrides[name].setdefault(_SOURCES, {}).update(said)
    if kept:
        settled.tree["recipes"] = kept


def _recipe_sources(method: str, resolved: Tree, choice: object) -> dict[KeyPath, str]:
    texts: dict[KeyPath, str] = {("recipes", method): resolved["source"]}
    if choice == "published":
        for name in LEFT_TO_THE_STUDY:
            texts["recipes", method, "recipe", name] = "as in the study"
    return texts


def _recipe(
    settled: Settled, choice: object, method: str, scenario: str, overrides: dict[str, Tree]
) -> Tree:
    base = overrides[scenario].get("recipe", _mapping(settled.tree.get("recipe")))
    if isinstance(choice, dict):
        own = {**copy.deepcopy(base), **_mapping(choice.get("recipe"))}
        return {"kind": "own", "source": "the study", **choice, "recipe": own}
    found = _published(method_of(method), settled.tree["dataset"], scenario, f"recipes.{method}")
    stages: Tree = {}
    for stage in method_of(method).stages:
        first = matching(method_of(stage.method).published, settled.tree["dataset"], scenario)
        stages[stage.role] = _plain_recipe(first or found, base)
    return {
        "kind": "published",
        "source": found.source,
        "recipe": _plain_recipe(found, base),
        "hold_out": found.hold_out,
        "selection": str(found.selection),
        "stages": stages,
    }


def _plain_recipe(published: Published, base: Tree) -> Tree:
    recipe: Tree = json.loads(json.dumps(asdict(published.recipe)))
    for name in LEFT_TO_THE_STUDY:
        measured = name in ("mean", "std") and recipe[name] is not None
        if name in base and not measured:
            recipe[name] = base[name]
    return recipe


def _published(method: type[Method], dataset: str, scenario: str, path: str) -> Published:
    found = matching(method.published, dataset, scenario)
    if found is None:
        known = ", ".join(f"{entry.dataset} {entry.noise}" for entry in method.published)
        raise FieldError(
            path,
            f"no recipe of {method.name} is published for {dataset} with {scenario}"
            + (f", only for {known}" if known else "")
            + ": use matched, or write it out",
        )
    if found.selection is Selection.TEST:
        raise FieldError(
            path,
            f"the published recipe of {method.name} on {dataset} takes the epoch with the best "
            "test accuracy: the test split is never looked at while choosing; use matched",
        )
    return found


def _settle_values(settled: Settled, overrides: dict[str, Tree]) -> None:
    """Write out published values where the study says none, and presets."""
    tree = settled.tree
    section = tree.get("hyperparameters")
    if section is not None and not isinstance(section, dict):
        return
    methods = [name for name in _listed(tree.get("methods")) if isinstance(name, str)]
    for method in dict.fromkeys([*methods, *(section or {})]):
        if method not in METHODS:
            continue
        given = (section or {}).get(method)
        if given is not None and not isinstance(given, dict):
            continue
        preset = (given or {}).pop("preset", None)
        _add_reference(settled, method_of(method), overrides)
        taken = {*(given or {}), *_free(tree, method_of(method))}
        found = {
            scenario: {
                name: value
                for name, value in _values(method_of(method), tree, scenario, preset).items()
                if name not in taken
                and name not in _mapping(_mapping(override.get("hyperparameters")).get(method))
            }
            for scenario, override in overrides.items()
        }
        _write_values(settled, overrides, method, found)


def _write_values(
    settled: Settled,
    overrides: dict[str, Tree],
    method: str,
    found: dict[str, dict[str, tuple[Any, str]]],
) -> None:
    first = next(iter(found.values()))
    for name in dict.fromkeys(name for values in found.values() for name in values):
        said = {scenario: values.get(name) for scenario, values in found.items()}
        if all(value == first.get(name) for value in said.values()):
            value, text = first[name]
            section = settled.tree.setdefault("hyperparameters", {})
            section.setdefault(method, {})[name] = value
            settled.sources["hyperparameters", method, name] = text
            continue
        for scenario, one in said.items():
            if one is not None:
                values = overrides[scenario].setdefault("hyperparameters", {})
                values.setdefault(method, {})[name] = one[0]
                sources = overrides[scenario].setdefault(_SOURCES, {})
                sources["hyperparameters", method, name] = one[1]


def _values(
    method: type[Method], tree: Tree, scenario: str, preset: object
) -> dict[str, tuple[Any, str]]:
    """Return value and source of what is published for a scenario, a preset before settings."""
    found: dict[str, tuple[Any, str]] = {}
    setting = matching(method.settings, tree["dataset"], scenario)
    if setting is not None:
        found |= {name: (value, setting.source) for name, value in setting.values.items()}
    if preset is not None:
        chosen = _preset(method, tree["dataset"], scenario, preset)
        text = f"preset {preset}: {chosen.source}"
        found |= {name: (value, text) for name, value in chosen.values.items()}
    return found


def _preset(method: type[Method], dataset: str, scenario: str, preset: object) -> Setting:
    path = f"hyperparameters.{method.name}.preset"
    if not isinstance(preset, str) or preset not in method.presets:
        tail = suggest(str(preset), method.presets) if method.presets else "it has none"
        raise FieldError(path, f"method {method.name} has no preset '{preset}': {tail}")
    found = matching(method.presets[preset], dataset, scenario)
    if found is None:
        known = ", ".join(entry.dataset for entry in method.presets[preset])
        raise FieldError(
            path,
            f"preset {preset} of {method.name} has no values for dataset {dataset}, only for "
            f"{known}: write them out",
        )
    return found


def _free(tree: Tree, method: type[Method]) -> Iterator[str]:
    """Yield what is searched or has a reference, and so is not fixed."""
    yield from _mapping(_mapping(tree.get("reference")).get(method.name))
    if method.name in _listed(tree.get("tune")):
        yield from _space(tree, method)


def _space(tree: Tree, method: type[Method]) -> list[str]:
    said = _mapping(_mapping(tree.get("search")).get("space")).get(method.name)
    if isinstance(said, dict):
        return list(said)
    declared = [parameter.name for parameter in method.parameters if parameter.space is not None]
    given = _mapping(_mapping(tree.get("hyperparameters")).get(method.name))
    return [*(name for name in declared if name not in given), *method.recipe_space]


def _add_reference(settled: Settled, method: type[Method], overrides: dict[str, Tree]) -> None:
    """Make published values that cover all that is searched the first trial of a tuned method."""
    tree = settled.tree
    stated = _mapping(tree.get("reference"))
    if method.name not in _listed(tree.get("tune")) or method.name in stated:
        return
    searched = _space(tree, method)
    settings = [matching(method.settings, tree["dataset"], name) for name in overrides]
    setting = settings[0]
    if not searched or setting is None or any(other is not setting for other in settings):
        return
    if all(name in setting.values for name in searched):
        values = {name: setting.values[name] for name in searched}
        tree.setdefault("reference", {})[method.name] = values
        for name in searched:
            settled.sources["reference", method.name, name] = setting.source
