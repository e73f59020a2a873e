"""`hv run IMAGE`: find out what the image is, run it on a virtual PC, and say how it ended."""

from __future__ import annotations

import json
import os
import sys
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path

import typer

from pyhv import BadArgument, HvError
from pyhv.sandbox import Files
from pyhv.vmm import session
from pyhv.vmm.console import Capture
from pyhv.vmm.limits import Limits
from pyhv.vmm.loaders import load
from pyhv.vmm.plan import ImageError, Kind, Mode, Plan
from pyhv.vmm.session import Result, Settings

from . import report
from . import run_options as options
from .app import HvFailure, app, say
from .confine import NoSandbox, confine
from .exit_codes import ExitCode
from .files import read_image
from .screen import Painter, ScreenKind
from .terminal import STDOUT, Progress, Terminal


@app.command("run", context_settings={"allow_interspersed_args": True})
def run(  # noqa: PLR0917 - one a command-line option
    image: options.Image,
    arguments: options.Arguments = None,
    engine: options.EngineName = None,
    memory: options.Memory = session.DEFAULT_MEMORY,
    load_at: options.LoadAt = None,
    entry: options.Entry = None,
    mode: options.StartMode = None,
    timeout: options.Timeout = None,
    max_instructions: options.MaxInstructions = None,
    until: options.Until = None,
    screen: options.Screen = ScreenKind.NONE,
    trace: options.Trace = False,
    stats: options.Stats = False,
    as_json: options.AsJson = False,
    no_sandbox: NoSandbox = False,
) -> None:
    """Run a guest program on a virtual PC.

    COM1 and the debug ports 0xE9 and 0x402 are this terminal. The guest ends the run by writing N to port 0xF4; the
    exit code is then (N << 1) | 1, so odd codes are the guest's. Even ones are ours: 0 success, 2 usage, 4 bad image,
    6 no such machine, 8 the guest died, 10 it halted for ever, 12 it asked for what is not here, 14 instruction limit,
    16 reset, 124 timeout, 130 Ctrl-C.
    """
    limits = Limits(timeout, max_instructions, until.encode() if until else None)
    on_trace = (lambda line: print(line, file=sys.stderr)) if trace else None
    with_screen = screen is ScreenKind.TEXT
    settings = Settings(engine, memory, limits, image.parent, on_trace, screen=with_screen)
    try:
        plan = _plan(image, mode=mode, load_at=load_at, entry=entry, arguments=" ".join(arguments or ()))
        if not no_sandbox:
            confine(Files(readable=(image.parent.resolve(),) if plan.kind is Kind.DOS else ()))
        result, capture = _run(plan, settings, as_json)
    except HvFailure as failure:
        if as_json:
            failed = {"image": str(image), "outcome": "error", "reason": str(failure), "exit_code": failure.code}
            typer.echo(json.dumps(failed, indent=2))
        raise
    except KeyboardInterrupt:  # Ctrl-C while setting up, or a second one while cleaning up
        raise typer.Exit(ExitCode.INTERRUPTED) from None
    if as_json:
        typer.echo(json.dumps(report.as_dict(str(image), plan, result, capture), indent=2))
    at_line_start = as_json or with_screen or not capture.total_bytes or capture.data.endswith(b"\n")
    if result.screen is not None and not as_json:
        _show_screen(result.screen, capture)
    _tell(result, stats, quiet=as_json, at_line_start=at_line_start)
    raise typer.Exit(report.exit_code(result.outcome))


def _plan(path: Path, *, mode: Mode | None, load_at: int | None, entry: int | None, arguments: str) -> Plan:
    try:
        image = read_image(path)
        return load(image, path.name, mode=mode, load_at=load_at, entry=entry, arguments=arguments)
    except ImageError as error:
        raise HvFailure(f"{path}: {error}", ExitCode.BAD_IMAGE) from None


def _run(plan: Plan, settings: Settings, as_json: bool) -> tuple[Result, Capture]:
    paints = settings.screen and not as_json and os.isatty(STDOUT)
    with Terminal() as terminal, Painter(STDOUT, sys.stdout.encoding) if paints else nullcontext() as painter:
        progress = Progress(terminal.sink)
        capture = Capture(None if as_json or painter else progress)
        settings = replace(
            settings,
            on_slice=None if settings.on_trace or painter else progress.update,
            on_frame=painter.draw if painter else None,
        )
        try:
            return session.run(plan, settings, capture, terminal.source), capture
        except ImageError as error:
            raise HvFailure(str(error), ExitCode.BAD_IMAGE) from None
        except BadArgument as error:
            raise HvFailure(str(error), ExitCode.USAGE) from None
        except HvError as error:
            raise HvFailure(str(error), ExitCode.NO_MACHINE) from None
        finally:
            progress.clear()


def _show_screen(lines: tuple[str, ...], capture: Capture) -> None:
    """The last picture as text, behind what came by COM1: on a terminal that was held back while the screen was up."""
    if os.isatty(STDOUT):
        print(capture.data.decode("utf-8", "backslashreplace").replace("\r", ""), end="")
    if capture.total_bytes and not capture.data.endswith(b"\n"):
        print()
    sys.stdout.flush()
    text = "".join(f"{line}\n" for line in lines)
    sys.stdout.buffer.write(
        text.encode(sys.stdout.encoding, "replace")
    )  # some terminals have no line-drawing characters
    sys.stdout.buffer.flush()


def _tell(result: Result, stats: bool, quiet: bool, at_line_start: bool) -> None:
    """A guest that ended by itself has said what it wanted; everything else gets a sentence."""
    code = report.exit_code(result.outcome)
    if not at_line_start and sys.stderr.isatty():
        print(file=sys.stderr)
    if code % 2 == 0 and code != ExitCode.SUCCESS:
        say(report.sentence(result.outcome))
        for line in () if quiet else (*report.notes(result), *report.post_mortem(result)):
            print(line, file=sys.stderr)
    for line in report.statistics(result) if stats else ():
        print(line, file=sys.stderr)
