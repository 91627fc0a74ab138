"""Hyperparameters that a study takes from what is published of a method: settings and presets."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from search_spaces.settled import Settled, Special, Tree, list_of, mapping_of
from trainables.errors import FieldError, suggest
from trainables.methods import METHODS, method_of
from trainables.methods.published import Setting, matching

if TYPE_CHECKING:
    from trainables.methods import Method

Sourced = dict[str, tuple[Any, str]]
"""Value and source by hyperparameter."""


def settle_values(settled: Settled, specials: dict[str, Special]) -> None:
    """Write out published values where the study says none, and presets.

    What is the same on all scenarios stands with the study, the rest with its scenario. A setting
    that gives all that is searched becomes a tuned method's reference if the study has none.

    Raises:
        FieldError: an unknown preset, or one without values for the dataset.
    """
    tree = settled.tree
    section = tree.get("hyperparameters", {})
    if not isinstance(section, dict):
        return
    methods = [name for name in list_of(tree.get("methods")) if isinstance(name, str)]
    for method in dict.fromkeys([*methods, *section]):
        given = section.get(method, {})
        if method not in METHODS or not isinstance(given, dict):
            continue
        kind = method_of(method)
        preset = given.pop("preset", None)
        _add_reference(settled, kind, list(specials))
        taken = {*given, *free_names(tree, kind)}
        found: dict[str, Sourced] = {}
        for scenario, special in specials.items():
            own = mapping_of(mapping_of(special.tree.get("hyperparameters")).get(method))
            published = _published(kind, tree, scenario, preset)
            found[scenario] = {
                name: value
                for name, value in published.items()
                if name not in taken and name not in own
            }
        _write(settled, specials, method, found)


def preset_of(
    method: type[Method], tree: Tree, scenario: str, preset: object, path: str
) -> Setting:
    """Return the values of a preset for a study's dataset and a scenario.

    Raises:
        FieldError: there is no such preset, or it has no values for them; at `path`.
    """
    if not isinstance(preset, str) or preset not in method.presets:
        tail = suggest(str(preset), method.presets) if method.presets else "it has none"
        raise FieldError(path, f"method {method.name} has no preset '{preset}': {tail}")
    found = matching(method.presets[preset], tree["dataset"], scenario)
    if found is None:
        known = ", ".join(entry.dataset for entry in method.presets[preset])
        raise FieldError(
            path,
            f"preset {preset} of {method.name} has no values for dataset {tree['dataset']}, only "
            f"for {known}: write them out",
        )
    return found


def free_names(tree: Tree, method: type[Method]) -> list[str]:
    """Return what of a method is searched or has a reference, and so is not fixed."""
    free = list(mapping_of(mapping_of(tree.get("reference")).get(method.name)))
    tuned = method.name in list_of(tree.get("tune"))
    return [*free, *(searched_names(tree, method) if tuned else ())]


def searched_names(tree: Tree, method: type[Method]) -> list[str]:
    """Return what of a method is searched where it is tuned."""
    said = mapping_of(mapping_of(tree.get("search")).get("space")).get(method.name)
    if isinstance(said, dict):
        return list(said)
    declared = [parameter.name for parameter in method.parameters if parameter.space is not None]
    given = mapping_of(mapping_of(tree.get("hyperparameters")).get(method.name))
    return [*(name for name in declared if name not in given), *method.recipe_space]


def _published(method: type[Method], tree: Tree, scenario: str, preset: object) -> Sourced:
    found: Sourced = {}
    setting = matching(method.settings, tree["dataset"], scenario)
    if setting is not None:
        found |= {name: (value, setting.source) for name, value in setting.values.items()}
    if preset is not None:
        where = f"hyperparameters.{method.name}.preset"
        chosen = preset_of(method, tree, scenario, preset, where)
        text = f"preset {preset}: {chosen.source}"
        found |= {name: (value, text) for name, value in chosen.values.items()}
    return found


def _write(
    settled: Settled, specials: dict[str, Special], method: str, found: dict[str, Sourced]
) -> None:
    first = next(iter(found.values()))
    for name in dict.fromkeys(name for values in found.values() for name in values):
        said = {scenario: values.get(name) for scenario, values in found.items()}
        path = ("hyperparameters", method, name)
        if all(value == first.get(name) for value in said.values()):
            value, settled.sources[path] = first[name]
            section = settled.tree.setdefault("hyperparameters", {})
            section.setdefault(method, {})[name] = value
            continue
        for scenario, one in said.items():
            if one is not None:
                special = specials[scenario]
                values = special.tree.setdefault("hyperparameters", {}).setdefault(method, {})
                values[name], special.sources[path] = one


def _add_reference(settled: Settled, method: type[Method], scenarios: list[str]) -> None:
    tree = settled.tree
    tuned = method.name in list_of(tree.get("tune"))
    if not tuned or method.name in mapping_of(tree.get("reference")):
        return
    searched = searched_names(tree, method)
    settings = [matching(method.settings, tree["dataset"], name) for name in scenarios]
    setting = settings[0]
    if not searched or setting is None or any(other is not setting for other in settings):
        return
    if all(name in setting.values for name in searched):
        values = {name: setting.values[name] for name in searched}
        tree.setdefault("reference", {})[method.name] = values
        for name in searched:
            settled.sources["reference", method.name, name] = setting.source
