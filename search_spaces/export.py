"""Write a study out with every default and derived value, as YAML that loads as the same study.

The command `show` prints the result.
"""

from __future__ import annotations

from dataclasses import fields
from typing import TYPE_CHECKING, Any

from pydantic import TypeAdapter

from search_spaces.deviations import applicable_deviations
from search_spaces.fields import yaml_values
from search_spaces.resolve import (
    STUDY_SOURCE,
    SourcedValue,
    TrainingSettings,
    is_recipe_overridden,
    is_shared_value,
    matched_recipe,
    posterior_recipe,
    protocol_on,
    reference_with_sources,
    resolve,
    shared_training_settings,
    study_hyperparameters,
)
from search_spaces.schema import Study
from search_spaces.spaces import spaces_yaml_values
from trainables.run.recipe import Recipe

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from search_spaces.yaml_lines import KeyPath

YamlTree = dict[str, Any]
"""Nested mappings of YAML values."""

SourcesByKeyPath = dict["KeyPath", "str | KeyPath"]
"""Source of each exported value by key path: a text, or the key path at which the study sets it."""

_RECIPE_ADAPTER = TypeAdapter(Recipe)

SCHEDULE_SOURCE = "by the schedule"
"""Source text of a protocol that follows from the schedule, since the study states none."""

_RESOLVED_KEYS = {
    *("recipe", "hyperparameters", "reference", "recipes", "overrides", "posterior"),
    "deviations",
}
"""Top-level keys whose exported values are derived instead of copied from the study."""


def export_study(study: Study) -> tuple[YamlTree, SourcesByKeyPath]:
    """Return a study as YAML values, with every default and derived value written out.

    Values that hold for all scenarios become keys of the study; the others form one override for
    each scenario. Of the deviations, those that hold are exported, as texts without conditions.

    Returns:
        The YAML values, and the sources of those values that the study does not set at the same
        path.
    """
    sources: SourcesByKeyPath = {}
    study_values = study.model_dump(mode="json", exclude=_RESOLVED_KEYS) | {
        "recipe": recipe_yaml_values(matched_recipe(study)),
        "hyperparameters": _export_hyperparameters(study, sources),
        "reference": _export_references(study, sources),
        "recipes": _export_recipes(study, sources),
        "overrides": _export_overrides(study, sources),
        "posterior": _export_posterior(study, sources),
        "deviations": list(applicable_deviations(study)),
    }
    study_values["search"]["space"] = {
        method: spaces_yaml_values(study.space_of(method))
        for method in [*study.tune, *study.search.space]
    }
    if study.tune:
        study_values["search"]["scenario"] = study.search.scenario or study.scenarios[0]
    protocol_keys = {protocol_on(study, scenario).key for scenario in study.scenarios}
    if study.search.protocol is None and len(protocol_keys) == 1:
        (study_values["search"]["protocol"],) = protocol_keys
        sources["search", "protocol"] = SCHEDULE_SOURCE
    return {key: study_values[key] for key in Study.model_fields}, sources


def preset_notes(study: Study, exported_values: YamlTree) -> dict[KeyPath, str]:
    """Return the notes on hyperparameters that contradict a preset, by key path of the export.

    Args:
        study: study that names the presets.
        exported_values: YAML values of the study, from `export_study`.
    """
    exported_sections: list[tuple[KeyPath, YamlTree, Mapping[str, SourcedValue]]] = [
        (("hyperparameters", method), section, study_hyperparameters(study, method))
        for method, section in exported_values["hyperparameters"].items()
    ]
    exported_sections += [
        (
            ("overrides", position, "hyperparameters", method),
            section,
            resolve(study, method, entry["scenario"]).sourced_hyperparameters,
        )
        for position, entry in enumerate(exported_values["overrides"])
        for method, section in entry.get("hyperparameters", {}).items()
    ]
    return {
        (*key_path, name): values[name].preset_note
        for key_path, section, values in exported_sections
        for name in section
        if values[name].preset_note
    }


def recipe_yaml_values(recipe: Recipe) -> YamlTree:
    """Convert a recipe to YAML values."""
    values: YamlTree = _RECIPE_ADAPTER.dump_python(recipe, mode="json")
    return values


def _without_empty(section: YamlTree) -> YamlTree:
    """Return the keys of a section whose values are not empty."""
    return {key: value for key, value in section.items() if value}


def _exported_methods(study: Study) -> dict[str, None]:
    """Return the names of the methods whose hyperparameters are exported, as ordered keys."""
    return dict.fromkeys([*study.methods, *study.hyperparameters])


