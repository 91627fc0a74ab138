"""Known runs, each after those that it needs."""

from __future__ import annotations

from dataclasses import replace

import pytest
from factories import make_result, make_spec

from orchestrator.sweeping.tasks import Answer, RunList
from trainables.errors import NalError
from trainables.run.parameters import FrozenMap

NEEDED, OTHER = make_spec(seed=1), make_spec(seed=2)
NEEDS = replace(make_spec(seed=3), needs=FrozenMap({"teacher": NEEDED.digest}))


def test_a_run_waits_for_those_that_it_needs() -> None:
    ended = []
    work = RunList([NEEDED, NEEDS, OTHER], ended.append)
    first, other = work.next(), work.next()
    assert first is not None
    assert other is not None
    assert (first.spec, other.spec) == (NEEDED, OTHER)
    assert work.next() is None
    assert work.report(first, [{"epoch": 1.0}]) is Answer.CONTINUE
    result = make_result(NEEDED)
    work.end(first, result)
    last = work.next()
    assert last is not None
    assert last.spec == NEEDS
    work.end(other, make_result(OTHER))
    assert not work.done
    work.end(last, make_result(NEEDS))
    assert work.done
    assert ended[0] is result
    assert len(ended) == 3


def test_a_needed_run_that_is_not_in_the_list_has_ended_before() -> None:
    task = RunList([NEEDS], lambda _: None).next()
    assert task is not None
    assert task.spec == NEEDS


def test_a_run_that_cannot_be_carried_out_ends_the_list() -> None:
    work = RunList([NEEDED], lambda _: None)
    task = work.next()
    assert task is not None
    words = rf"^nal on symmetric-0.4, {NEEDED.digest[:12]}, could not be carried out: a bug$"
    with pytest.raises(NalError, match=words):
        work.end(task, None, "a bug")


def test_nothing_to_do() -> None:
    assert RunList([], lambda _: None).done
