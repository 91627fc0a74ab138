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

    Values have full precision. A study file is named without its folder, since the command may be
    published: it works in the folder of the study.

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
    # Other keys may refer to the methods of a flag, which `train` does not have.
    methods = [f"methods=[{', '.join(study_flags.methods)}]"] if study_flags.methods else []
    flags = replace(
        study_flags,
        study=PurePath(study).name if is_study_path(study) else study,
        trials=None,
        seeds=None,
        methods=None,
        scenarios=(loaded_study.extensions.text_with_references(cell.scenario),),
        sets=(*study_flags.sets, *methods, *values),
    )
    method = loaded_study.extensions.text_with_references(cell.method)
    return f"{command_line('train', flags)} --method {shlex.quote(method)}"
