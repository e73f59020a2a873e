"""What a call of the C library costs: `calls.c` is built as a client builds its program, and tells."""

from __future__ import annotations

import os
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

from pyhv.framework.c_library import NotInstalled, include_folder, library, require_loadable

from .figures import Figure, at_most
from .guest import c_compiler

SOURCE = Path(__file__).with_name("calls.c")
LIMIT_NS = 1000
SELDOM = {
    "hv_vmx_vcpu_get_cap_write_vmcs",
    "hv_vcpu_read_fpstate",
    "hv_vcpu_write_fpstate",
    "hv_vcpu_set_space",
    "hv_vm_protect",
    "emulated_port",
}
"""Not promised to be below the limit: they set up, copy kilobytes, change memory, or are several calls."""


def compile_calls(folder: Path) -> Path:
    """The program, made in `folder`. Raises NotInstalled where there is no C library."""
    require_loadable()
    lib = str(library().parent)
    flags = ["-O2", "-pthread", f"-I{include_folder()}", f"-L{lib}", f"-Wl,-rpath,{lib}"]
    program = folder / "calls"
    subprocess.run([c_compiler(), *flags, "-o", str(program), str(SOURCE), "-lHypervisor"], check=True)
    return program


def measure(engine: str, quick: bool) -> Iterator[Figure]:
    """Nanoseconds a call: the least of the rounds and their median, from the main thread and from one of C's own."""
    with tempfile.TemporaryDirectory() as folder:
        try:
            program = compile_calls(Path(folder))
        except NotInstalled:
            return  # pyhv was built without; `hv c-flags` says why
        rounds, calls = ("5", "1000") if quick else ("11", "10000")
        environment = os.environ | {"PYHV_ENGINE": engine}
        done = subprocess.run(
            [str(program), rounds, calls], check=True, capture_output=True, text=True, env=environment
        )
    for line in done.stdout.splitlines():
        who, function, least, median = line.split()
        name = f"c.{function}" if who == "main" else f"c.{function}.{who}"
        promised = function not in SELDOM
        yield at_most(name, float(least), "ns", LIMIT_NS) if promised else Figure(name, float(least), "ns")
        if who == "main":
            yield Figure(f"{name}.median", float(median), "ns")
