from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from plans import made_up_data, small_plan, small_study

from orchestrator.planning.labels import LabelBook
from orchestrator.planning.plan import Plan
from orchestrator.planning.sizes import phase_sizes
from search_spaces.phases import Phase
from trainables.errors import DataError
from trainables.noise import Given, noise_of
from trainables.posterior import posterior_path
from trainables.realisation import labels_digest, realise

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

PMD = "pmd-2-0.35"


def plan_at(folder: Path, *, writes: bool = True, **flags: Any) -> Plan:
    """The small study with data under `data` and a home."""
    study, dataset = small_study(**flags).study, made_up_data()
    book = LabelBook(dataset, study, folder / "data", folder / "home", writes=writes)
    return Plan("small", study, dataset, book)


def probabilities() -> NDArray[np.float32]:
    """Made-up class probabilities of the 100 training samples, mostly of their own class."""
    random = np.random.Generator(np.random.Philox(5))
    logits = random.normal(size=(100, 10))
    logits[np.arange(100), made_up_data().train.labels] += 3
    softmax = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    return softmax.astype(np.float32)


def leave(plan: Plan, folder: Path, predictions: NDArray[np.float32]) -> None:
    """Leave what the network on clean labels would."""
    (posterior,) = plan.posteriors
    path = posterior_path(folder / "home", posterior.digest)
    path.parent.mkdir(parents=True)
    np.save(path, predictions)


def test_labels_that_a_spec_draws_are_hashed_and_not_kept(tmp_path: Path) -> None:
    plan = plan_at(tmp_path)
    spec = plan.spec(Phase.CONFIRM, "ce", "symmetric-0.4", {}, 3)

    drawn = realise(made_up_data(), "symmetric-0.4", plan.study.seeds(3))
    assert spec.labels == drawn.digest
    assert plan.posteriors == plan.lacking == []
    assert not (tmp_path / "home").exists()


def test_pmd_noise_waits_for_a_network_on_clean_labels(tmp_path: Path) -> None:
    plan = plan_at(tmp_path, scenarios=(PMD, "pmd-1-0.35"))
    (posterior,) = plan.posteriors

    assert plan.lacking == [posterior]
    assert (posterior.method, posterior.scenario) == ("ce", "clean")
    assert (posterior.hold_out, posterior.evaluate) == (0.0, ())
    spec = plan.spec(Phase.CONFIRM, "nal", PMD, {}, 0)
    assert dict(spec.needs) == {"posterior": posterior.digest}
    assert spec.labels.startswith("not drawn: ")
    assert plan.needs_of(spec) == [posterior]
    assert plan.stages_of(spec) == []
    assert not (tmp_path / "home").exists()


def test_its_labels_are_drawn_from_what_the_network_left_and_kept_by_their_hash(
    tmp_path: Path,
) -> None:
    before = plan_at(tmp_path, scenarios=(PMD,))
    leave(before, tmp_path, probabilities())
    plan = before.again()
    assert plan.lacking == []

    for seed in (0, 1):
        spec = plan.spec(Phase.CONFIRM, "nal", PMD, {}, seed)
        given = Given(
            made_up_data().train.labels,
            np.arange(100),
            10,
            posterior=probabilities().astype(np.float64),
        )
        noisy = noise_of(PMD).apply(given, seed)
        assert spec.labels == labels_digest(noisy)
        np.testing.assert_array_equal(np.load(tmp_path / f"home/labels/{spec.labels}.npy"), noisy)
        assert spec.needs == before.spec(Phase.CONFIRM, "nal", PMD, {}, seed).needs


