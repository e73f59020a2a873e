"""`hv sysctl NAME`: what a Mac's sysctl says about virtualisation, for scripts that ask there first."""

from __future__ import annotations

from typing import Annotated

import typer

import pyhv

from .app import HvFailure, app
from .exit_codes import ExitCode

KNOWN = {"kern.hv_support": lambda: int(pyhv.hv_support())}


@app.command("sysctl")
def sysctl(
    name: Annotated[str, typer.Argument(help="The name to read: kern.hv_support.")],
    value_only: Annotated[bool, typer.Option("-n", help="Print the value without the name.")] = False,
) -> None:
    """Read a system value by the name that it has on a Mac: 1 when virtual machines can be made here, else 0."""
    if name not in KNOWN:
        raise HvFailure(f"there is no value {name!r} here; there is {', '.join(KNOWN)}", ExitCode.USAGE)
    value = KNOWN[name]()
    typer.echo(str(value) if value_only else f"{name}: {value}")
