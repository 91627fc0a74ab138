"""A resolved study written out as a study: what `show` prints, and what loads as the same again."""

from __future__ import annotations

from dataclasses import asdict, fields
from typing import TYPE_CHECKING, Any

from pydantic import TypeAdapter

from search_spaces.fields import listed
from search_spaces.resolve import (
    AS_IN_THE_STUDY,
    SourcedValue,
    Training,
    has_own_recipe,
    is_shared,
    matched_recipe,
    posterior_recipe,
    reference_values,
    resolve,
    shared_training,
    study_values,
)
from search_spaces.schema import Study
from trainables.run.recipe import Recipe

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from search_spaces.yaml_lines import KeyPath

Tree = dict[str, Any]
Sources = dict["KeyPath", "str | KeyPath"]
"""By path in what is written out: a text, or the path at which the study says the value."""

_RECIPE = TypeAdapter(Recipe)
_RESOLVED = {"recipe", "hyperparameters", "reference", "recipes", "overrides", "posterior"}


def export_study(study: Study) -> tuple[Tree, Sources]:
    """Write a study with every value that it resolves to.

    What is the same on all scenarios stands with the study, the rest in one override for each
    scenario.

    Returns:
        The study as YAML values, and where those come from that it does not say at their paths.
    """
    sources: Sources = {}
    plain = study.model_dump(mode="json", exclude=_RESOLVED) | {
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
    return {key: plain[key] for key in Study.model_fields}, sources


def plain_recipe(recipe: Recipe) -> Tree:
    """Return a recipe as YAML values."""
    values: Tree = _RECIPE.dump_python(recipe, mode="json")
    return values


def _without_empty(section: Tree) -> Tree:
    return {key: value for key, value in section.items() if value}


def _named_methods(study: Study) -> dict[str, None]:
    return dict.fromkeys([*study.methods, *study.hyperparameters])


def _hyperparameters(study: Study, sources: Sources) -> Tree:
    values = {
        method: {
            name: one
            for name, one in study_values(study, method).items()
            if name not in {*study.unfixed_names(method), *reference_values(study, method)}
        }
        for method in _named_methods(study)
    }
    return _without_empty(_by_method(values, ("hyperparameters",), sources))


def _references(study: Study, sources: Sources) -> Tree:
    methods = [*study.reference, *_named_methods(study)]
    values = {method: reference_values(study, method) for method in methods}
    section = _by_method(values, ("reference",), sources)
    return {method: {} for method in study.reference} | _without_empty(section)


def _by_method(
    values: Mapping[str, Mapping[str, SourcedValue]], at: KeyPath, sources: Sources
) -> Tree:
    """Write values by method at a path, with the sources of what is not said there."""
    sources |= {
        (*at, method, name): one.source or one.path
        for method, section in values.items()
        for name, one in section.items()
        if one.layer == "override" or (one.source and one.layer != "default")
    }
    return {
        method: listed({name: section[name].value for name in sorted(section)})
        for method, section in values.items()
    }


def _recipes(study: Study, sources: Sources) -> Tree:
    return {
        method: _plain_training(training, ("recipes", method), sources)
        for method in _trained_apart(study)
        if (training := shared_training(study, method)) is not None
    }


def _trained_apart(study: Study) -> Iterable[str]:
    """Return the methods for which the study says how they are trained."""
    applied = [one for one in study.overrides if any(map(one.applies_to, study.scenarios))]
    return dict.fromkeys([*study.recipes, *(name for one in applied for name in one.recipes)])


def _plain_training(training: Training, at: KeyPath, sources: Sources) -> Tree:
    sources |= {(*at, *path): text for path, text in training.sources.items()}
    return {
        "recipe": plain_recipe(training.recipe),
        "kind": training.kind,
        "source": training.source,
        "hold_out": training.hold_out,
        "selection": str(training.selection),
        "stages": {role: plain_recipe(recipe) for role, recipe in training.stages.items()},
    }


def _overrides(study: Study, sources: Sources) -> list[Tree]:
    entries: list[Tree] = []
    for scenario in study.scenarios:
        at = ("overrides", len(entries))
        entry = {
            "recipe": _override_recipe(study, scenario, at, sources),
            "hyperparameters": _override_values(study, scenario, at, sources),
            "recipes": _override_trainings(study, scenario, at, sources),
        }
        if content := _without_empty(entry):
            entries.append({"scenario": scenario, **content})
    return entries


def _override_recipe(study: Study, scenario: str, at: KeyPath, sources: Sources) -> Tree:
    if not has_own_recipe(study, scenario):
        return {}
    for position, override in reversed(study.overrides_for(scenario)):
        source = override.source or ("overrides", position)
        sources |= {(*at, "recipe", name): source for name in override.recipe.values}
    return plain_recipe(matched_recipe(study, scenario))


def _override_values(study: Study, scenario: str, at: KeyPath, sources: Sources) -> Tree:
    entries, named = study.overrides_for(scenario)[::-1], _named_methods(study)
    methods = dict.fromkeys([*(m for _, one in entries for m in one.hyperparameters), *named])
    values = {
        method: {
            name: one
            for name, one in resolve(study, method, scenario).values.items()
            if not is_shared(study, method, name, one)
            and (method in named or one.layer == "override")
        }
        for method in methods
    }
    return _without_empty(_by_method(values, (*at, "hyperparameters"), sources))


def _override_trainings(study: Study, scenario: str, at: KeyPath, sources: Sources) -> Tree:
    return {
        method: _plain_training(training, (*at, "recipes", method), sources)
        for method in _trained_apart(study)
        if shared_training(study, method) is None
        and (training := resolve(study, method, scenario).training).kind != "matched"
    }


def _posterior(study: Study, sources: Sources) -> Tree:
    own = study.posterior.recipe
    if own is not None:
        unsaid = [one.name for one in fields(Recipe) if one.name not in own.values]
        sources |= {("posterior", "recipe", name): AS_IN_THE_STUDY for name in unsaid}
    plain = study.posterior.model_dump(mode="json")
    return plain | {"recipe": None if own is None else plain_recipe(posterior_recipe(study))}
