from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

from orchestrator.engine.temp_dirs import temp_files_of_process

KILLED = """
import os, signal, tempfile
from orchestrator.engine.temp_dirs import temp_files_of_process

with temp_files_of_process():
    print(tempfile.mkdtemp(), flush=True)
    os.kill(os.getpid(), signal.SIGKILL)
"""


def test_temporary_files_of_a_killed_process_are_removed_by_the_next() -> None:
    killed = subprocess.run(
        [sys.executable, "-c", KILLED], stdout=subprocess.PIPE, text=True, check=False
    )
    assert killed.returncode == -signal.SIGKILL
    left = Path(killed.stdout.strip())
    assert left.is_dir()
    usual_folder = tempfile.gettempdir()
    with temp_files_of_process():
        assert not left.parent.exists()
        with tempfile.TemporaryDirectory() as folder:
            own_folder = Path(folder).parent
            assert own_folder.name.startswith(f"nal-{os.getpid()}-")
    assert not own_folder.exists()
    assert tempfile.gettempdir() == usual_folder
