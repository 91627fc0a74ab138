"""Entry point of the commands `python -m orchestrator` and `nal-orchestrator`."""

from __future__ import annotations

import sys

from orchestrator.interpreter import exclude_working_directory

exclude_working_directory()  # before anything else is imported

import typer  # noqa: E402

from orchestrator.cli import app  # noqa: E402
from trainables.errors import NalError  # noqa: E402

USAGE_ERROR: type[Exception] = typer.BadParameter.__mro__[1]
"""Base class of the usage errors of click.

It is taken from a class of typer, because the module of click depends on typer's version.
"""


def main() -> None:
    """Run the command line and exit the process.

    Errors that explain themselves are printed without a traceback.
    """
    try:
        code = app(sys.argv[1:] or ["--help"], standalone_mode=False)
    except NalError as error:
        sys.stderr.write(f"error: {error}\n")
        code = error.exit_code
    except USAGE_ERROR as error:
        message = error.format_message() if hasattr(error, "format_message") else str(error)
        sys.stderr.write(f"error: {message} (--help lists what is allowed)\n")
        code = 2
    except KeyboardInterrupt:
        sys.stderr.write("error: interrupted: type the same command to go on\n")
        code = 130
    sys.exit(code)


if __name__ == "__main__":
    main()
