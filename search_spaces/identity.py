"""Identity of a study: the values that enter the digest of its sweep.

These are the values that change which runs are trained or which hyperparameters are chosen.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pydantic import BaseModel

from search_spaces.fields import Architecture, has_neutral_value
from search_spaces.resolve import ResolvedMethod, posterior_recipe, reference_of, resolve
from search_spaces.rungs import stopping_identity
from trainables.backbones import backbone_of
from trainables.extensions import code_hashes
from trainables.methods import method_of
from trainables.noise import noise_of
from trainables.run.identity import identity_of
from trainables.run.parameters import FrozenMap, without_neutral_values
from trainables.run.protocols import HeldOutCycleEnds

if TYPE_CHECKING:
    from collections.abc import Mapping

    from search_spaces.schema import Study

RESOLVED_KEYS = (
    *("scenarios", "methods", "recipe", "hyperparameters", "recipes", "overrides"),
    *("tune", "reference", "vary", "backbone", "posterior"),
)
"""Keys of a study that enter the identity only through the values derived from them."""

EXCLUDED_KEYS_BY_SECTION: Mapping[str, tuple[str, ...]] = {
    "study": ("title", "deviations", "diagnostics", "budget", "keep", *RESOLVED_KEYS),
    "search": (
        *("trials", "scenario", "scope", "space", "protocol", "cycles", "seeds"),
        "scheduler",
    ),
    "select": ("candidates", "seeds"),
    "confirm": ("seeds", "cross"),
    "resources": ("gpus", "runs_per_gpu"),
}
"""Keys whose values, as the study states them, are not part of the identity, by section.

Either values derived from them are part of the identity (`RESOLVED_KEYS`), or they change only the
number of runs, the place of their training or what is shown.
"""


def study_identity(study: Study) -> dict[str, Any]:
    """Return the values of a study that enter the digest of its sweep, as JSON values.

    The identity depends neither on the order of methods and scenarios nor on the file or flag that
    sets a value. A key declared with `fields.field_added_later` is left out while it has its
    neutral value, with which a study behaves as it did before the key existed.
    """
    stated_values = _section_identity(study, "study")
    # A search had a single seed at first, under another key.
    first_seed, *other_seeds = study.search.seeds
    stated_values["search"]["seed"] = first_seed
    if other_seeds:
        stated_values["search"]["seeds"] = [first_seed, *other_seeds]
    if not study.tune:
        # Of these settings, only `hold_out` has an effect, and each method's entry contains it.
        del stated_values["search"]
    code_hashes = study_code_hashes(study)
    return {
        **stated_values,
        **({"code": code_hashes} if code_hashes else {}),
        "backbone": _backbone_identity(study.backbone),
        "methods": {
            method: {
                name: _method_identity(resolve(study, method, name)) for name in study.scenarios
            }
            for method in study.methods
        },
        "searches": {
            method: {
                "space": {
                    name: identity_of(space) for name, space in study.space_of(method).items()
                },
                "reference": dict(reference_of(study, method) or {}),
                **_stopping_identity(study, method),
            }
            for method in study.tune
        },
        "searched": {
            searched: sorted(scenarios) for searched, scenarios in study.search_scenarios.items()
        },
        "vary": {
            method: {name: sorted(values) for name, values in values_by_name.items()}
            for method, values_by_name in study.vary.items()
        },
        "posterior": _posterior_identity(study),
    }


def _stopping_identity(study: Study, method: str) -> dict[str, Any]:
    """Return the rules that stop trials of a method early, by the searched scenario."""
    rules = {name: stopping_identity(study, method, name) for name in study.search_scenarios}
    return {"stopping": rules} if any(rules.values()) else {}


def study_code_hashes(study: Study) -> dict[str, str]:
    """Return the SHA-256 of the source code of each extension of a study, by extension name."""
    return code_hashes(
        (
            ("dataset", study.dataset),
            ("backbone", study.backbone.name),
            ("backbone", (study.posterior.backbone or study.backbone).name),
            *(("method", method) for method in study.methods),
            *(("noise", scenario) for scenario in study.scenarios),
        )
    )


def _section_identity(section: BaseModel, name: str) -> dict[str, Any]:
    """Return the stated values of a section that are part of the study's identity."""
    section_values = section.model_dump(
        mode="json", exclude=set(EXCLUDED_KEYS_BY_SECTION.get(name, ()))
    )
    for key in list(section_values):
        value = getattr(section, key)
        if isinstance(value, BaseModel):
            section_values[key] = _section_identity(value, key)
        if has_neutral_value(section, key) or section_values[key] == {}:
            del section_values[key]
    return section_values


def _method_identity(resolved: ResolvedMethod) -> dict[str, Any]:
    """Return the identity of a method on a scenario."""
    # The mean over the last epochs was the only protocol at first, and is therefore left out.
    protocol = resolved.protocol
    cycle_ends = {"protocol": protocol.identity} if isinstance(protocol, HeldOutCycleEnds) else {}
    return {
        **cycle_ends,
        "hyperparameters": _hyperparameter_identity(resolved.method, resolved.hyperparameters),
        "recipe": identity_of(resolved.recipe),
        "hold_out": resolved.confirm_hold_out,
        "selection": resolved.selection.name.lower(),
        "stages": {
            role: {
                "method": stage.method,
                "hyperparameters": _hyperparameter_identity(stage.method, stage.hyperparameters),
                "recipe": identity_of(stage.recipe),
            }
            for role, stage in resolved.stages.items()
        },
    }


def _hyperparameter_identity(method: str, values: FrozenMap) -> dict[str, Any]:
    return without_neutral_values(values, method_of(method).parameters)


def _backbone_identity(backbone: Architecture) -> dict[str, Any]:
    parameters = backbone_of(backbone.name).parameters
    return {
        "name": backbone.name,
        "parameters": without_neutral_values(backbone.parameters, parameters),
    }


def _posterior_identity(study: Study) -> dict[str, Any] | None:
    if not any(noise_of(name).needs_posterior for name in study.scenarios):
        return None
    return {
        "backbone": _backbone_identity(study.posterior.backbone or study.backbone),
        "recipe": identity_of(posterior_recipe(study)),
        "seed": study.posterior.seed,
    }