def test_a_counted_plan_draws_no_labels_and_knows_what_has_ended(tmp_path: Path) -> None:
    before = plan_at(tmp_path, scenarios=(PMD, "symmetric-0.4"))
    leave(before, tmp_path, probabilities())
    plan = before.counted(before.study)
    assert plan.lacking == []
    for scenario in (PMD, "symmetric-0.4"):
        specs = [plan.spec(Phase.CONFIRM, "nal", scenario, {}, seed) for seed in (0, 1)]
        assert all(spec.labels.startswith("not drawn: ") for spec in specs)
        assert len({spec.digest for spec in specs}) == 2
    counted = [size.runs for size in phase_sizes(plan)]
    assert not (tmp_path / "home/labels").exists()
    assert counted == [size.runs for size in phase_sizes(before.again())]


def test_noise_is_drawn_for_samples_too_that_the_network_could_not_see(tmp_path: Path) -> None:
    study, whole = small_study(scenarios=(PMD,)).study, made_up_data()
    unreadable = replace(whole.train, unreadable={7: "sample 7 cannot be read"})
    dataset = replace(whole, train=unreadable)
    book = LabelBook(dataset, study, tmp_path / "data", tmp_path / "home", writes=True)
    before = Plan("small", study, dataset, book)
    leave(before, tmp_path, np.delete(probabilities(), 7, axis=0))
    noisy = before.again().realise(PMD, 0)
    assert len(noisy.noisy) == 100


def test_a_dry_run_keeps_nothing(tmp_path: Path) -> None:
    plan = plan_at(tmp_path, writes=False, scenarios=(PMD,))
    leave(plan, tmp_path, probabilities())

    assert len(plan.again().spec(Phase.CONFIRM, "ce", PMD, {}, 0).labels) == 64
    assert not (tmp_path / "home/labels").exists()


def test_stages_see_the_same_labels_and_name_the_same_network(tmp_path: Path) -> None:
    plan = plan_at(tmp_path, scenarios=(PMD,), methods=("ce", "forward"), sets=("tune=[]",))
    leave(plan, tmp_path, probabilities())
    plan = plan.again()
    spec = plan.spec(Phase.CONFIRM, "forward", PMD, {}, 0)

    (posterior,) = plan.posteriors
    (stage,) = plan.stages_of(spec)
    assert spec.needs["posterior"] == stage.needs["posterior"] == posterior.digest
    assert stage.labels == spec.labels
    assert plan.needs_of(spec) == [posterior, stage]


def test_a_network_of_its_own_recipe_and_seed_is_another_one(tmp_path: Path) -> None:
    (one,) = plan_at(tmp_path, scenarios=(PMD,)).posteriors
    (longer,) = plan_at(tmp_path, scenarios=(PMD,), sets=("posterior.recipe.epochs=9",)).posteriors
    (other,) = plan_at(tmp_path, scenarios=(PMD,), sets=("posterior.seed=7",)).posteriors

    assert longer.recipe.epochs == 9
    assert longer.recipe.learning_rate == one.recipe.learning_rate
    assert (other.seeds.init, other.seeds.subset) == (7, 0)


def test_a_plan_counts_the_network_among_no_phase(tmp_path: Path) -> None:
    counted = [size.runs for size in phase_sizes(plan_at(tmp_path, scenarios=(PMD,)))]
    assert counted == [size.runs for size in phase_sizes(small_plan())]


def test_labels_of_the_users_are_read_and_kept(tmp_path: Path) -> None:
    (tmp_path / "data/labels").mkdir(parents=True)
    noisy = (made_up_data().train.labels + 1) % 10
    np.save(tmp_path / "data/labels/mine.npy", noisy)
    spec = plan_at(tmp_path, scenarios=("file-mine",)).spec(Phase.CONFIRM, "ce", "file-mine", {}, 0)

    assert spec.labels == labels_digest(noisy)
    assert (tmp_path / f"home/labels/{spec.labels}.npy").is_file()


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    plan = plan_at(tmp_path, scenarios=("file-mine",))
    with pytest.raises(DataError) as caught:
        plan.spec(Phase.CONFIRM, "ce", "file-mine", {}, 0)
    folder = tmp_path / "data/labels/mine"
    assert str(caught.value) == (
        f"no label file {folder} with one of the endings .npy, .csv, .json"
    )
