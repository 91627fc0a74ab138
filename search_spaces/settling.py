"""What a study leaves to what is published, written out: presets, values, recipes, overrides.

It works on the plain tree, before the schema reads it: what is not well formed is left for the
schema to refuse, but for the keys that the schema never sees.
"""

from __future__ import annotations

import copy
from dataclasses import fields
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING

from search_spaces.layers import overlay
from search_spaces.published_recipes import AS_IN_THE_STUDY, settle_recipes
from search_spaces.published_values import free_names, preset_of, settle_values
from search_spaces.settled import OF_METHODS, Settled, Special, Tree, list_of, mapping_of
from trainables.errors import FieldError, suggest
from trainables.methods import METHODS, method_of
from trainables.noise import noise_of
from trainables.recipe import Recipe

if TYPE_CHECKING:
    from collections.abc import Sequence

KEYS = ("scenario", "recipe", "hyperparameters", "recipes", "source")
_WILD = frozenset("*?[")


def settle(tree: Tree, *, narrowed: bool = False) -> Settled:
    """Write out what a study takes from what is published.

    Args:
        tree: the study as its files and flags say it.
        narrowed: whether the scenarios were said after the overrides: those for others are idle.

    Raises:
        FieldError: a preset, a published recipe or an override that cannot be; its path is one
            of `tree`.
    """
    settled = Settled(copy.deepcopy(tree))
    scenarios = [name for name in list_of(tree.get("scenarios")) if isinstance(name, str)]
    if not isinstance(tree.get("dataset"), str) or not scenarios:
        settled.tree.pop("overrides", None)
        return settled
    _settle_posterior(settled)
    specials = _expand(settled, scenarios, narrowed=narrowed)
    settle_recipes(settled, specials)
    settle_values(settled, specials)
    settled.write_overrides(specials)
    return settled


def _settle_posterior(settled: Settled) -> None:
    """Lay the recipe of the network that PMD noise is drawn from over the study's."""
    base, posterior = settled.tree.get("recipe"), settled.tree.get("posterior")
    own = mapping_of(posterior).get("recipe")
    if not isinstance(base, dict) or not isinstance(own, dict) or not isinstance(posterior, dict):
        return
    posterior["recipe"] = overlay(base, own)
    for value in fields(Recipe):
        if value.name not in own:
            settled.sources["posterior", "recipe", value.name] = AS_IN_THE_STUDY


def _expand(settled: Settled, scenarios: Sequence[str], *, narrowed: bool) -> dict[str, Special]:
    """Expand the patterns of `overrides`, later entries over earlier ones."""
    given = settled.tree.pop("overrides", None)
    if given is not None and not isinstance(given, list):
        raise FieldError("overrides", "must be a list of mappings like {scenario: asymmetric-*}")
    specials = {name: Special() for name in scenarios}
    for position, entry in enumerate(given or []):
        pattern = _checked(entry, f"overrides.{position}")
        if not _WILD & set(pattern):
            known = () if narrowed else scenarios
            _check_scenario(pattern, known, f"overrides.{position}.scenario")
        for name, special in specials.items():
            if fnmatchcase(name, pattern):
                _lay(settled.tree, name, special, entry, position)
    return specials


def _checked(entry: object, path: str) -> str:
    """Return the pattern of an override that has the right keys and types."""
    pattern = mapping_of(entry).get("scenario")
    if not isinstance(entry, dict) or not isinstance(pattern, str):
        raise FieldError(path, "must be a mapping with a scenario")
    for key in entry:
        if key not in KEYS:
            raise FieldError(f"{path}.{key}", f"unknown key '{key}': {suggest(key, KEYS)}")
    for key, value in entry.items():
        if key == "source" and not isinstance(value, str):
            raise FieldError(f"{path}.source", f"must be a text, got {value!r}")
        if key not in ("scenario", "source") and not isinstance(value, dict):
            raise FieldError(f"{path}.{key}", f"must be a mapping, got {value!r}")
    for method, values in entry.get("hyperparameters", {}).items():
        if not isinstance(values, dict):
            where = f"{path}.hyperparameters.{method}"
            raise FieldError(where, f"must be a mapping like {{alpha: 0.9}}, got {values!r}")
    return pattern


def _check_scenario(name: str, known: Sequence[str], path: str) -> None:
    """Refuse what is no scenario, and what is none of those known, if there are any."""
    try:
        noise_of(name)
    except FieldError as error:
        raise FieldError(path, error.message) from error
    if known and name not in known:
        raise FieldError(path, f"'{name}' is not among scenarios: {suggest(name, known)}")


def _lay(tree: Tree, scenario: str, special: Special, entry: Tree, position: int) -> None:
    at = ("overrides", position)
    text = entry.get("source", f"overrides.{position}")
    if "recipe" in entry:
        base = special.tree.get("recipe", mapping_of(tree.get("recipe")))
        special.tree["recipe"] = overlay(base, entry["recipe"])
        special.given["recipe",] = (*at, "recipe")
        special.sources |= {("recipe", key): text for key in entry["recipe"]}
    for section in OF_METHODS:
        for method, said in entry.get(section, {}).items():
            special.given[section, method] = (*at, section, method)
            owner = special.tree.setdefault(section, {})
            if section == "recipes":
                owner[method] = said
                continue
            values = {name: value for name, value in said.items() if name != "preset"}
            special.sources |= {(section, method, name): text for name in values}
            if "preset" in said and method in METHODS:
                where = f"overrides.{position}.hyperparameters.{method}.preset"
                chosen = preset_of(method_of(method), tree, scenario, said["preset"], where)
                skipped = {*values, *free_names(tree, method_of(method))}
                added = {name: v for name, v in chosen.values.items() if name not in skipped}
                named = f"preset {said['preset']}: {chosen.source}"
                special.sources |= {(section, method, name): named for name in added}
                values = {**added, **values}
            owner.setdefault(method, {}).update(values)
