from __future__ import annotations

from contextlib import nullcontext
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from layouts import save_jpeg
from plans import random_data, small_plan, small_study

from orchestrator.planning.loading import (
    SYSTEM_METRICS_VARIABLE,
    check_labels,
    check_sizes,
    wants_system_metrics,
)
from orchestrator.planning.plan import Plan
from orchestrator.planning.sizes import phase_sizes
from search_spaces.schema import Phase
from trainables.datasets import load
from trainables.datasets.base import Split
from trainables.errors import DataError, StudyError, UserError
from trainables.run_data.realisation import labels_digest

if TYPE_CHECKING:
    from pathlib import Path

PMD = "pmd-2-0.35"


def plan_at(folder: Path, *, may_write: bool = True, **flags: Any) -> Plan:
    """Return the plan of the small study, whose data folder is `data` and whose home is `home`."""
    study, dataset = small_study(**flags).study, random_data()
    home = folder / "home" if may_write else None
    return Plan("small", study, dataset, check_labels(study, dataset, folder / "data", home))


def write_labels(folder: Path, shift: int = 1) -> np.ndarray:
    (folder / "data/labels").mkdir(parents=True, exist_ok=True)
    noisy = (random_data().train.labels + shift) % 10
    np.save(folder / "data/labels/mine.npy", noisy)
    return noisy


def test_symmetric_noise_needs_no_annotations(tmp_path: Path) -> None:
    plan = plan_at(tmp_path)
    spec = plan.spec(Phase.CONFIRM, "ce", "symmetric-0.4", {}, 3)

    assert (spec.annotations, dict(spec.needs)) == ("", {})
    assert plan.posterior_specs == []
    assert not (tmp_path / "home").exists()


def test_an_epoch_without_a_whole_batch_is_refused() -> None:
    for batch_size, is_refused in ((64, True), (2, False)):
        sets = ("recipe.drop_last=true", f"recipe.batch_size={batch_size}", "subset=50")
        loaded_study = small_study(sets=sets)
        plan = Plan("small", loaded_study.study, random_data())
        message = r"recipe\.batch_size: batch_size must be at most 35, .* nal is trained on.*64$"
        with pytest.raises(StudyError, match=message) if is_refused else nullcontext():
            check_sizes(plan, loaded_study)


# --- labels from files


def test_label_file_names_the_pictures_of_class_folders(tmp_path: Path) -> None:
    for split in ("train", "test"):
        for name in ("ant", "bee"):
            for number in range(2):
                save_jpeg(tmp_path / split / name / f"{number}.jpg", number, 8, 8)
    (tmp_path / "labels").mkdir()
    (tmp_path / "labels/mine.csv").write_text("file,label\nbee/0.jpg,0\n")
    noisy = labels_digest(np.array([0, 0, 0, 1]))
    for name in ("folder", "pictures"):
        study = small_study(scenarios=("file-mine",)).study.model_copy(update={"dataset": name})
        dataset = load(name, tmp_path, None)
        assert check_labels(study, dataset, tmp_path, None) == {"file-mine": noisy}


# --- noise that needs a network


def test_a_plan_is_complete_before_the_posterior_is_trained(tmp_path: Path) -> None:
    plan = plan_at(tmp_path, scenarios=(PMD, "pmd-1-0.35"))
    (posterior,) = plan.posterior_specs

    assert (posterior.method, posterior.scenario) == ("ce", "clean")
    assert (posterior.hold_out, posterior.evaluate) == (0.0, ())
    spec = plan.spec(Phase.CONFIRM, "nal", PMD, {}, 0)
    assert dict(spec.needs) == {"posterior": posterior.digest}
    assert plan.needs_of(spec) == [posterior]
    assert not (tmp_path / "home").exists()


def test_stages_need_the_same_posterior(tmp_path: Path) -> None:
    plan = plan_at(tmp_path, scenarios=(PMD,), methods=("ce", "forward"), sets=("tune=[]",))
    spec = plan.spec(Phase.CONFIRM, "forward", PMD, {}, 0)

    (posterior,) = plan.posterior_specs
    first, stage = plan.needs_of(spec)
    assert first == posterior
    assert spec.needs["posterior"] == stage.needs["posterior"] == posterior.digest
    assert (stage.scenario, stage.seeds) == (spec.scenario, spec.seeds)


