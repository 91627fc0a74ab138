"""Identity of a study: the values that change what is trained or chosen, for its sweep's digest."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pydantic import BaseModel

from search_spaces.fields import Architecture, is_neutral
from search_spaces.resolve import ResolvedMethod, posterior_recipe, reference_of, resolve
from trainables.backbones import backbone_of
from trainables.extensions import code_of
from trainables.methods import method_of
from trainables.noise import noise_of
from trainables.run.identity import identity_of
from trainables.run.parameters import FrozenMap, without_neutral
from trainables.run.protocols import HeldOutCycleEnds

if TYPE_CHECKING:
    from collections.abc import Mapping

    from search_spaces.schema import Study

RESOLVED_KEYS = (
    *("scenarios", "methods", "recipe", "hyperparameters", "recipes", "overrides"),
    *("tune", "reference", "vary", "backbone", "posterior"),
)
"""Keys of a study that enter the identity through the values computed from them."""

KEYS_LEFT_OUT: Mapping[str, tuple[str, ...]] = {
    "study": ("title", "deviations", "diagnostics", *RESOLVED_KEYS),
    "search": ("trials", "scenario", "scope", "space", "protocol", "cycles"),
    "select": ("candidates", "seeds"),
    "confirm": ("seeds",),
    "resources": ("gpus",),
}
"""Keys whose written values are not part of the identity, by section of the study.

Either the values computed from them are part of it (`RESOLVED_KEYS`), or they only change how many
runs are trained, what is shown or where runs are trained.
"""


def study_identity(study: Study) -> dict[str, Any]:
    """Return all values of a study that change what is trained or chosen, as JSON values.

    The order of methods and scenarios does not matter, nor does the place at which a value is
    set. A key declared with `fields.added_key` is left out while it has its neutral value, with
    which a study behaves as it did before the key existed.
    """
    keys = _section_identity(study, "study")
    if not study.tune:
        del keys["search"]  # the held-out fraction of confirm is part of each cell
    code = study_code(study)
    return {
        **keys,
        **({"code": code} if code else {}),
        "backbone": _backbone_identity(study.backbone),
        "methods": {
            method: {name: _cell_identity(resolve(study, method, name)) for name in study.scenarios}
            for method in study.methods
        },
        "searches": {
            method: {
                "space": {
                    name: identity_of(space) for name, space in study.space_of(method).items()
                },
                "reference": dict(reference_of(study, method) or {}),
            }
            for method in study.tune
        },
        "searched": {name: sorted(served) for name, served in study.search_scenarios.items()},
        "vary": {
            method: {name: sorted(values) for name, values in varied.items()}
            for method, varied in study.vary.items()
        },
        "posterior": _posterior_identity(study),
    }


def study_code(study: Study) -> dict[str, str]:
    """Return the SHA-256 of the source of each extension of a study, by the extension's name."""
    return code_of(
        (
            ("dataset", study.dataset),
            ("backbone", study.backbone.name),
            ("backbone", (study.posterior.backbone or study.backbone).name),
            *(("method", method) for method in study.methods),
            *(("noise", scenario) for scenario in study.scenarios),
        )
    )


def _section_identity(section: BaseModel, name: str) -> dict[str, Any]:
    """Return the keys of a section whose written values are part of the study's identity."""
    plain = section.model_dump(mode="json", exclude=set(KEYS_LEFT_OUT.get(name, ())))
    for key in list(plain):
        value = getattr(section, key)
        if isinstance(value, BaseModel):
            plain[key] = _section_identity(value, key)
        if is_neutral(section, key) or plain[key] == {}:
            del plain[key]
    return plain


def _cell_identity(resolved: ResolvedMethod) -> dict[str, Any]:
    # The mean over the last epochs is what chose before there were other protocols: left out.
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
    return without_neutral(values, method_of(method).parameters)


def _backbone_identity(backbone: Architecture) -> dict[str, Any]:
    parameters = backbone_of(backbone.name).parameters
    return {"name": backbone.name, "parameters": without_neutral(backbone.parameters, parameters)}


def _posterior_identity(study: Study) -> dict[str, Any] | None:
    if not any(noise_of(name).needs_posterior for name in study.scenarios):
        return None
    return {
        "backbone": _backbone_identity(study.posterior.backbone or study.backbone),
        "recipe": identity_of(posterior_recipe(study)),
        "seed": study.posterior.seed,
    }
