"""Export of a resolved study as plain values that load as the same study; `show` prints them."""

from __future__ import annotations

from dataclasses import asdict, fields
from typing import TYPE_CHECKING, Any

from pydantic import TypeAdapter

from search_spaces.fields import yaml_values
from search_spaces.resolve import (
    AS_IN_THE_STUDY,
    SourcedValue,
    Training,
    is_recipe_overridden,
    is_shared_value,
    matched_recipe,
    posterior_recipe,
    protocol_on,
    reference_values,
    resolve,
    shared_training,
    study_hyperparameters,
)
from search_spaces.schema import Study
from trainables.run.recipe import Recipe

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from search_spaces.yaml_lines import KeyPath

PlainTree = dict[str, Any]
"""Nested mappings of YAML values."""
SourcesByPath = dict["KeyPath", "str | KeyPath"]
"""Sources by key path of the export: a text, or the key path at which the study sets the value."""

_RECIPE_ADAPTER = TypeAdapter(Recipe)
BY_THE_SCHEDULE = "by the schedule"
"""Source text of a protocol that the study does not state, so that the schedule determines it."""
_RESOLVED_KEYS = {"recipe", "hyperparameters", "reference", "recipes", "overrides", "posterior"}
"""Keys of a study whose exported values are computed, not copied from the study file."""


def export_study(study: Study) -> tuple[PlainTree, SourcesByPath]:
    """Return a study with every resolved value written out.

    Values that hold for all scenarios are keys of the study; the others form one override for
    each scenario.

    Returns:
        The study as YAML values, and the sources of the values that the study does not set at
        the same path.
    """
    sources: SourcesByPath = {}
    plain = study.model_dump(mode="json", exclude=_RESOLVED_KEYS) | {
        "recipe": plain_recipe(matched_recipe(study)),
        "hyperparameters": _hyperparameters(study, sources),
        "reference": _references(study, sources),
        "recipes": _recipes(study, sources),
        "overrides": _overrides(study, sources),
        "posterior": _posterior(study, sources),
    }
    plain["search"]["space"] = {
        method: {name: asdict(space) for name, space in study.space_of(method).items()}
        for method in [*study.tune, *study.search.space]
    }
    if study.tune:
        plain["search"]["scenario"] = study.search.scenario or study.scenarios[0]
    keys = {protocol_on(study, scenario).key for scenario in study.scenarios}
    if study.search.protocol is None and len(keys) == 1:
        (plain["search"]["protocol"],) = keys
        sources["search", "protocol"] = BY_THE_SCHEDULE
    return {key: plain[key] for key in Study.model_fields}, sources


def plain_recipe(recipe: Recipe) -> PlainTree:
    """Return a recipe as YAML values."""
    values: PlainTree = _RECIPE_ADAPTER.dump_python(recipe, mode="json")
    return values


def _without_empty(section: PlainTree) -> PlainTree:
    return {key: value for key, value in section.items() if value}


def _exported_methods(study: Study) -> dict[str, None]:
    """Return the names of the methods whose hyperparameters are exported, as keys in order."""
    return dict.fromkeys([*study.methods, *study.hyperparameters])


def _hyperparameters(study: Study, sources: SourcesByPath) -> PlainTree:
    values = {
        method: {
            name: value
            for name, value in study_hyperparameters(study, method).items()
            if name not in {*study.unfixed_names(method), *reference_values(study, method)}
        }
        for method in _exported_methods(study)
    }
    return _without_empty(_by_method(values, ("hyperparameters",), sources))


def _references(study: Study, sources: SourcesByPath) -> PlainTree:
    methods = [*study.reference, *_exported_methods(study)]
    values = {method: reference_values(study, method) for method in methods}
    section = _by_method(values, ("reference",), sources)
    return {method: {} for method in study.reference} | _without_empty(section)


