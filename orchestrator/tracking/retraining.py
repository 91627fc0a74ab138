"""Commands that train a recorded run again: the flags by which `train` finds the same spec."""

from __future__ import annotations

import json
import shlex
from dataclasses import replace
from pathlib import PurePath
from typing import TYPE_CHECKING

from orchestrator.flags import command_line
from search_spaces.files import is_study_path

if TYPE_CHECKING:
    from orchestrator.flags import StudyFlags
    from orchestrator.sweeping.sweep import Cell
    from search_spaces.loader import LoadedStudy


def train_command(cell: Cell, loaded_study: LoadedStudy, study_flags: StudyFlags) -> str:
    """Return the shell command that trains a run of a cell, without its seed.

    Values have full precision. A study file, and any file that a flag names by an absolute path, is
    named without its folder, since the command may be published: it works in their folder.

    Args:
        cell: cell of the sweep: all seeds of one method, scenario and hyperparameter values.
        loaded_study: study of the sweep.
        study_flags: flags of the sweep's command.
    """
    study = study_flags.study
    values = [
        f"{name}={json.dumps(value, ensure_ascii=False)}"
        for name, value in cell.seed_group.values.items()
    ]
    # The command has one scenario, which need not be the one that the search was made on.
    searched = loaded_study.study.search.scenario
    scenarios = ["search.scenario=null"] if searched not in (None, cell.scenario) else []
    # Other keys may refer to the methods of a flag, which `train` does not have.
    methods = [f"methods=[{', '.join(study_flags.methods)}]"] if study_flags.methods else []
    flags = replace(
        study_flags,
        study=PurePath(study).name if is_study_path(study) else study,
        trials=None,
        from_sweep=None,
        seeds=None,
        budget_hours=None,
        methods=None,
        scenarios=(loaded_study.extensions.text_with_references(cell.scenario),),
        sets=(*map(_without_folder, study_flags.sets), *scenarios, *methods, *values),
    )
    method = loaded_study.extensions.text_with_references(cell.method)
    return f"{command_line('train', flags)} --method {shlex.quote(method)}"


def _without_folder(assignment: str) -> str:
    """Return a value of `--set` in which an absolute path is reduced to the name of its file."""
    key, _, value = assignment.partition("=")
    return f"{key}={PurePath(value).name}" if PurePath(value).is_absolute() else assignment
