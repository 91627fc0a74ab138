"""The queue of runs: who has an order, and what becomes of it when a job dies."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from orchestrator.engine.slurm_queue import RunOrder, RunQueue, RunReport
from trainables.errors import RecordError

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def queue(tmp_path: Path) -> RunQueue:
    """A queue with the orders of two runs."""
    queue = RunQueue(tmp_path / "queue")
    queue.create()
    for digest in ("aa", "bb"):
        queue.add(order(digest))
    return queue


def order(digest: str) -> RunOrder:
    return RunOrder(f"order of {digest}", digest, {"seed": 1}, [2, 4])


def test_an_order_belongs_to_one_job(queue: RunQueue) -> None:
    assert queue.folder.stat().st_mode & 0o777 == 0o700
    assert queue.take("7_0") == order("aa")
    assert queue.take("7_1") == order("bb")
    assert queue.take("7_0") is None
    assert queue.taken_orders() == {"7_0": [order("aa")], "7_1": [order("bb")]}


def test_another_job_may_be_faster(queue: RunQueue, monkeypatch: pytest.MonkeyPatch) -> None:
    rename = type(queue.folder).rename
    taken: list[RunOrder | None] = []

    def rename_too_late(path: Path, target: Path) -> Path:
        monkeypatch.undo()
        taken.append(queue.take("fast"))
        return rename(path, target)

    monkeypatch.setattr(type(queue.folder), "rename", rename_too_late)
    assert queue.take("slow") == order("bb")
    assert taken == [order("aa")]


def test_orders_of_a_dead_job_are_given_back_unless_it_had_ended_them(queue: RunQueue) -> None:
    assert queue.take("7_0")
    assert queue.take("7_0")
    queue.report("aa", RunReport("order of aa", [{"epoch": 1}], has_ended=True))
    queue.report("bb", RunReport("an earlier order", [], has_ended=True))
    assert queue.release("7_0") == [order("bb")]
    assert queue.release("7_0") == []
    assert queue.take("7_1") == order("bb")
    assert queue.take("7_1") is None


def test_a_report_is_read_as_it_was_written(queue: RunQueue) -> None:
    assert queue.read_report("aa") is None
    assert queue.report_version("aa") is None
    versions = []
    for epoch in range(3):
        report = RunReport("order of aa", [{"epoch": epoch, "train/loss": 0.1}], is_stopped=True)
        queue.report("aa", report)
        assert queue.read_report("aa") == report
        versions.append(queue.report_version("aa"))
    assert len(set(versions)) == 3


def test_a_run_is_removed_wherever_it_is(queue: RunQueue) -> None:
    assert queue.take("7_0") == order("aa")
    queue.report("aa", RunReport("order of aa", []))
    for digest in ("aa", "bb"):
        queue.remove(digest)
    assert queue.taken_orders() == {}
    assert queue.read_report("aa") is None
    assert queue.take("7_0") is None


def test_a_new_driver_withdraws_what_no_job_has_taken(queue: RunQueue) -> None:
    assert queue.take("7_0") == order("aa")
    queue.create()
    assert queue.take("7_1") is None
    assert queue.taken_orders() == {"7_0": [order("aa")]}


def test_jobs_and_farewells_are_remembered_once(queue: RunQueue) -> None:
    queue.record_job("7")
    queue.record_job("8")
    queue.forget_job("7")
    assert queue.recorded_jobs() == {"8"}
    assert not queue.pop_farewell("8_0")
    queue.say_farewell("8_0")
    assert queue.pop_farewell("8_0")
    assert not queue.pop_farewell("8_0")


@pytest.mark.parametrize("text", ['{"order_id": "1", "rows": [], "colour": 1}', "[1]", '{"orde'])
def test_files_of_another_version_are_one_line(queue: RunQueue, text: str) -> None:
    assert queue.take("7_0")
    (queue.folder / "reports" / "aa.json").write_text(text)
    (queue.folder / "taken" / "7_0" / "aa.json").write_text(text)
    advice = f"written by another version .*: cancel the jobs .* delete the folder {queue.folder},"
    with pytest.raises(RecordError, match=f"reports/aa.json is damaged or was {advice}"):
        queue.read_report("aa")
    with pytest.raises(RecordError, match=f"taken/7_0/aa.json is damaged or was {advice}"):
        queue.taken_orders()
