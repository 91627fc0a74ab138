from __future__ import annotations

import json

import pytest
from factories import make_cell, make_plan

from reports.plan_record import CandidateRecord, PlanRecord, ReferenceRecord, TuningRecord
from trainables.errors import RecordError
from trainables.run.parameters import AnySpace, ChoiceSpace, Prior, Space


def full_plan() -> PlanRecord:
    search = TuningRecord(
        method="nal",
        method_title="NAL",
        scenario="symmetric-0.4",
        serves=["symmetric-0.4"],
        space={"lambda": Space(0.05, 20, log=True), "alpha": Space(0.5, 0.99)},
        trials=2,
        digests=["a", "b"],
        reference=ReferenceRecord({"lambda": 0.5, "alpha": 0.9}, "paper, section 5"),
        candidates=[CandidateRecord({"lambda": 1.0, "alpha": 0.8}, "search", ["c", "d"])],
        chosen={"lambda": 1.0, "alpha": 0.8},
    )
    cell = make_cell(seeds=(0,), digests=["e"])
    return make_plan([cell], searches=[search], fixed_seeds={"subset": 0}, deviations=["α ≠ β"])


def test_json_round_trip() -> None:
    plan = full_plan()
    assert PlanRecord.from_json(plan.to_json()) == plan


def test_a_plan_of_a_version_with_one_seed_has_the_digest_of_the_chosen_trial() -> None:
    values = json.loads(full_plan().to_json())
    (search,) = values["searches"]
    for name in ("chosen_digests", "seeds", "sampler"):
        del search[name]
    search["chosen_digest"] = "b"
    (read,) = PlanRecord.from_json(json.dumps(values)).searches
    assert (read.chosen_digests, read.runs_by_trial) == (["b"], [["a"], ["b"]])
    search["chosen_digest"] = ""
    (read,) = PlanRecord.from_json(json.dumps(values)).searches
    assert read.chosen_digests == []


def test_the_runs_of_a_trial_follow_each_other() -> None:
    space = {"alpha": Space(0.5, 0.99)}
    search = TuningRecord("nal", "NAL", "clean", [], space, 2, list("abcdef"), seeds=3)
    assert search.runs_by_trial == [["a", "b", "c"], ["d", "e", "f"]]


def test_json_round_trip_of_every_kind_of_space() -> None:
    spaces: dict[str, AnySpace] = {
        "lambda": Space(0.05, 20, log=True, prior=Prior(0.2)),
        "target_interval": Space(1, 9, integer=True, when={"clamps": (False,)}),
        "clamps": ChoiceSpace((False, True)),
    }
    search = TuningRecord("nal", "NAL", "clean", [], spaces, trials=1, digests=[])
    plan = make_plan(searches=[search])
    assert PlanRecord.from_json(plan.to_json()) == plan
    written = json.loads(plan.to_json())["searches"][0]["space"]
    assert written["clamps"] == {"choices": [False, True]}
    assert written["target_interval"]["when"] == {"clamps": [False]}


def test_a_plain_space_is_written_as_before_there_were_others() -> None:
    written = json.loads(full_plan().to_json())["searches"][0]["space"]
    assert written["lambda"] == {"low": 0.05, "high": 20.0, "log": True}


def test_json_round_trip_of_an_unfinished_plan() -> None:
    search = TuningRecord("nal", "NAL", "clean", [], {}, trials=1, digests=[])
    plan = make_plan(searches=[search], state="running")
    assert PlanRecord.from_json(plan.to_json()) == plan


def test_digests_of_all_phases() -> None:
    plan = full_plan()
    assert plan.digests == {"a", "b", "c", "d", "e"}


@pytest.mark.parametrize(
    "text", ["", "[]", "{}", '{"sweep": "a", "cells": []}', b'{"sweep": "\xff"}']
)
def test_a_damaged_plan_is_refused(text: str | bytes) -> None:
    with pytest.raises(
        RecordError, match=r"^plan\.json is damaged or was written by another version: "
    ):
        PlanRecord.from_json(text)


def test_a_plan_of_another_shape_is_refused() -> None:
    values = json.loads(full_plan().to_json())
    values["searches"][0]["space"] = []
    with pytest.raises(RecordError, match=r"^plan\.json is damaged"):
        PlanRecord.from_json(json.dumps(values))


def test_an_unknown_key_is_refused() -> None:
    values = json.loads(full_plan().to_json())
    values["searches"][0]["pruner"] = "none"
    with pytest.raises(RecordError, match="pruner"):
        PlanRecord.from_json(json.dumps(values))


def test_a_cell_has_a_digest_per_seed() -> None:
    with pytest.raises(ValueError, match="2 seeds, but 1 digests"):
        make_cell(seeds=(0, 1), digests=["a"])


@pytest.mark.parametrize(
    ("origin", "tuned", "reference"),
    [
        ("tuned", True, False),
        ("reference", False, True),
        ("fixed", False, False),
        ("tuned, equals reference", True, True),
    ],
)
def test_origins(origin: str, *, tuned: bool, reference: bool) -> None:
    cell = make_cell(origin=origin)
    assert (cell.is_tuned, cell.has_reference_values) == (tuned, reference)


def test_a_plan_recorded_without_protocols_averages_the_last_epochs() -> None:
    values = json.loads(full_plan().to_json())
    del values["protocols"]
    plan = PlanRecord.from_json(json.dumps(values))
    assert plan == full_plan()
    assert plan.averaged_epochs == "last 3 epochs"


def test_the_averaged_epochs_are_those_of_the_protocols() -> None:
    mean = {"protocol": "held-out-mean", "window": 3}
    ends = {"protocol": "held-out-cycle-ends", "cycles": 3}
    one = make_plan(protocols={"clean": ends, "symmetric-0.4": ends})
    assert one.averaged_epochs == "last 3 cycle ends"
    assert PlanRecord.from_json(one.to_json()) == one
    both = make_plan(protocols={"clean": mean, "symmetric-0.4": ends})
    assert both.averaged_epochs == "last 3 epochs or last 3 cycle ends"
    values = json.loads(one.to_json())
    values["protocols"]["clean"]["protocol"] = "best-epoch"
    with pytest.raises(RecordError, match="unknown protocol"):
        PlanRecord.from_json(json.dumps(values))


def test_control_characters_of_texts_are_left_out() -> None:
    plan = make_plan([make_cell()], title="a\x1b[31m b\nc \u202ed", deviations=["\x07e"])
    parsed = PlanRecord.from_json(plan.to_json())
    assert (parsed.title, parsed.deviations) == ("a[31m b c d", ["e"])
