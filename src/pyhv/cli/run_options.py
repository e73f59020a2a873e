"""The options of `hv run`, one type each: what it takes, how it is spelled, its line in --help."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from pyhv.vmm.plan import Mode

from . import values
from .screen import ScreenKind

Image = Annotated[
    Path, typer.Argument(help="Flat binary, boot sector, DOS .COM, ELF, Multiboot, bzImage, or firmware.")
]
Arguments = Annotated[
    list[str] | None, typer.Argument(help="For the guest: a DOS command tail, a kernel's command line.")
]
EngineName = Annotated[
    str | None,
    typer.Option(
        metavar="E",
        envvar="PYHV_ENGINE",
        help="Engine to run on; `hv engines` lists them.",
        show_default="the fastest that can",
    ),
]
Memory = Annotated[
    int,
    typer.Option(metavar="SIZE", parser=values.memory_size, show_default="128M", help="RAM, such as 64M or 2G."),
]
LoadAt = Annotated[
    int | None,
    typer.Option(
        "--load", metavar="ADDR", parser=values.address, help="Take the image as a flat binary and put it here."
    ),
]
Entry = Annotated[
    int | None,
    typer.Option(metavar="ADDR", parser=values.address, help="Start here instead of where the image says."),
]
StartMode = Annotated[Mode | None, typer.Option(help="Processor mode at the start (flat binaries: real).")]
Timeout = Annotated[
    float | None, typer.Option(metavar="S", parser=values.seconds, help="End after S seconds, with exit code 124.")
]
MaxInstructions = Annotated[
    int | None, typer.Option(metavar="N", min=1, help="End after N instructions, with exit code 14.")
]
Until = Annotated[
    str | None, typer.Option(metavar="TEXT", help="End with exit code 0 once the guest has printed TEXT.")
]
Screen = Annotated[ScreenKind, typer.Option(help="text: show the guest's 80x25 text screen, and type on its keyboard.")]
Trace = Annotated[bool, typer.Option("--trace", help="Print each instruction on stderr first (slow).")]
Stats = Annotated[bool, typer.Option("--stats", help="Print instructions, exits and time on stderr.")]
AsJson = Annotated[
    bool, typer.Option("--json", help="Print only one JSON object on stdout; the guest's output is in it.")
]
