"""The database of searches: its creation, locks, outages and lost answers."""

from __future__ import annotations

import signal
import subprocess
import sys
from typing import TYPE_CHECKING

from orchestrator.sweeping.search_storage import open_search_storage
from trainables.databases import database_url

if TYPE_CHECKING:
    from pathlib import Path

KILLED_WHILE_CREATING = """
import os, signal, sys
from pathlib import Path
from orchestrator.sweeping.search_storage import open_search_storage
from trainables.databases import database_url

Path.replace = lambda *_: os.kill(os.getpid(), signal.SIGKILL)
open_search_storage(database_url(Path(sys.argv[1])))
"""


def test_a_database_of_searches_is_created_whole_or_not_at_all(tmp_path: Path) -> None:
    folder = tmp_path / "a %41?b{0}"
    folder.mkdir()
    path = folder / "optuna.db"
    process = subprocess.run([sys.executable, "-c", KILLED_WHILE_CREATING, path], check=False)
    assert process.returncode == -signal.SIGKILL
    assert not path.exists()
    storage = open_search_storage(database_url(path))
    assert storage.get_all_studies() == []
    storage.engine.dispose()
    assert path.exists()
    assert sorted(tmp_path.iterdir()) == [folder]
    assert not list(folder.glob(".*.partial*"))