def _by_method(
    values: Mapping[str, Mapping[str, SourcedValue]], key_path: KeyPath, sources: SourcesByPath
) -> PlainTree:
    """Return values by method, and add to `sources` those that the study sets at another key path.

    Args:
        values: values by method and name.
        key_path: key path of the exported section.
        sources: sources of the export, extended in place.
    """
    sources |= {
        (*key_path, method, name): value.source or value.key_path
        for method, section in values.items()
        for name, value in section.items()
        if value.layer == "override" or (value.source and value.layer != "default")
    }
    return {
        method: yaml_values({name: section[name].value for name in sorted(section)})
        for method, section in values.items()
    }


def _recipes(study: Study, sources: SourcesByPath) -> PlainTree:
    return {
        method: _plain_training(training, ("recipes", method), sources)
        for method in _methods_with_recipe(study)
        if (training := shared_training(study, method)) is not None
    }


def _methods_with_recipe(study: Study) -> Iterable[str]:
    """Return the methods whose recipe the study or one of its overrides chooses."""
    overrides = [
        override for override in study.overrides if any(map(override.applies_to, study.scenarios))
    ]
    overridden = [method for override in overrides for method in override.recipes]
    return dict.fromkeys([*study.recipes, *overridden])


def _plain_training(training: Training, key_path: KeyPath, sources: SourcesByPath) -> PlainTree:
    sources |= {(*key_path, *key): text for key, text in training.sources.items()}
    return {
        "recipe": plain_recipe(training.recipe),
        "kind": training.kind,
        "source": training.source,
        "hold_out": training.hold_out,
        "selection": str(training.selection),
        "stages": {role: plain_recipe(recipe) for role, recipe in training.stages.items()},
    }


def _overrides(study: Study, sources: SourcesByPath) -> list[PlainTree]:
    entries: list[PlainTree] = []
    for scenario in study.scenarios:
        key_path = ("overrides", len(entries))
        entry = {
            "recipe": _override_recipe(study, scenario, key_path, sources),
            "hyperparameters": _override_values(study, scenario, key_path, sources),
            "recipes": _override_trainings(study, scenario, key_path, sources),
        }
        if content := _without_empty(entry):
            entries.append({"scenario": scenario, **content})
    return entries


def _override_recipe(
    study: Study, scenario: str, key_path: KeyPath, sources: SourcesByPath
) -> PlainTree:
    if not is_recipe_overridden(study, scenario):
        return {}
    for position, override in reversed(study.overrides_for(scenario)):
        source = override.source or ("overrides", position)
        sources |= {(*key_path, "recipe", name): source for name in override.recipe.values}
    return plain_recipe(matched_recipe(study, scenario))


def _override_values(
    study: Study, scenario: str, key_path: KeyPath, sources: SourcesByPath
) -> PlainTree:
    exported = _exported_methods(study)
    overridden = [
        method
        for _, override in reversed(study.overrides_for(scenario))
        for method in override.hyperparameters
    ]
    values = {
        method: {
            name: value
            for name, value in resolve(study, method, scenario).values.items()
            if not is_shared_value(study, method, name, value)
            and (method in exported or value.layer == "override")
        }
        for method in dict.fromkeys([*overridden, *exported])
    }
    return _without_empty(_by_method(values, (*key_path, "hyperparameters"), sources))


def _override_trainings(
    study: Study, scenario: str, key_path: KeyPath, sources: SourcesByPath
) -> PlainTree:
    return {
        method: _plain_training(training, (*key_path, "recipes", method), sources)
        for method in _methods_with_recipe(study)
        if shared_training(study, method) is None
        and (training := resolve(study, method, scenario).training).kind != "matched"
    }


def _posterior(study: Study, sources: SourcesByPath) -> PlainTree:
    recipe = study.posterior.recipe
    if recipe is not None:
        inherited = [field.name for field in fields(Recipe) if field.name not in recipe.values]
        sources |= {("posterior", "recipe", name): AS_IN_THE_STUDY for name in inherited}
    plain = study.posterior.model_dump(mode="json")
    return plain | {"recipe": None if recipe is None else plain_recipe(posterior_recipe(study))}
