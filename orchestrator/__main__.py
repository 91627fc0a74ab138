"""Entry point: `python -m orchestrator`, or `nal-orchestrator`."""

from __future__ import annotations

import sys

from orchestrator.cli import app
from trainables.errors import NalError


def main() -> None:
    """Run the command line; a fault that is explained is one line, without a traceback."""
    try:
        app()
    except NalError as error:
        sys.stderr.write(f"error: {error}\n")
        sys.exit(error.exit_code)
    except KeyboardInterrupt:
        sys.stderr.write("interrupted\n")
        sys.exit(130)


if __name__ == "__main__":
    main()