def _export_hyperparameters(study: Study, sources: SourcesByKeyPath) -> YamlTree:
    values = {
        method: {
            name: value
            for name, value in study_hyperparameters(study, method).items()
            if name
            not in {
                *study.searched_or_reference_names(method),
                *reference_with_sources(study, method),
            }
        }
        for method in _exported_methods(study)
    }
    return _without_empty(_export_by_method(values, ("hyperparameters",), sources))


def _export_references(study: Study, sources: SourcesByKeyPath) -> YamlTree:
    methods = [*study.reference, *_exported_methods(study)]
    values = {method: reference_with_sources(study, method) for method in methods}
    section = _export_by_method(values, ("reference",), sources)
    return {method: {} for method in study.reference} | _without_empty(section)


def _export_by_method(
    values: Mapping[str, Mapping[str, SourcedValue]], key_path: KeyPath, sources: SourcesByKeyPath
) -> YamlTree:
    """Convert hyperparameters by method to YAML values, and add their sources to `sources`.

    Args:
        values: values by method and hyperparameter.
        key_path: key path of the exported section.
        sources: sources of the exported values, extended in place.
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


def _export_recipes(study: Study, sources: SourcesByKeyPath) -> YamlTree:
    return {
        method: _export_training_settings(training, ("recipes", method), sources)
        for method in _methods_with_recipe(study)
        if (training := shared_training_settings(study, method)) is not None
    }


def _methods_with_recipe(study: Study) -> Iterable[str]:
    """Return the methods for which the study, or an override that applies, chooses a recipe."""
    overrides = [
        override for override in study.overrides if any(map(override.applies_to, study.scenarios))
    ]
    overridden_methods = [method for override in overrides for method in override.recipes]
    return dict.fromkeys([*study.recipes, *overridden_methods])


def _export_training_settings(
    training: TrainingSettings, key_path: KeyPath, sources: SourcesByKeyPath
) -> YamlTree:
    sources |= {(*key_path, *key): text for key, text in training.sources.items()}
    return {
        "recipe": recipe_yaml_values(training.recipe),
        "kind": training.kind,
        "source": training.source,
        "hold_out": training.hold_out,
        "selection": str(training.selection),
        "stages": {role: recipe_yaml_values(recipe) for role, recipe in training.stages.items()},
    }


def _export_overrides(study: Study, sources: SourcesByKeyPath) -> list[YamlTree]:
    entries: list[YamlTree] = []
    for scenario in study.scenarios:
        key_path = ("overrides", len(entries))
        entry = {
            "recipe": _export_override_recipe(study, scenario, key_path, sources),
            "hyperparameters": _export_override_hyperparameters(study, scenario, key_path, sources),
            "recipes": _export_override_training_settings(study, scenario, key_path, sources),
        }
        if values := _without_empty(entry):
            entries.append({"scenario": scenario, **values})
    return entries


def _export_override_recipe(
    study: Study, scenario: str, key_path: KeyPath, sources: SourcesByKeyPath
) -> YamlTree:
    if not is_recipe_overridden(study, scenario):
        return {}
    for position, override in reversed(study.overrides_for(scenario)):
        source = override.source or ("overrides", position)
        sources |= {(*key_path, "recipe", name): source for name in override.recipe.stated_values}
    return recipe_yaml_values(matched_recipe(study, scenario))


def _export_override_hyperparameters(
    study: Study, scenario: str, key_path: KeyPath, sources: SourcesByKeyPath
) -> YamlTree:
    exported_methods = _exported_methods(study)
    overridden_methods = [
        method
        for _, override in reversed(study.overrides_for(scenario))
        for method in override.hyperparameters
    ]
    values = {
        method: {
            name: value
            for name, value in resolve(study, method, scenario).sourced_hyperparameters.items()
            if not is_shared_value(study, method, name, value)
            and (method in exported_methods or value.layer == "override")
        }
        for method in dict.fromkeys([*overridden_methods, *exported_methods])
    }
    return _without_empty(_export_by_method(values, (*key_path, "hyperparameters"), sources))


def _export_override_training_settings(
    study: Study, scenario: str, key_path: KeyPath, sources: SourcesByKeyPath
) -> YamlTree:
    return {
        method: _export_training_settings(training, (*key_path, "recipes", method), sources)
        for method in _methods_with_recipe(study)
        if shared_training_settings(study, method) is None
        and (training := resolve(study, method, scenario).training).kind != "matched"
    }


def _export_posterior(study: Study, sources: SourcesByKeyPath) -> YamlTree:
    recipe = study.posterior.recipe
    if recipe is not None:
        inherited_names = [
            field.name for field in fields(Recipe) if field.name not in recipe.stated_values
        ]
        sources |= {("posterior", "recipe", name): STUDY_SOURCE for name in inherited_names}
    posterior_values = study.posterior.model_dump(mode="json")
    return posterior_values | {
        "recipe": None if recipe is None else recipe_yaml_values(posterior_recipe(study))
    }
