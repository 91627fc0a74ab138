"""Which recipe each method is trained under: matched, published, or the study's own."""

from __future__ import annotations

import copy
import json
from dataclasses import asdict
from typing import TYPE_CHECKING

from search_spaces.settled import SOURCES, Settled, Tree, listed, mapping
from trainables.errors import FieldError, suggest
from trainables.methods import METHODS, method_of
from trainables.methods.published import Published, Selection, matching

if TYPE_CHECKING:
    from search_spaces.yaml_lines import KeyPath
    from trainables.methods import Method

LEFT_TO_THE_STUDY = ("mean", "std", "window", "evaluate_every", "precision", "tf32")
"""Of a published recipe: what does not belong to the optimisation, or is not published."""
WORDS = ("matched", "published")


def settle_recipes(settled: Settled, overrides: dict[str, Tree]) -> None:
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
        if method in listed(settled.tree.get("tune")):
            raise FieldError(
                path, "a tuned method is trained under the matched recipe: leave it out of tune"
            )
        if not isinstance(choice, dict) and choice not in WORDS:
            raise FieldError(path, f"must be matched, published or a mapping, got {choice!r}")
        resolved = {name: _recipe(settled, choice, method, name, overrides) for name in overrides}
        first = next(iter(resolved.values()))
        if all(recipe == first for recipe in resolved.values()):
            kept[method] = first
            settled.sources |= _recipe_sources(settled, method, first, choice)
        else:
            for name, recipe in resolved.items():
                overrides[name].setdefault("recipes", {})[method] = recipe
                said = _recipe_sources(settled, method, recipe, choice)
                overrides[name].setdefault(SOURCES, {}).update(said)
    if kept:
        settled.tree["recipes"] = kept


def _recipe_sources(
    settled: Settled, method: str, resolved: Tree, choice: object
) -> dict[KeyPath, str]:
    base = mapping(settled.tree.get("recipe"))
    texts: dict[KeyPath, str] = {("recipes", method): resolved["source"]}
    if choice == "published":
        for name in LEFT_TO_THE_STUDY:
            if resolved["recipe"][name] == base.get(name):
                texts["recipes", method, "recipe", name] = "as in the study"
    return texts


def _recipe(
    settled: Settled, choice: object, method: str, scenario: str, overrides: dict[str, Tree]
) -> Tree:
    base = overrides[scenario].get("recipe", mapping(settled.tree.get("recipe")))
    if isinstance(choice, dict):
        own = {**copy.deepcopy(base), **mapping(choice.get("recipe"))}
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
