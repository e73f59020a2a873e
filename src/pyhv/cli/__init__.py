"""The `hv` command: one module a subcommand."""

from __future__ import annotations

import os
import sys

from . import boot, c_flags, compare, engines, run, sysctl
from .app import HvFailure, app, say
from .exit_codes import ExitCode

SUBCOMMANDS = (run, boot, engines, sysctl, c_flags, compare)
TRACEBACK = "PYHV_TRACEBACK"


def main() -> None:
    """Entry point of the `hv` command; ends the process with a code of `docs/exit-codes.md`."""
    try:
        app(prog_name="hv")
    except HvFailure as failure:
        say(str(failure))
        sys.exit(failure.code)
    except KeyboardInterrupt:
        sys.exit(ExitCode.INTERRUPTED)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # nobody reads: let the last flush go nowhere
        sys.exit(ExitCode.SUCCESS)
    except Exception as bug:
        if os.environ.get(TRACEBACK):
            raise
        say(f"internal error, please report it: {type(bug).__name__}: {bug} ({TRACEBACK}=1 shows where)")
        sys.exit(ExitCode.INTERNAL)
