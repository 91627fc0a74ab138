from __future__ import annotations

import numpy as np
import pytest

from trainables.datasets import source_of
from trainables.errors import FieldError
from trainables.noise import NoiseContext, noise_of

LABELS = np.arange(20) % 10
SETS = {"worse": (LABELS + 3) % 10, "file-mine": (LABELS + 1) % 10}


def test_recorded_labels_of_the_used_samples() -> None:
    index = np.array([1, 4, 9])
    context = NoiseContext(LABELS, index, 10, "cifar10n", annotations=SETS)
    assert noise_of("human-worse").apply(context, 5).tolist() == [4, 7, 2]
    assert noise_of("file-mine").apply(context, 5).tolist() == [2, 5, 0]
    hybrid = noise_of("human-worse+symmetric-0.5").apply(
        NoiseContext(LABELS, np.arange(20), 10, "cifar10n", annotations=SETS), 0
    )
    assert int((hybrid != SETS["worse"]).sum()) == 10


def test_unknown_set_of_human_labels_is_refused() -> None:
    noise_of("human-worse").check(source_of("cifar10n"))
    with pytest.raises(FieldError) as caught:
        noise_of("human-worst").check(source_of("cifar10n"))
    assert caught.value.message.startswith(
        "unknown scenario 'human-worst': did you mean 'human-worse'? known: human-aggre, "
    )
    with pytest.raises(FieldError) as caught:
        noise_of("human-worse").check(source_of("cifar10"))
    assert caught.value.message == (
        "scenario 'human-worse': dataset 'cifar10' has no human labels: use cifar10n or cifar100n"
    )


@pytest.mark.parametrize("name", ["file-", "file-../x", "file-a/b", "file-.hidden"])
def test_label_file_must_be_a_plain_name(name: str) -> None:
    with pytest.raises(FieldError, match="after file-, write the name of a file in labels/"):
        noise_of(name)


@pytest.mark.parametrize(
    ("scenario", "title", "nominal"),
    [
        ("clean", "clean", 0.0),
        ("symmetric-0.4", "symmetric 40 %", 0.4),
        ("symmetric-incl-0.4", "symmetric 40 % incl. true class", 0.4),
        ("symmetric-each-0.4", "symmetric 40 %, each label by chance", 0.4),
        ("asymmetric-0.4", "asymmetric 40 %", 0.4),
        ("asymmetric-superclass-0.4", "asymmetric 40 % in superclass", 0.4),
        ("symmetric-official-0.8", "symmetric 80 % incl. true class, public code's draw", 0.8),
        ("asymmetric-official-0.4", "asymmetric 40 %, public code's draw", 0.4),
        ("pmd-3-0.35", "PMD III 35 %", 0.35),
        ("pmd-keep-3-0.35", "PMD III 35 %, keep divided", 0.35),
        ("human-worse", "human, worse", None),
        ("file-mine", "labels from mine", None),
        ("pmd-1-0.35+asymmetric-0.3", "PMD I 35 % + asymmetric 30 %", None),
    ],
)
def test_titles_and_nominal_rates(scenario: str, title: str, nominal: float | None) -> None:
    noise = noise_of(scenario)
    assert noise.title == title
    assert noise.nominal_rate == nominal


def test_unknown_scenario_lists_all_forms() -> None:
    with pytest.raises(FieldError) as caught:
        noise_of("symetric-0.4")
    assert caught.value.message.startswith("unknown scenario 'symetric-0.4': did you mean 'symm")
    for form in ("symmetric-RATE", "asymmetric-superclass-RATE", "pmd-TYPE-RATE", "file-NAME"):
        assert form in caught.value.message


@pytest.mark.parametrize(
    ("scenario", "form"),
    [
        ("clen", "clean"),
        ("asymetric-0.4", "asymmetric-RATE"),
        ("pmd-0.35", "pmd-TYPE-RATE"),
        ("humn-worse", "human-SET"),
        ("file_mine", "file-NAME"),
    ],
)
def test_a_misspelt_scenario_gets_a_suggestion(scenario: str, form: str) -> None:
    with pytest.raises(FieldError, match=f"did you mean '{form}'"):
        noise_of(scenario)
