from __future__ import annotations

import hashlib

import numpy as np
import pytest

from trainables.datasets.base import Dataset, Split
from trainables.errors import DataError, FieldError
from trainables.extensions import CodeFile, extension_name, load_file
from trainables.noise import noise_of
from trainables.run.seeds import Seeds
from trainables.run_data.realisation import (
    Realisation,
    draw_realisation,
    evaluated_test_positions,
    labels_digest,
)

LABELS = np.arange(1437) % 10
_SPLIT = Split(np.zeros((1437, 1, 1, 1), dtype=np.uint8), LABELS)
DATA = Dataset("made up", tuple("0123456789"), _SPLIT, _SPLIT)


def draw(subset: int | None = None, scenario: str = "symmetric-0.4", **seeds: int) -> Realisation:
    return draw_realisation(DATA, scenario, Seeds.from_base_seed(0, **seeds), subset)


def test_without_a_subset_all_samples_are_used_in_order() -> None:
    drawn = draw()

    np.testing.assert_array_equal(drawn.index, np.arange(1437))
    np.testing.assert_array_equal(drawn.true_labels, LABELS)
    assert drawn.flip_rate == round(0.4 * 1437) / 1437
    assert drawn.digest == hashlib.sha256(drawn.noisy_labels.astype("<i8").tobytes()).hexdigest()
    assert drawn.digest == labels_digest(drawn.noisy_labels.astype(">i8"))


def test_a_subset_depends_on_its_own_axis() -> None:
    drawn = draw(subset=500)

    assert len(drawn.noisy_labels) == 500
    assert (np.diff(drawn.index) > 0).all()
    np.testing.assert_array_equal(drawn.true_labels, LABELS[drawn.index])
    assert drawn.flip_rate == 0.4
    np.testing.assert_array_equal(draw(subset=500, noise=1).index, drawn.index)
    other = draw_realisation(DATA, "clean", Seeds.from_base_seed(0, subset=1), 500)
    assert not np.array_equal(other.index, drawn.index)
    assert set(draw(subset=200).index) < set(drawn.index)


@pytest.mark.parametrize(("hold_out", "count"), [(0.0, 0), (0.1, 144), (0.3, 431)])
def test_the_two_splits_are_disjoint_and_complete(hold_out: float, count: int) -> None:
    training, held_out = draw().hold_out(hold_out, 0)

    assert len(held_out) == count
    np.testing.assert_array_equal(np.sort([*training, *held_out]), np.arange(1437))
    assert (np.diff(training) > 0).all()


def test_held_out_samples_are_paired_over_scenarios_and_nested_over_fractions() -> None:
    _, held_out = draw().hold_out(0.3, 0)

    for same in (draw(), draw(scenario="clean"), draw(noise=1)):
        np.testing.assert_array_equal(same.hold_out(0.3, 0)[1], held_out)
    assert not np.array_equal(draw().hold_out(0.3, 1)[1], held_out)
    assert set(draw().hold_out(0.1, 0)[1]) < set(held_out)


def test_held_out_labels_are_as_noisy_as_the_others() -> None:
    drawn = draw()
    splits = drawn.hold_out(0.3, 0)
    rates = [np.mean(drawn.noisy_labels[split] != drawn.true_labels[split]) for split in splits]
    assert rates == pytest.approx([0.4, 0.4], abs=5 * np.sqrt(0.24 / 431))


def test_only_the_noise_axis_changes_the_labels() -> None:
    others = draw(split=1, init=1, order=1, augment=1, method=1)
    assert others.digest == draw().digest
    assert draw(noise=1).digest != draw().digest


def test_rows_of_the_transition_matrix() -> None:
    true = np.array([0, 0, 0, 0, 1, 1])
    noisy = np.array([0, 0, 0, 2, 1, 0])
    drawn = Realisation(np.arange(6), true, noisy, 3)

    assert drawn.transition == [[0.75, 0, 0.25], [0.5, 0.5, 0], [0, 0, 0]]
    assert drawn.flip_rate == pytest.approx(2 / 6)


