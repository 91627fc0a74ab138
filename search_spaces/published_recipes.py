"""Recipes of methods that are not trained as the others are: published, or a study's own."""

from __future__ import annotations

import json
from dataclasses import asdict, fields
from typing import TYPE_CHECKING

from search_spaces.layers import dotted, overlay
from search_spaces.settled import Settled, Special, Tree, list_of, mapping_of
from trainables.errors import FieldError, suggest
from trainables.methods import METHODS, method_of
from trainables.methods.published import Published, Selection, matching
from trainables.recipe import Recipe

if TYPE_CHECKING:
    from search_spaces.yaml_lines import KeyPath
    from trainables.methods import Method

LEFT_TO_THE_STUDY = (
    *("crop_size", "mean", "std", "window", "evaluate_every", "precision", "tf32"),
)
"""Of a published recipe: what does not belong to the optimisation, or is not published."""
WORDS = ("matched", "published")
AS_IN_THE_STUDY = "as in the study"
_OPTIONAL = ("kind", "source", "hold_out", "selection", "stages")
"""Of a method's recipe: what a study need not say."""


def settle_recipes(settled: Settled, specials: dict[str, Special]) -> None:
    """Resolve `recipes`: the same for all scenarios, or one for each.

    Raises:
        FieldError: an unknown method or word, a tuned method, or nothing published that can be
            used.
    """
    given = settled.tree.pop("recipes", None)
    if given is not None and not isinstance(given, dict):
        raise FieldError("recipes", "must be a mapping like {elr: published}")
    own = {name: special.tree.pop("recipes", {}) for name, special in specials.items()}
    kept: Tree = {}
    for method in dict.fromkeys([*(given or {}), *(one for said in own.values() for one in said)]):
        found: dict[str, tuple[Tree, dict[KeyPath, str]]] = {}
        for scenario, special in specials.items():
            said = {**(given or {}), **own[scenario]}.get(method, "matched")
            place = special.given.get(("recipes", method), ("recipes", method))
            _check_choice(settled.tree, method, said, dotted(place))
            if said != "matched":
                base = special.tree.get("recipe", mapping_of(settled.tree.get("recipe")))
                found[scenario] = _resolved(settled.tree, base, method, scenario, said, place)
        first = next(iter(found.values()), None)
        if first and all(found.get(scenario) == first for scenario in specials):
            kept[method], texts = first
            settled.sources |= texts
            continue
        for scenario, (recipe, texts) in found.items():
            specials[scenario].tree.setdefault("recipes", {})[method] = recipe
            specials[scenario].sources |= texts
    if kept:
        settled.tree["recipes"] = kept


def _check_choice(tree: Tree, method: str, said: object, path: str) -> None:
    if method not in METHODS:
        raise FieldError(path, f"unknown method '{method}': {suggest(method, METHODS)}")
    if not isinstance(said, dict) and said not in WORDS:
        raise FieldError(path, f"must be matched, published or a mapping, got {said!r}")
    if said != "matched" and method in list_of(tree.get("tune")):
        raise FieldError(
            path, "a tuned method is trained under the matched recipe: leave it out of tune"
        )
    recipe = said.get("recipe", {}) if isinstance(said, dict) else {}
    if not isinstance(recipe, dict):
        raise FieldError(f"{path}.recipe", f"must be a mapping, got {recipe!r}")


def _resolved(
    tree: Tree, base: Tree, method: str, scenario: str, said: str | Tree, place: KeyPath
) -> tuple[Tree, dict[KeyPath, str]]:
    """Return a method's recipe in full, and where its values come from."""
    at: KeyPath = ("recipes", method)
    if not isinstance(said, str):
        own = said.get("recipe", {})
        unsaid = {key: "default of the schema" for key in _OPTIONAL if key not in said}
        texts: dict[KeyPath, str] = {(*at, key): text for key, text in unsaid.items()}
        for value in fields(Recipe):
            if value.name not in own:
                texts[(*at, "recipe", value.name)] = AS_IN_THE_STUDY
        if isinstance(said.get("source"), str):
            texts[at] = said["source"]
        recipe = overlay(base, own)
        return {"kind": "own", "source": "the study", **said, "recipe": recipe}, texts
    found = _published(method_of(method), tree["dataset"], scenario, dotted(place))
    full, texts = _plain_recipe(found, base, (*at, "recipe"))
    texts[at] = found.source
    stages: Tree = {}
    for stage in method_of(method).stages:
        of_stage = matching(method_of(stage.method).published, tree["dataset"], scenario) or found
        where = (*at, "stages", stage.role)
        stages[stage.role], left = _plain_recipe(of_stage, base, where)
        texts |= {where: of_stage.source, **left}
    resolved = {
        "kind": "published",
        "source": found.source,
        "recipe": full,
        "hold_out": found.hold_out,
        "selection": str(found.selection),
        "stages": stages,
    }
    return resolved, texts


def _plain_recipe(published: Published, base: Tree, at: KeyPath) -> tuple[Tree, dict[KeyPath, str]]:
    """Return a published recipe with what it leaves to the study, and the source of that."""
    recipe: Tree = json.loads(json.dumps(asdict(published.recipe)))
    texts: dict[KeyPath, str] = {}
    for name in LEFT_TO_THE_STUDY:
        if name in ("mean", "std") and recipe[name] is not None:
            continue
        texts[(*at, name)] = AS_IN_THE_STUDY
        if name in base:
            recipe[name] = base[name]
    return recipe, texts


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
