"""Empty MLflow stores for tests, copied from one database since its creation takes seconds."""

from __future__ import annotations

import tempfile
from functools import cache
from pathlib import Path

from reports.store import open_store


@cache
def _empty_database() -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "mlflow.db")
        open_store(f"sqlite:///{path}")
        return path.read_bytes()


def fresh_store(folder: Path) -> str:
    """Create an empty SQLite store in a folder and return its URI."""
    path = folder / "mlflow.db"
    path.write_bytes(_empty_database())
    return f"sqlite:///{path}"
