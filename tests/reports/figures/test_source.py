from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
from factories import make_cell
from figure_data import make_source, write_diagnostics

from reports.figures.source import MissingDataError, cell_label, file_stem
from trainables.errors import UserError

if TYPE_CHECKING:
    from pathlib import Path

SCENARIOS = ("clean", "symmetric-0.2", "symmetric-0.4")


def test_the_default_scenario_is_the_first_with_noise(tmp_path: Path) -> None:
    cells = [make_cell("nal", scenario) for scenario in SCENARIOS]
    source = make_source(cells, tmp_path)
    assert (source.single_scenario, source.scenarios) == ("symmetric-0.2", list(SCENARIOS))
    chosen = replace(source, scenario="clean")
    assert (chosen.single_scenario, chosen.scenarios) == ("clean", ["clean"])


def test_an_unknown_scenario_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(UserError) as caught:
        make_source([make_cell("nal", "symmetric-0.2")], tmp_path, scenario="symetric-0.2")
    assert "did you mean 'symmetric-0.2'" in str(caught.value)


def test_tuned_values_come_before_fixed_ones(tmp_path: Path) -> None:
    reference = make_cell("nal", origin="reference")
    tuned = make_cell("nal", values={"lambda": 2.0, "alpha": 0.8}, origin="tuned")
    varied = make_cell("nal", values={"lambda": 9.0, "alpha": 0.8}, origin="varied")
    source = make_source([varied, reference, tuned], tmp_path)
    assert source.require_cell("nal", "symmetric-0.4") is tuned
    assert cell_label(tuned) == "NAL, λ = 2, α = 0.8"
    with pytest.raises(MissingDataError, match="has no row of 'nal'"):
        make_source([varied], tmp_path).require_cell("nal", "symmetric-0.4")


def test_seeds_without_diagnostics_do_not_count(tmp_path: Path) -> None:
    cell = make_cell("ce", seeds=(0, 1))
    source = make_source([cell], tmp_path)
    for digest in cell.digests:
        (tmp_path / "runs" / digest).mkdir(parents=True)
    with pytest.raises(MissingDataError, match=r"trained with diagnostics\.every=0"):
        source.load_diagnostics(cell)
    (tmp_path / "runs" / cell.digests[0]).rmdir()
    write_diagnostics(tmp_path, replace(cell, seeds=[0], digests=cell.digests[:1]), [0])
    assert len(source.load_diagnostics(cell)) == 1
    with pytest.raises(MissingDataError, match=r"no run of ce on symmetric-0\.4 has finished"):
        replace(source, runs={}).load_diagnostics(cell)


@pytest.mark.parametrize(
    ("name", "stem"), [("cifar10-pmd", "cifar10-pmd"), ("../a b\x1b/$c", "a-b-c"), ("//", "sweep")]
)
def test_names_of_files_have_no_other_characters(name: str, stem: str) -> None:
    assert file_stem(name) == stem
