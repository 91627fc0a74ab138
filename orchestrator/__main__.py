"""Entry point of the commands `python -m orchestrator` and `nal-orchestrator`."""

from __future__ import annotations

import logging
import signal
import sys

from orchestrator.interpreter import exclude_working_directory

exclude_working_directory()  # before anything else is imported

import typer  # noqa: E402

from orchestrator.cli import app  # noqa: E402
from trainables.errors import InterruptionError, NalError  # noqa: E402
from trainables.texts import printable_message  # noqa: E402

ClickUsageError: type[Exception] = typer.BadParameter.__mro__[1]
"""Base class of the errors that click raises for invalid command lines.

The class is found through typer, since the module that defines it depends on typer's version.
"""


def main() -> None:
    """Run the command line and exit the process.

    An error of the user is printed as one line, without a traceback. SIGTERM, which job schedulers
    send, and SIGHUP, the end of the terminal, end a command like Ctrl-C.
    """
    for number in (signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(number) is not signal.SIG_IGN:  # as under nohup
            signal.signal(number, signal.default_int_handler)
    # SQLAlchemy would print the traceback of an interrupt that reaches it.
    logging.getLogger("sqlalchemy.pool").setLevel(logging.CRITICAL)
    try:
        exit_code = app(sys.argv[1:], standalone_mode=False)
    except InterruptionError as interruption:
        sys.stderr.write(f"{interruption}\n")
        exit_code = interruption.exit_code
    except NalError as error:
        advice = f" ({error.flag_advice})" if error.flag_advice else ""
        sys.stderr.write(f"error: {printable_message(str(error))}{advice}\n")
        exit_code = error.exit_code
    except ClickUsageError as error:
        message = error.format_message() if hasattr(error, "format_message") else str(error)
        message = printable_message(message)
        sys.stderr.write(f"error: {message} (--help lists the allowed commands and options)\n")
        exit_code = 2
    sys.exit(exit_code)


if __name__ == "__main__":
    main()
