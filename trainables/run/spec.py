"""The specification of one run, which determines every bit of its training, and its digest."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field, fields
from typing import TYPE_CHECKING, Any, Literal

from trainables.backbones import BACKBONES
from trainables.errors import FieldError, RecordError
from trainables.methods import METHODS
from trainables.run.identity import NEUTRAL, canonical_json, digest_of, identity_of
from trainables.run.parameters import FrozenMap, Parameter, with_neutral, without_neutral
from trainables.run.recipe import Recipe
from trainables.run.schedules import KINDS
from trainables.run.seeds import Seeds

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence


REVISION = 1
"""Revision of the training code; raised whenever it computes other bits for the same spec."""

Unreadable = Literal["fail", "skip"]

SPLITS = ("val", "clean_val", "test")
"""Names of the splits that a run may evaluate.

"val" holds the held-out samples with their noisy labels; "clean_val" the dataset's own validation
split or, if it has none, the held-out samples with their true labels, for published recipes that
choose an epoch by it; "test" all test splits of the dataset."""


@dataclass(frozen=True, slots=True)
class RunSpec:
    """Complete description of one run: equal specs give equal bits on the same kind of device.

    A spec names the source of the noisy labels instead of the labels themselves, so that all specs
    of a sweep are known before anything is trained. That source consists of the data, the scenario,
    the seeds of the axes `noise` and `subset`, the run whose class probabilities the labels are
    drawn from (`needs["posterior"]`) and the annotations.

    Attributes:
        dataset: name of the dataset.
        data: SHA-256 of the dataset's content (images and true labels of all splits).
        subset: number of training samples that are used; None for all.
        scenario: name of the label noise.
        backbone: name of the architecture.
        backbone_parameters: values of all parameters of the backbone.
        method: name of the method.
        hyperparameters: values of all parameters of the method.
        recipe: settings of the optimisation.
        hold_out: fraction of the training samples held out, drawn with the `split` axis.
        evaluate: names of the splits to evaluate, from `SPLITS`; the others are never read.
        seeds: base seed of each random axis.
        annotations: SHA-256 of the labels that the scenario reads (human annotations or a file of
            the user's), as a little-endian int64 vector over the whole training split; "" if the
            scenario reads none.
        balanced: whether the subset has the same number of samples of every class, according to
            the labels that come with the dataset.
        unreadable: treatment of pictures that cannot be decoded: "fail" ends the run, "skip"
            leaves the sample out and counts it in the record.
        needs: digests of the runs whose outcomes this run uses, by role: "posterior" for its
            labels, other roles for its method.
        code: SHA-256 of the source of each extension (method, backbone, noise or dataset from
            outside the package), by the extension's name.
        threads: number of CPU threads of the training.
        revision: revision of the training code.
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
    annotations: str = field(default="", metadata=NEUTRAL)
    balanced: bool = field(default=False, metadata=NEUTRAL)
    unreadable: Unreadable = field(default="fail", metadata=NEUTRAL)
    needs: FrozenMap = field(default=FrozenMap(), metadata=NEUTRAL)
    code: FrozenMap = field(default=FrozenMap(), metadata=NEUTRAL)
    threads: int = 1
    revision: int = REVISION
    _digest: str = field(default="", init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        if not 0 <= self.hold_out < 1:
            raise FieldError("hold_out", f"hold_out must be in [0, 1), got {self.hold_out:g}")
        object.__setattr__(self, "hold_out", float(self.hold_out))  # 0 and 0.0 share one digest
        if self.subset is not None and self.subset < 1:
            raise FieldError("subset", f"subset must be at least 1, got {self.subset}")
        for name in self.evaluate:
            if name not in SPLITS:
                raise FieldError("evaluate", f"unknown split '{name}'; known: {', '.join(SPLITS)}")
        if "val" in self.evaluate and self.hold_out == 0:
            raise FieldError("hold_out", "hold_out must be above 0 where 'val' is evaluated")
        if self.threads < 1:
            raise FieldError("threads", f"threads must be at least 1, got {self.threads}")

    def to_dict(self) -> dict[str, Any]:
        """Return all fields of the spec as plain JSON values."""
        plain = {entry.name: getattr(self, entry.name) for entry in fields(self) if entry.init}
        for name in ("backbone_parameters", "hyperparameters", "needs", "code"):
            plain[name] = dict(plain[name])
        return {**plain, "recipe": asdict(self.recipe), "seeds": asdict(self.seeds)}

    def identity(self) -> dict[str, Any]:
        """Return the plain JSON values that are hashed: all fields but those at a neutral value."""
        return {
            **identity_of(self),
            "hyperparameters": without_neutral(
                self.hyperparameters, _parameters(METHODS, self.method)
            ),
            "backbone_parameters": without_neutral(
                self.backbone_parameters, _parameters(BACKBONES, self.backbone)
            ),
        }

    def to_json(self) -> str:
        """Return the spec as canonical JSON, which `from_dict` reads back."""
        return canonical_json(self.identity())

    @property
    def digest(self) -> str:
        """SHA-256 of the canonical JSON, which names the run."""
        if not self._digest:  # cached: read many times a second, 0.1 ms to compute
            object.__setattr__(self, "_digest", digest_of(self.identity()))
        return self._digest

    @classmethod
    def from_dict(cls, plain: Mapping[str, Any]) -> RunSpec:
        """Return the spec that JSON values describe; fields at a neutral value may be missing.

        Raises:
            RecordError: if a key is missing or unknown, or a value is not allowed.
        """
        try:
            recipe = dict(plain["recipe"])
            schedule = dict(recipe["schedule"])
            recipe["schedule"] = KINDS[schedule["kind"]](**_lists_to_tuples(schedule))
            method, backbone = plain["method"], plain["backbone"]
            hyperparameters = FrozenMap(_lists_to_tuples(plain["hyperparameters"]))
            backbone_parameters = FrozenMap(_lists_to_tuples(plain["backbone_parameters"]))
            return cls(
                **{
                    **_lists_to_tuples(plain),
                    "backbone_parameters": with_neutral(
                        backbone_parameters, _parameters(BACKBONES, backbone)
                    ),
                    "hyperparameters": with_neutral(hyperparameters, _parameters(METHODS, method)),
                    "recipe": Recipe(**_lists_to_tuples(recipe)),
                    "seeds": Seeds(**plain["seeds"]),
                    "needs": FrozenMap(plain.get("needs", {})),
                    "code": FrozenMap(plain.get("code", {})),
                }
            )
        except (KeyError, TypeError, FieldError) as error:
            raise RecordError(f"not a run spec of this version: {error}") from error


def check_revision(spec: RunSpec) -> None:
    """Check that a spec was made under the present revision of the training code.

    Raises:
        RecordError: if the revisions differ, since training would give other bits than recorded.
    """
    if spec.revision != REVISION:
        raise RecordError(
            f"run {spec.digest[:12]} was made under revision {spec.revision} of the training code, "
            f"this is revision {REVISION}: install the version that made it, or train it anew "
            "under a new digest"
        )


def _parameters(registry: Mapping[str, Any], name: str) -> Sequence[Parameter]:
    """Return the parameters of a method or backbone, or none if its name is unknown."""
    return registry[name].parameters if name in registry else ()


def _lists_to_tuples(plain: Mapping[str, Any]) -> dict[str, Any]:
    return {key: tuple(v) if isinstance(v, list) else v for key, v in plain.items()}
