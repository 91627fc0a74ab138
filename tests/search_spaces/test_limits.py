"""Values that no study needs are refused at once, in one short line."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from command_line import call_command

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (
            ("--set", "search.seeds=[9223372036854775808]"),
            "must be less than or equal to 9223372036",
        ),
        (("--set", f"posterior.seed={'9' * 5000}"), "cannot be read as int"),
        (("--set", "confirm.seeds=[9223372036854775808]"), "must be less than or equal to 92233"),
        (("--set", f"confirm.seeds={list(range(10_001))}"), "must have at most 10000 items"),
        (("--set", "resources.cpus=4294967296"), "must be less than or equal to 2147483647"),
        (("--set", f"subset={'k' * 100_000}"), "must be an integer, got 'kkk"),
        (("--set", f"scenarios=[{'k' * 100_000}]"), "unknown scenario 'kkk"),
        (("--set", f"{'k' * 100_000}=3"), "unknown key 'kkk"),
    ],
)
def test_a_value_is_refused_in_a_short_line(words: tuple[str, ...], message: str) -> None:
    refused = call_command("show", "digits", *words)
    assert refused.returncode == 2
    (line,) = refused.stderr.splitlines()
    assert message in line
    assert len(line) < 1000


@pytest.mark.parametrize("command", ["train", "noise"])
def test_a_seed_beyond_64_bits_is_refused(command: str) -> None:
    refused = call_command(command, "digits", "--seed", 2**63)
    assert refused.returncode == 2
    assert "'--seed': " in refused.stderr
    assert "9223372036854775807 (--help lists" in refused.stderr


def test_a_study_of_megabytes_is_not_read(tmp_path: Path) -> None:
    path = tmp_path / "large.yaml"
    path.write_text("extends: digits\n" + "# comment\n" * 500_000)
    refused = call_command("show", path)
    assert refused.returncode == 2
    assert refused.stderr == (
        f"error: the study file {path} has 5.0 MB: at most 1 MB are allowed: write a study, not "
        "its data\n"
    )


def test_escape_codes_in_the_name_of_a_file_are_shown(tmp_path: Path) -> None:
    refused = call_command("show", tmp_path / "\x1b[2Jx.yaml")
    assert refused.returncode == 2
    assert r"\x1b[2Jx.yaml" in refused.stderr
    assert "\x1b" not in refused.stderr
