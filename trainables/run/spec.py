"""The specification of a run, which determines every bit of the result, and its digest."""

from __future__ import annotations

from copy import deepcopy
from dataclasses import asdict, dataclass, field, fields, replace
from typing import TYPE_CHECKING, Any, Literal

from trainables.backbones import BACKBONES
from trainables.errors import FieldError, RecordError
from trainables.methods import METHODS
from trainables.run.identity import NEUTRAL_DEFAULT, canonical_json, digest_of, identity_of
from trainables.run.parameters import (
    FrozenMap,
    Parameter,
    with_neutral_values,
    without_neutral_values,
)
from trainables.run.recipe import Recipe
from trainables.run.schedules import SCHEDULE_KINDS
from trainables.run.seeds import Seeds

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence


REVISION = 2
"""Revision of the training code; increased whenever a change alters the bits of any result."""

UnreadablePolicy = Literal["fail", "skip"]
"""Names of the treatments of pictures that cannot be decoded, see `RunSpec.unreadable`."""

EVALUATION_SPLITS = ("val", "clean_val", "test")
"""Names of the splits of samples that a run may evaluate.

"val" is the held-out samples with their noisy labels. "clean_val" is the validation split of the
dataset or, if the dataset has none, the held-out samples with their true labels; published recipes
may choose an epoch by it. "test" is all test splits of the dataset."""