def test_unknown_scenario() -> None:
    with pytest.raises(FieldError, match="unknown scenario 'noisy'"):
        draw(scenario="noisy")


def uneven() -> Dataset:
    """Return a dataset with classes of 500, 300 and 100 samples."""
    labels = np.repeat(np.arange(3), [500, 300, 100])
    split = Split(np.zeros((900, 1, 1, 1), dtype=np.uint8), labels)
    return Dataset("uneven", ("a", "b", "c"), split, split)


def test_a_balanced_subset_has_equal_class_counts() -> None:
    drawn = draw_realisation(uneven(), "clean", Seeds.from_base_seed(0), 200, balanced=True)

    assert np.bincount(drawn.true_labels).tolist() == [67, 67, 66]
    assert (np.diff(drawn.index) > 0).all()
    other = draw_realisation(
        uneven(), "clean", Seeds.from_base_seed(0, subset=1), 200, balanced=True
    )
    assert not np.array_equal(other.index, drawn.index)
    plain = draw_realisation(uneven(), "clean", Seeds.from_base_seed(0), 200)
    assert np.bincount(plain.true_labels).max() > 90
    noisy = draw_realisation(uneven(), "symmetric-0.4", Seeds.from_base_seed(0), 200, balanced=True)
    np.testing.assert_array_equal(noisy.index, drawn.index)


def test_a_class_that_is_too_small_for_its_share_is_named() -> None:
    with pytest.raises(DataError) as caught:
        draw_realisation(uneven(), "clean", Seeds.from_base_seed(0), 400, balanced=True)
    assert str(caught.value) == (
        "a balanced subset of 400 samples needs 133 samples of class 'c', which has 100: make the "
        "subset smaller"
    )


def test_the_evaluated_test_samples_are_balanced_and_depend_on_nothing_else() -> None:
    data = uneven()
    positions = evaluated_test_positions(data, data.test, 200)

    assert np.bincount(data.test.labels[positions]).tolist() == [67, 67, 66]
    assert (np.diff(positions) > 0).all()
    assert set(evaluated_test_positions(data, data.test, 100)) < set(positions)
    assert hashlib.sha256(positions.tobytes()).hexdigest()[:12] == "48c014e57368"
    for count in (None, 900, 1000):
        np.testing.assert_array_equal(
            evaluated_test_positions(data, data.test, count), np.arange(900)
        )
    with pytest.raises(DataError, match="133 samples of class 'c', which has 100"):
        evaluated_test_positions(data, data.test, 400)


@pytest.mark.usefixtures("no_code_loaded")
@pytest.mark.parametrize(
    ("result", "message"),
    [
        ("1 / 0", "my_noise.py:5: ZeroDivisionError: division by zero"),
        (
            "context.true_labels + 7",
            "labels of Mine-0.3, sample 3 (counted from 0): label 10 is outside 0..9",
        ),
        (
            "context.true_labels[1:]",
            "Mine-0.3 must return 1437 integers, one for each sample, "
            "but returned int64 of shape (1436,)",
        ),
        (
            "context.true_labels * 1.0",
            "Mine-0.3 must return 1437 integers, one for each "
            "sample, but returned float64 of shape (1437,)",
        ),
    ],
)
def test_faults_of_outside_noise_are_one_line(result: str, message: str) -> None:
    content = (
        "from trainables.noise.base import RatedNoise\n\n"
        "class Mine(RatedNoise):\n    def apply(self, context, seed):\n"
        f"        return {result}\n"
    )
    file = CodeFile("my_noise.py", content.encode())
    load_file(file)
    scenario = extension_name("Mine-0.3", file.sha256)
    assert noise_of(scenario).title == "Mine 30 %"
    with pytest.raises(DataError) as fault:
        draw(scenario=scenario)
    assert str(fault.value) == message
