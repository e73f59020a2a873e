"""`hv c-flags`: what a C or C++ compiler needs to build a program of Hypervisor.framework with pyhv."""

from __future__ import annotations

import json
import shlex
from typing import Annotated

import typer

from pyhv.framework.c_library import NotInstalled, include_folder, library, require_loadable

from .app import HvFailure, app, say
from .exit_codes import ExitCode


@app.command("c-flags")
def c_flags(
    compile_only: Annotated[bool, typer.Option("--cflags", help="Only what compiling needs.")] = False,
    link_only: Annotated[bool, typer.Option("--libs", help="Only what linking needs.")] = False,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print a JSON object: both lists of flags, the folders, the library.")
    ] = False,
) -> None:
    """Print the flags to build a C or C++ program with: `gcc prog.c $(hv c-flags) -o prog`.

    The program finds the library and its Python by itself: it runs in an empty environment, from any folder, without an
    activated environment. `pkg-config --cflags --libs Hypervisor` says the same, with PKG_CONFIG_PATH on the folder
    that `--json` calls `pkg_config_path`.
    """
    compiling, linking = _flags()
    if as_json:
        typer.echo(json.dumps(_about(compiling, linking), indent=2))
        return
    if compile_only and link_only:
        compile_only = link_only = False  # both, as with pkg-config
    shown = shlex.join([*([] if link_only else compiling), *([] if compile_only else linking)])
    if any(flag != shlex.quote(flag) for flag in (*compiling, *linking)):
        say("pyhv lies in a folder whose name a shell takes apart: use  eval gcc prog.c $(hv c-flags) -o prog")
    typer.echo(shown)


def _flags() -> tuple[list[str], list[str]]:
    """For compiling, and for linking."""
    try:
        include, folder = include_folder(), library().parent
        require_loadable()
    except NotInstalled as error:
        raise HvFailure(str(error), ExitCode.NO_MACHINE) from None
    return [f"-I{include}"], [f"-L{folder}", f"-Wl,-rpath,{folder}", "-lHypervisor"]


def _about(compiling: list[str], linking: list[str]) -> dict[str, object]:
    return {
        "cflags": compiling,
        "libs": linking,
        "include": str(include_folder()),
        "library": str(library()),
        "pkg_config_path": str(library().parent / "pkgconfig"),
    }
