"""`hv c-flags`: what a C or C++ compiler needs to build a program of Hypervisor.framework with pyhv."""

from __future__ import annotations

import shlex
from typing import Annotated

import typer

from pyhv.framework.c_library import NotInstalled, include_folder, library

from .app import HvFailure, app
from .exit_codes import ExitCode


@app.command("c-flags")
def c_flags(
    compile_only: Annotated[bool, typer.Option("--cflags", help="Only what compiling needs.")] = False,
    link_only: Annotated[bool, typer.Option("--libs", help="Only what linking needs.")] = False,
) -> None:
    """Print the flags to build a C program with: `gcc prog.c $(hv c-flags) -o prog`.

    The program finds the library and its Python by itself, also in an empty environment. pkg-config knows the same as
    `Hypervisor`, with PKG_CONFIG_PATH on the folder `pkgconfig` beside the library.
    """
    try:
        include, folder = str(include_folder()), str(library().parent)
    except NotInstalled as error:
        raise HvFailure(str(error), ExitCode.NO_MACHINE) from None
    flags = [] if link_only else [f"-I{include}"]
    flags += [] if compile_only else [f"-L{folder}", f"-Wl,-rpath,{folder}", "-lHypervisor"]
    typer.echo(shlex.join(flags))