def test_recipe_and_seed_of_the_posterior(tmp_path: Path) -> None:
    (default,) = plan_at(tmp_path, scenarios=(PMD,)).posterior_specs
    (longer,) = plan_at(
        tmp_path, scenarios=(PMD,), sets=("posterior.recipe.epochs=9",)
    ).posterior_specs
    (other,) = plan_at(tmp_path, scenarios=(PMD,), sets=("posterior.seed=7",)).posterior_specs

    assert longer.recipe.epochs == 9
    assert longer.recipe.learning_rate == default.recipe.learning_rate
    assert (other.seeds.init, other.seeds.subset) == (7, 0)


def test_the_posterior_is_counted_once_in_the_first_phase(tmp_path: Path) -> None:
    before = [size.max_run_count for size in phase_sizes(small_plan())]
    sizes = phase_sizes(plan_at(tmp_path, scenarios=(PMD,)))
    assert [size.max_run_count for size in sizes] == [before[0] + 1, *before[1:]]
    assert [group.run_count for group in sizes[0].groups if group.is_label_source] == [1]
    assert (
        sizes[0].run_count_formula
        == "4 trials × 1 seed, and the network that labels are drawn from"
    )
    (confirm,) = phase_sizes(plan_at(tmp_path, scenarios=(PMD,), sets=("tune=[]",)))
    assert confirm.max_run_count == 2 * 2 + 1


# --- annotations


def test_user_labels_are_stored_by_their_digest(tmp_path: Path) -> None:
    noisy = write_labels(tmp_path)
    spec = plan_at(tmp_path, scenarios=("file-mine",)).spec(Phase.CONFIRM, "ce", "file-mine", {}, 0)

    assert spec.annotations == labels_digest(noisy)
    np.testing.assert_array_equal(np.load(tmp_path / f"home/labels/{spec.annotations}.npy"), noisy)


def test_the_digest_depends_on_the_labels_not_on_their_format(tmp_path: Path) -> None:
    def digest() -> str:
        plan = plan_at(tmp_path, scenarios=("file-mine",))
        return plan.spec(Phase.CONFIRM, "ce", "file-mine", {}, 0).digest

    noisy = write_labels(tmp_path)
    first = digest()
    (tmp_path / "data/labels/mine.npy").unlink()
    text = "label\n" + "\n".join(map(str, noisy)) + "\n"
    (tmp_path / "data/labels/mine.csv").write_text(text)
    assert digest() == first
    (tmp_path / "data/labels/mine.csv").unlink()
    write_labels(tmp_path, shift=2)
    assert digest() != first


def test_a_dry_run_stores_no_labels(tmp_path: Path) -> None:
    noisy = write_labels(tmp_path)
    plan = plan_at(tmp_path, may_write=False, scenarios=("file-mine",))
    assert plan.annotations == {"file-mine": labels_digest(noisy)}
    assert not (tmp_path / "home").exists()


def test_a_missing_label_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError) as error:
        plan_at(tmp_path, scenarios=("file-mine",))
    folder = tmp_path / "data/labels/mine"
    assert str(error.value) == (
        f"no label file {folder} with one of the suffixes .npy, .csv, .json"
    )


def test_a_subset_that_cannot_be_balanced_is_refused(
    tmp_path: Path,
) -> None:
    images = random_data().train.images
    unbalanced = replace(random_data(), train=Split(images, np.arange(100) % 9), digest="")
    for scenario in ("symmetric-0.4", PMD):
        study = small_study(scenarios=(scenario,), sets=("balanced=true",), subset=50).study
        with pytest.raises(DataError, match="needs 5 samples of class '9', which has 0"):
            check_labels(study, unbalanced, tmp_path, None)


@pytest.mark.parametrize(("text", "expected"), [(None, False), ("True", True), ("0", False)])
def test_system_metrics_are_measured_only_if_the_variable_of_mlflow_says_so(
    monkeypatch: pytest.MonkeyPatch, text: str | None, *, expected: bool
) -> None:
    monkeypatch.delenv(SYSTEM_METRICS_VARIABLE, raising=False)
    if text is not None:
        monkeypatch.setenv(SYSTEM_METRICS_VARIABLE, text)
    assert wants_system_metrics() is expected


def test_a_variable_that_is_neither_true_nor_false_is_refused(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv(SYSTEM_METRICS_VARIABLE, "yes")
    with pytest.raises(UserError, match="LOGGING=yes: must be true or false"):
        wants_system_metrics()
