"""`hv boot`: start an operating system's kernel on a PC with disks, the terminal as its console."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import typer

from pyhv import BadArgument, HvError
from pyhv.sandbox import Files
from pyhv.vmm import boot as machine
from pyhv.vmm.boot import BootResult, BootSettings, DiskSetting
from pyhv.vmm.console import Capture
from pyhv.vmm.debian import DebianError, debian_guest
from pyhv.vmm.disk import DiskError
from pyhv.vmm.limits import Limits
from pyhv.vmm.loaders import kernel as kernels
from pyhv.vmm.plan import ImageError, Plan

from . import boot_options as options
from . import report
from . import run_options as shared
from .app import HvFailure, app, say
from .confine import NoSandbox, confine
from .exit_codes import ExitCode
from .files import Steps, read_image
from .guest_console import GuestConsole

DEBIAN = "debian"


@dataclass(frozen=True, slots=True)
class _Asked:
    """Which kernel, with what."""

    kernel: str
    initrd: Path | None
    append: str | None


@app.command("boot")
def boot(  # noqa: PLR0917 - one a command-line option
    kernel: options.Kernel,
    initrd: options.Initrd = None,
    append: options.Append = None,
    disk: options.Disks = None,
    cpus: options.Cpus = 1,
    memory: options.Memory = machine.DEFAULT_MEMORY,
    engine: shared.EngineName = None,
    timeout: shared.Timeout = None,
    until: shared.Until = None,
    profile: options.Profile = False,
    as_json: shared.AsJson = False,
    no_sandbox: NoSandbox = False,
) -> None:
    """Boot an operating system.

    The terminal is the guest's console, Ctrl-C too: **Ctrl-A X** ends the machine, **Ctrl-A H** helps. Exit codes: 0
    the guest switched off, 16 it rebooted, 18 its kernel panicked, 8 it died (triple fault), 10 it halted for ever,
    124 timeout, 130 Ctrl-A X or Ctrl-C; odd ones are the guest's, by port 0xF4; 2, 4 and 6 are errors before the start.
    """
    asked = _Asked(kernel, initrd, append)
    try:
        disks = [_disk(text) for text in disk or ()]
        steps = Steps()
        plan = _plan(asked, steps)
        settings = BootSettings(
            engine,
            memory,
            cpus,
            disks,
            Limits(timeout, None, until.encode() if until else None),
            virtio_input=_console_of(plan.arguments).startswith("hvc"),
            profile=profile,
        )
        if not no_sandbox:
            confine(_files(disks))
        result, capture = _run(plan, settings, as_json, steps)
    except HvFailure as failure:
        if as_json:
            failed = {"kernel": kernel, "outcome": "error", "reason": str(failure), "exit_code": int(failure.code)}
            typer.echo(json.dumps(failed, indent=2))
        raise
    except KeyboardInterrupt:
        raise typer.Exit(ExitCode.INTERRUPTED) from None
    if as_json:
        typer.echo(json.dumps(report.boot_dict(kernel, plan, result, capture), indent=2))
    _tell(result, profile, capture, as_json)
    raise typer.Exit(report.exit_code(result.outcome))


def _disk(text: str) -> DiskSetting:
    """`FILE` or `FILE,ro`; a file whose name ends so is found too."""
    if text.endswith(",ro") and not Path(text).exists():
        return DiskSetting(Path(text.removesuffix(",ro")), read_only=True)
    return DiskSetting(Path(text))


def _files(disks: list[DiskSetting]) -> Files:
    """What the machine still opens once it is confined."""
    read_only, writable = ([disk.path.resolve() for disk in disks if disk.read_only is ro] for ro in (True, False))
    return Files(readable=tuple(read_only), writable=tuple(writable))


def _console_of(arguments: str) -> str:
    """What the kernel reads its input from: the last `console=`."""
    named = [word.removeprefix("console=") for word in arguments.split() if word.startswith("console=")]
    return named[-1] if named else ""


def _plan(asked: _Asked, steps: Steps) -> Plan:
    path, initrd, line = Path(asked.kernel), asked.initrd, asked.append
    if asked.kernel == DEBIAN:
        try:
            guest = debian_guest(say=say)
        except DebianError as error:
            raise HvFailure(str(error), ExitCode.BAD_IMAGE) from None
        path, initrd = guest.kernel, asked.initrd or guest.initrd
        line = f"{guest.command_line} {asked.append or ''}".strip()
    image = read_image(path, steps)
    ram_disk = read_image(initrd, steps) if initrd else b""
    steps.say(f"unpacking {path.name}")
    try:
        return kernels.plan(image, kernels.DEFAULT_COMMAND_LINE if line is None else line, initrd=ram_disk)
    except ImageError as error:
        raise HvFailure(f"{path}: {error}", ExitCode.BAD_IMAGE) from None


def _run(plan: Plan, settings: BootSettings, as_json: bool, steps: Steps) -> tuple[BootResult, Capture]:
    steps.say("putting the kernel into memory")
    with GuestConsole() as console:
        capture = Capture(None if as_json else console.sink)
        first = steps.clear_at_first(capture)
        return _named_errors(lambda: machine.boot(plan, settings, first, console.source)), capture


def _named_errors(run: Callable[[], BootResult]) -> BootResult:
    try:
        return run()
    except (ImageError, DiskError) as error:
        raise HvFailure(str(error), ExitCode.BAD_IMAGE) from None
    except BadArgument as error:
        raise HvFailure(str(error), ExitCode.USAGE) from None
    except HvError as error:
        raise HvFailure(str(error), ExitCode.NO_MACHINE) from None
    except BrokenPipeError:
        raise
    except OSError as error:
        if error.filename is None:
            raise
        raise HvFailure(f"{error.filename} cannot be opened: {error.strerror}", ExitCode.BAD_IMAGE) from None


def _tell(result: BootResult, profile: bool, capture: Capture, quiet: bool) -> None:
    """A guest that switched itself off needs no words; everything else gets a sentence."""
    code = report.exit_code(result.outcome)
    if not quiet and capture.total_bytes and not capture.data.endswith(b"\n"):
        print(flush=True)
    if code % 2 == 0 and code != ExitCode.SUCCESS:
        say(report.sentence(result.outcome))
        report.print_lines(() if quiet else report.post_mortem(result))
    if profile:
        report.print_lines(report.boot_profile(result))
