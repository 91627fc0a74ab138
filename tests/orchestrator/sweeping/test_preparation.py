"""Networks on clean labels, carried out before the labels of a plan are known."""

from __future__ import annotations

import pytest
from factories import make_result
from fake_runs import fake_result
from plans import small_plan

from orchestrator.sweeping.preparation import Preparation, check_posterior
from trainables.errors import NalError

PMD = ("pmd-1-0.35", "pmd-3-0.35")


def test_one_network_serves_all_scenarios() -> None:
    work = Preparation(small_plan(scenarios=PMD))
    task = work.next()

    assert task is not None
    assert (task.spec.scenario, task.spec.method, task.needed) == ("clean", "ce", True)
    assert work.next() is None
    assert not work.done
    work.end(task, fake_result(task.spec))
    assert work.done


def test_a_network_that_diverges_or_is_lost_ends_the_sweep() -> None:
    plan = small_plan(scenarios=PMD)
    (spec,) = plan.posteriors
    diverged = make_result(spec, diverged_at=2)
    with pytest.raises(NalError, match=f"{spec.digest[:12]}, could not be trained: diverged loss"):
        check_posterior(spec, diverged)
    with pytest.raises(NalError, match=r"could not be trained: lost: change posterior\.recipe"):
        check_posterior(spec, None, "lost")
    check_posterior(spec, make_result(spec))


def test_nothing_is_prepared_for_noise_that_a_spec_draws() -> None:
    assert Preparation(small_plan()).done