@dataclass(frozen=True, slots=True)
class RunSpec:
    """Complete description of one run: equal specs give equal bits on the same kind of device.

    A spec describes how the noisy labels are obtained instead of containing the labels, so that all
    specs of a sweep are known before anything is trained. The labels follow from the data, the
    scenario, the seeds of the axes `noise` and `subset`, the run that supplies the class
    probabilities for drawing labels (`needs["posterior"]`), and the annotations.

    Attributes:
        dataset: name of the dataset.
        data: SHA-256 of the dataset's content (images and true labels of all splits).
        subset: number of used training samples; None for all.
        scenario: name of the label noise, such as "symmetric-0.4".
        backbone: name of the architecture.
        backbone_parameters: value of each setting of the backbone.
        method: name of the method.
        hyperparameters: value of each setting of the method.
        recipe: settings of the optimisation.
        hold_out: fraction of the training samples that are held out, drawn with the seed of the
            axis `split`.
        evaluate: names of the splits to evaluate, from `EVALUATION_SPLITS`; other splits are never
            read.
        seeds: base seed of each random axis.
        annotations: SHA-256 of the labels that the scenario reads instead of drawing them (human
            annotations or a file of the user's), as a little-endian int64 vector over the whole
            training split; "" if labels are drawn.
        balanced: whether the subset has the same number of samples of every class, according to
            the labels in the dataset.
        test_subset: number of evaluated samples of each test split, equally many of every class;
            None for all.
        unreadable: treatment of pictures that cannot be decoded: "fail" ends the run, "skip"
            leaves the sample out and counts it in the record.
        needs: digests of the runs whose outcomes (such as predictions) this run uses, by role:
            "posterior" for the run from whose class probabilities labels are drawn; all other roles
            are earlier training stages of the method.
        code: SHA-256 of the source of each extension (method, backbone, noise or dataset from
            outside the package), by the extension's name.
        threads: number of CPU threads of the run.
        revision: revision of the training code, see `REVISION`.
    """

    dataset: str
    data: str
    subset: int | None
    scenario: str
    backbone: str
    backbone_parameters: FrozenMap
    method: str
    hyperparameters: FrozenMap
    recipe: Recipe
    hold_out: float
    evaluate: tuple[str, ...]
    seeds: Seeds
    annotations: str = field(default="", metadata=NEUTRAL_DEFAULT)
    balanced: bool = field(default=False, metadata=NEUTRAL_DEFAULT)
    test_subset: int | None = field(default=None, metadata=NEUTRAL_DEFAULT)
    unreadable: UnreadablePolicy = field(default="fail", metadata=NEUTRAL_DEFAULT)
    needs: FrozenMap = field(default=FrozenMap(), metadata=NEUTRAL_DEFAULT)
    code: FrozenMap = field(default=FrozenMap(), metadata=NEUTRAL_DEFAULT)
    threads: int = 1
    revision: int = REVISION
    _digest: str = field(default="", init=False, repr=False, compare=False)
    _settings: dict[str, Any] = field(default_factory=dict, init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        if not 0 <= self.hold_out < 1:
            raise FieldError("hold_out", f"hold_out must be in [0, 1), got {self.hold_out:g}")
        object.__setattr__(self, "hold_out", float(self.hold_out))  # 0 and 0.0 share one digest
        for name in ("subset", "test_subset"):
            count = getattr(self, name)
            if count is not None and count < 1:
                raise FieldError(name, f"{name} must be at least 1, got {count}")
        for name in self.evaluate:
            if name not in EVALUATION_SPLITS:
                raise FieldError(
                    "evaluate", f"unknown split '{name}'; known: {', '.join(EVALUATION_SPLITS)}"
                )
        if "val" in self.evaluate and self.hold_out == 0:
            raise FieldError("hold_out", "hold_out must be above 0 where 'val' is evaluated")
        if self.threads < 1:
            raise FieldError("threads", f"threads must be at least 1, got {self.threads}")

    def to_dict(self) -> dict[str, Any]:
        """Return all fields of the spec as a JSON object, which `from_dict` reads."""
        json_object = {
            entry.name: getattr(self, entry.name) for entry in fields(self) if entry.init
        }
        for name in ("backbone_parameters", "hyperparameters", "needs", "code"):
            json_object[name] = dict(json_object[name])
        return {**json_object, "recipe": asdict(self.recipe), "seeds": asdict(self.seeds)}

    def identity(self) -> dict[str, Any]:
        """Return the JSON object from which the digest of the spec is computed.

        A field or parameter that was added after a release is left out while it has its neutral
        value, under which runs behave as before.
        """
        return deepcopy(self._identity())

    def _identity(self) -> dict[str, Any]:
        """Return the identity of the spec, parts of which other specs share."""
        needs = {"needs": dict(self.needs)} if self.needs else {}
        return {**self._settings_identity(), "seeds": identity_of(self.seeds), **needs}

    def _settings_identity(self) -> dict[str, Any]:
        """Return what enters the digest of all runs with the same settings, whatever their seeds.

        It is computed once, since it takes most of the time of a digest.
        """
        if not self._settings:
            settings = {
                **identity_of(self),
                "hyperparameters": without_neutral_values(
                    self.hyperparameters, _parameters(METHODS, self.method)
                ),
                "backbone_parameters": without_neutral_values(
                    self.backbone_parameters, _parameters(BACKBONES, self.backbone)
                ),
            }
            self._settings.update(
                {key: settings[key] for key in settings.keys() - {"seeds", "needs"}}
            )
        return self._settings

    def with_seeds(self, seeds: Seeds, needs: FrozenMap) -> RunSpec:
        """Return the spec of a run with the same settings.

        Args:
            seeds: base seed of each random axis.
            needs: digests of the runs whose outcomes the run uses, by role.
        """
        spec = replace(self, seeds=seeds, needs=needs)
        object.__setattr__(spec, "_settings", self._settings_identity())
        return spec

    @property
    def title(self) -> str:
        """Title of the run for messages, such as "nal on symmetric-0.4, seed 0"."""
        return f"{self.method} on {self.scenario}, seed {self.seeds.init}"

    def to_json(self) -> str:
        """Return the canonical JSON text from which the digest of the spec is computed."""
        return canonical_json(self._identity())

    @property
    def digest(self) -> str:
        """SHA-256 of the spec's canonical JSON in hexadecimal, which is the name of the run."""
        if not self._digest:  # cached, since it is read often
            object.__setattr__(self, "_digest", digest_of(self._identity()))
        return self._digest

    @classmethod
    def from_dict(cls, json_object: Mapping[str, Any]) -> RunSpec:
        """Return the spec that a JSON object describes, as returned by `to_dict` or `identity`.

        Raises:
            RecordError: if a key is missing or unknown, or a value is not allowed.
        """
        try:
            recipe = dict(json_object["recipe"])
            schedule = dict(recipe["schedule"])
            recipe["schedule"] = SCHEDULE_KINDS[schedule["kind"]](**_lists_to_tuples(schedule))
            method, backbone = json_object["method"], json_object["backbone"]
            hyperparameters = FrozenMap(_lists_to_tuples(json_object["hyperparameters"]))
            backbone_parameters = FrozenMap(_lists_to_tuples(json_object["backbone_parameters"]))
            return cls(
                **{
                    **_lists_to_tuples(json_object),
                    "backbone_parameters": with_neutral_values(
                        backbone_parameters, _parameters(BACKBONES, backbone)
                    ),
                    "hyperparameters": with_neutral_values(
                        hyperparameters, _parameters(METHODS, method)
                    ),
                    "recipe": Recipe(**_lists_to_tuples(recipe)),
                    "seeds": Seeds(**json_object["seeds"]),
                    "needs": FrozenMap(json_object.get("needs", {})),
                    "code": FrozenMap(json_object.get("code", {})),
                }
            )
        except (KeyError, TypeError, FieldError) as error:
            raise RecordError(f"not a run spec of this version of the project: {error}") from error


def check_revision(spec: RunSpec) -> None:
    """Check that a spec belongs to the present revision of the training code.

    Raises:
        RecordError: if the revisions differ, since training would not reproduce the recorded bits.
    """
    if spec.revision != REVISION:
        raise RecordError(
            f"run {spec.digest[:12]} was made with revision {spec.revision} of the training code, "
            f"but revision {REVISION} is installed: install the version that made the run, or "
            "plan the run again with this version"
        )


def _parameters(registry: Mapping[str, Any], name: str) -> Sequence[Parameter]:
    """Return the parameters of a registered method or backbone; () if the name is unknown."""
    return registry[name].parameters if name in registry else ()


def _lists_to_tuples(json_object: Mapping[str, Any]) -> dict[str, Any]:
    return {
        key: tuple(value) if isinstance(value, list) else value
        for key, value in json_object.items()
    }
