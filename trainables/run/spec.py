"""RunSpec: everything that decides the bits of one training, and its digest."""

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
"""Raised whenever the training code gives the same spec other bits."""

Unreadable = Literal["fail", "skip"]

SPLITS = ("val", "clean_val", "test")
"""val: held-out samples with their noisy labels; clean_val: the dataset's own validation split, or
where it has none the held-out samples with their true labels, for published recipes that choose by
them; test: all test splits of the dataset."""


@dataclass(frozen=True, slots=True)
class RunSpec:
    """One training, described completely: equal specs give equal bits on the same kind of device.

    Noisy labels are named by what they are drawn from, not by what came out, so that all specs of a
    sweep are known before anything is trained: data, scenario, the seeds of `noise` and `subset`,
    the run whose class probabilities they are drawn from (`needs["posterior"]`), the annotations.

    Attributes:
        dataset: name of the dataset.
        data: SHA-256 of its content (images and true labels of all splits).
        subset: number of training samples used; None for all.
        scenario: name of the label noise.
        backbone: name of the architecture.
        backbone_parameters: its parameters, complete.
        method: name of the method.
        hyperparameters: its parameters, complete.
        recipe: how it is optimised.
        hold_out: fraction of the noisy training labels held out by the `split` axis.
        evaluate: the splits that are evaluated, from `SPLITS`; the others are not looked at.
        seeds: base seed of each random axis.
        annotations: SHA-256 of the labels that the scenario reads, of the whole training split as
            little-endian int64: human annotations, or a file of the user's; "" where it reads none.
        balanced: whether the subset has as many samples of each class, by the labels that come with
            the dataset.
        unreadable: what becomes of a picture that cannot be decoded: "fail" ends the run, "skip"
            leaves the sample out and counts it in the record.
        needs: digests of the runs whose outcomes it takes, by role: "posterior" for its labels,
            others for its method.
        threads: CPU threads of one training.
        revision: of the training code.
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
    threads: int = 1
    revision: int = REVISION
    _digest: str = field(default="", init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        if not 0 <= self.hold_out < 1:
            raise FieldError("hold_out", f"hold_out must be in [0, 1), got {self.hold_out:g}")
        object.__setattr__(self, "hold_out", float(self.hold_out))  # 0 and 0.0: one digest
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
        """Return the spec as plain JSON values, complete."""
        plain = {one.name: getattr(self, one.name) for one in fields(self) if one.init}
        for name in ("backbone_parameters", "hyperparameters", "needs"):
            plain[name] = dict(plain[name])
        return {**plain, "recipe": asdict(self.recipe), "seeds": asdict(self.seeds)}

    def identity(self) -> dict[str, Any]:
        """Return what the digest is taken of: plain JSON values, without what is neutral."""
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
        """Return the canonical JSON, from which `from_dict` reads the same spec."""
        return canonical_json(self.identity())

    @property
    def digest(self) -> str:
        """SHA-256 of the canonical JSON: the run's name."""
        if not self._digest:  # it is asked for many times a second, and costs 0.1 ms
            object.__setattr__(self, "_digest", digest_of(self.identity()))
        return self._digest

    @classmethod
    def from_dict(cls, plain: Mapping[str, Any]) -> RunSpec:
        """Read a spec back from its JSON values; what was neutral may be missing.

        Raises:
            RecordError: a key is missing or unknown, or a value is not allowed.
        """
        try:
            recipe = dict(plain["recipe"])
            schedule = dict(recipe["schedule"])
            recipe["schedule"] = KINDS[schedule["kind"]](**_tuples(schedule))
            method, backbone = plain["method"], plain["backbone"]
            hyperparameters = FrozenMap(_tuples(plain["hyperparameters"]))
            backbone_parameters = FrozenMap(_tuples(plain["backbone_parameters"]))
            return cls(
                **{
                    **_tuples(plain),
                    "backbone_parameters": with_neutral(
                        backbone_parameters, _parameters(BACKBONES, backbone)
                    ),
                    "hyperparameters": with_neutral(hyperparameters, _parameters(METHODS, method)),
                    "recipe": Recipe(**_tuples(recipe)),
                    "seeds": Seeds(**plain["seeds"]),
                    "needs": FrozenMap(plain.get("needs", {})),
                }
            )
        except (KeyError, TypeError, FieldError) as error:
            raise RecordError(f"not a run spec of this version: {error}") from error


def check_revision(spec: RunSpec) -> None:
    """See that a spec was made under this revision of the training code.

    Raises:
        RecordError: it was not, so that training it would give other bits than its record holds.
    """
    if spec.revision != REVISION:
        raise RecordError(
            f"run {spec.digest[:12]} was made under revision {spec.revision} of the training code, "
            f"this is revision {REVISION}: install the version that made it, or train it anew "
            "under a new digest"
        )


def _parameters(known: Mapping[str, Any], name: str) -> Sequence[Parameter]:
    """Return the parameters of a method or backbone; none for one that is not known here."""
    return known[name].parameters if name in known else ()


def _tuples(plain: Mapping[str, Any]) -> dict[str, Any]:
    return {key: tuple(v) if isinstance(v, list) else v for key, v in plain.items()}
