from __future__ import annotations

import pytest

from reports.paper import (
    PaperNoise,
    find_paper_results,
    find_paper_results_on_any_backbone,
    is_other_noise,
    paper_noise_of,
    paper_results,
)


def test_all_tables_are_read() -> None:
    results = paper_results()
    assert len(results) == 224
    assert {result.table for result in results} == {1, 2, 3, 4, 5, 6}


def test_the_headline_number() -> None:
    (first, *_) = [
        r
        for r in find_paper_results("CIFAR-10", "symmetric-0.4", "ResNet-34 (32×32)")
        if r.method == "NAL"
    ]
    assert (first.table, first.mean, first.std) == (1, 93.49, 0.07)


def test_datasets_and_rates_are_not_mixed() -> None:
    for dataset, scenario, mean in (
        ("CIFAR-10", "symmetric-0.8", 80.98),
        ("cifar100", "symmetric-0.8", 36.77),
        ("CIFAR-10", "asymmetric-0.4", 92.09),
        ("CIFAR-100", "asymmetric-0.4", 74.73),
    ):
        results = find_paper_results(dataset, scenario, "ResNet-34")
        assert next(r.mean for r in results if r.method == "NAL") == mean


def test_pmd_numbers_are_on_preactresnet() -> None:
    results = find_paper_results("CIFAR-10", "pmd-3-0.35", "PreActResNet-34")
    assert {r.method: r.mean for r in results}["NAL"] == 88.57


def test_another_backbone_has_no_numbers() -> None:
    assert find_paper_results("CIFAR-10", "symmetric-0.4", "MLP") == []
    assert {
        r.backbone for r in find_paper_results_on_any_backbone("CIFAR-10", "symmetric-0.4")
    } == {"ResNet34"}


def test_settings_that_are_not_in_the_paper() -> None:
    assert find_paper_results("digits", "symmetric-0.4", "MLP") == []
    assert find_paper_results_on_any_backbone("CIFAR-10", "symmetric-0.3") == []
    assert find_paper_results_on_any_backbone("CIFAR-10", "clean") == []


def test_settings_of_scenarios() -> None:
    assert paper_noise_of("symmetric-0.4") == PaperNoise(
        "symmetric", 0.4, includes_true_class=False
    )
    assert paper_noise_of("symmetric-incl-0.4") == PaperNoise(
        "symmetric", 0.4, includes_true_class=True
    )
    assert paper_noise_of("clean") == PaperNoise("real", 0.0, includes_true_class=False)
    assert paper_noise_of("human-worse") is None
    assert paper_noise_of("pmd-keep-2-0.35") == PaperNoise(
        "pmd-type-2", 0.35, includes_true_class=False, variant="keep"
    )
    assert paper_noise_of("symmetric-official-0.8") == PaperNoise(
        "symmetric", 0.8, includes_true_class=True, variant="official"
    )
    assert paper_noise_of("asymmetric-superclass-0.4") is None


@pytest.mark.parametrize(
    ("published", "own", "expected"),
    [
        ("incl", "incl", False),
        ("excl", "incl", True),
        ("", "incl", True),
        ("incl", "excl", True),
        ("excl", "excl", False),
        ("", "excl", False),
    ],
)
def test_noise_of_another_convention_is_told_in_both_directions(
    published: str, own: str, *, expected: bool
) -> None:
    assert is_other_noise(published, own) is expected
