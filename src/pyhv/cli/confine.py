"""`hv run`, `hv boot` and `hv compare` keep only what their guest needs: the process is confined before it starts."""

from __future__ import annotations

from typing import Annotated

import typer

from pyhv import BadArgument, HvError, sandbox

from .app import HvFailure, say
from .exit_codes import ExitCode

NoSandbox = Annotated[
    bool,
    typer.Option("--no-sandbox", help="Do not confine this process to the files and system calls that it needs."),
]


def confine(files: sandbox.Files) -> None:
    """For good: only `files` and Python's own can be opened, and network and USB devices cannot.

    Where the host has no means for that a line on stderr says so, and the guest runs all the same. A process that may
    not make a machine is left as it is: making it is refused next, and the refusal names who took the right away.
    """
    try:
        if sandbox.of_process().hypervisor:
            sandbox.enter(sandbox.Entitlements(hypervisor=True), files=files)
    except BadArgument as error:
        raise HvFailure(str(error), ExitCode.USAGE) from None
    except (HvError, OSError) as error:
        say(f"this process is not confined (--no-sandbox leaves this line out): {error}")
