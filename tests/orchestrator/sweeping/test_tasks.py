"""Order of the runs in a `RunList`."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
from factories import make_result, make_spec

from orchestrator.sweeping.tasks import Answer, RunList
from trainables.errors import NalError
from trainables.run.parameters import FrozenMap

if TYPE_CHECKING:
    from trainables.run.result import RunResult

NEED, OTHER = make_spec(seed=1), make_spec(seed=2)
DEPENDENT = replace(make_spec(seed=3), needs=FrozenMap({"teacher": NEED.digest}))


def test_a_run_waits_for_its_needs() -> None:
    ended: list[RunResult] = []
    task_source = RunList([NEED, DEPENDENT, OTHER], ended.append)
    first, other = task_source.next(), task_source.next()
    assert first is not None
    assert other is not None
    assert (first.spec, other.spec) == (NEED, OTHER)
    assert task_source.next() is None
    assert task_source.report(first, [{"epoch": 1.0}]) is Answer.CONTINUE
    result = make_result(NEED)
    task_source.end(first, result)
    last = task_source.next()
    assert last is not None
    assert last.spec == DEPENDENT
    task_source.end(other, make_result(OTHER))
    assert not task_source.done
    task_source.end(last, make_result(DEPENDENT))
    assert task_source.done
    assert ended[0] is result
    assert len(ended) == 3


def test_a_need_outside_the_list_counts_as_ended() -> None:
    task = RunList([DEPENDENT], lambda _: None).next()
    assert task is not None
    assert task.spec == DEPENDENT


def test_a_run_that_fails_raises_an_error() -> None:
    task_source = RunList([NEED], lambda _: None)
    task = task_source.next()
    assert task is not None
    message = rf"^nal on symmetric-0.4, {NEED.digest[:12]}, could not be carried out: a bug$"
    with pytest.raises(NalError, match=message):
        task_source.end(task, None, "a bug")


def test_an_empty_list_is_done() -> None:
    assert RunList([], lambda _: None).done
