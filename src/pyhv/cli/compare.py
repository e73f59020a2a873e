"""`hv compare IMAGE`: run an image on two engines in lock-step, and show where they part."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from pyhv import BadArgument, HvError
from pyhv.sandbox import Files
from pyhv.vmm.compare import Comparison, compare
from pyhv.vmm.loaders import load
from pyhv.vmm.plan import ImageError

from . import run_options as options
from . import values
from .app import HvFailure, app, say
from .confine import NoSandbox, confine
from .exit_codes import ExitCode
from .files import read_image
from .terminal import Terminal

Steps = Annotated[int, typer.Option("--steps", metavar="N", min=1, help="End after N instructions.")]
First = Annotated[str, typer.Option("--engine", metavar="E", help="The engine to compare with.")]
Second = Annotated[str, typer.Option("--to", metavar="E", help="The engine to be compared.")]
Memory = Annotated[
    int,
    typer.Option(metavar="SIZE", parser=values.memory_size, show_default="16M", help="RAM, such as 64M or 2G."),
]


@app.command("compare")
def compare_(  # noqa: PLR0917 - one a command-line option
    image: options.Image,
    engine: First = "soft",
    to: Second = "kvm",
    steps: Steps = 10_000,
    memory: Memory = 16 << 20,
    load_at: options.LoadAt = None,
    entry: options.Entry = None,
    mode: options.StartMode = None,
    no_sandbox: NoSandbox = False,
) -> None:
    """Run an image on two engines, instruction by instruction, and compare their whole state after each.

    Without BIOS, DOS and interrupts. Exit code 0: the same; 20: they differ, and stderr says in what.
    """
    try:
        plan = load(read_image(image), image.name, mode=mode, load_at=load_at, entry=entry, arguments="")
        if not no_sandbox:
            confine(Files())
        with Terminal() as terminal:
            found = compare(plan, (engine, to), memory, steps, terminal.sink)
    except ImageError as error:
        raise HvFailure(f"{image}: {error}", ExitCode.BAD_IMAGE) from None
    except BadArgument as error:
        raise HvFailure(str(error), ExitCode.USAGE) from None
    except HvError as error:
        raise HvFailure(str(error), ExitCode.NO_MACHINE) from None
    _tell(found, engine, to)


def _tell(found: Comparison, engine: str, to: str) -> None:
    if not found.lines:
        say(f"{engine} and {to} agree over {found.steps:,} steps, up to {found.end}")
        return
    say(f"{engine} -> {to} differ after {found.steps:,} steps that were the same:")
    for line in found.lines:
        print(f"  {line}", file=sys.stderr)
    raise typer.Exit(ExitCode.DIFFERENT)
