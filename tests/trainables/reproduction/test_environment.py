from __future__ import annotations

import json
from typing import TYPE_CHECKING

from trainables.reproduction.environment import (
    EnvironmentDifference,
    environment_differences,
    present_environment,
    recorded_environment,
)
from trainables.run.provenance import (
    NO_COMMIT,
    TRAINING_PACKAGES,
    run_provenance,
    store_environment,
)

if TYPE_CHECKING:
    from pathlib import Path

HERE = {"device": "cpu: AVX2", "torch": "2.6.0", "commit": "0123", "dirty": "no"}


def test_the_environment_of_a_record_is_that_of_its_process(tmp_path: Path) -> None:
    provenance = {**run_provenance("cpu: AVX2"), "environment": store_environment(tmp_path)}
    recorded = recorded_environment(tmp_path, provenance)
    assert recorded == present_environment("cpu: AVX2")
    assert recorded.keys() >= {"device", "processor", "python", *TRAINING_PACKAGES}
    assert "host" not in recorded


def test_a_record_without_its_list_of_packages_has_less(tmp_path: Path) -> None:
    (tmp_path / "environments").mkdir()
    (tmp_path / "environments" / "a.json").write_text("[]")
    for environment in ("a", "b"):
        provenance = {**HERE, "host": "node-1", "environment": environment}
        assert recorded_environment(tmp_path, provenance) == HERE


def test_what_differs_is_named_with_both_values() -> None:
    other = {**HERE, "torch": "2.7.0", "commit": "4567", "processor": "A"}
    assert environment_differences(HERE, other) == [
        EnvironmentDifference("torch", "2.6.0", "2.7.0"),
        EnvironmentDifference("commit", "0123", "4567"),
    ]
    assert str(environment_differences(HERE, other)[0]) == "torch: 2.6.0 recorded, 2.7.0 now"


def test_uncommitted_changes_may_differ_even_if_both_have_some() -> None:
    for first, second in (("yes", "no"), ("no", "yes"), ("yes", "yes")):
        assert environment_differences({**HERE, "dirty": first}, {**HERE, "dirty": second}) == [
            EnvironmentDifference("uncommitted changes", first, second)
        ]


def test_code_outside_a_checkout_may_differ() -> None:
    outside = {**HERE, "commit": NO_COMMIT, "dirty": "unknown"}
    (difference,) = environment_differences(HERE, outside)
    assert str(difference) == "commit: 0123 recorded, not a checkout now"
    assert environment_differences(outside, outside) == []


def test_the_packages_are_those_of_the_record(tmp_path: Path) -> None:
    (tmp_path / "environments").mkdir()
    versions = {"scikit-learn": "1.4.0", "torch": "1.0", "private": "3"}
    (tmp_path / "environments" / "a.json").write_text(json.dumps(versions))
    recorded = recorded_environment(tmp_path, {**HERE, "environment": "a"})
    assert recorded == {**HERE, "scikit-learn": "1.4.0"}
