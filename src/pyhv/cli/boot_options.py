"""The options that `hv boot` alone has, one type each; those of `hv run` that it has too are in run_options.py."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from pyhv.vmm import boot as machine
from pyhv.vmm.loaders import kernel as kernels

from . import values

Kernel = Annotated[
    str, typer.Option(metavar="K", help="bzImage, vmlinux (PVH) or Multiboot file; `debian`: fetched with apt.")
]
Initrd = Annotated[Path | None, typer.Option(metavar="I", help="Initial RAM disk.")]
Append = Annotated[
    str | None,
    typer.Option(
        metavar="S", help=f"Kernel command line instead of `{kernels.DEFAULT_COMMAND_LINE}`; with debian, more."
    ),
]
Disks = Annotated[
    list[str] | None, typer.Option(metavar="FILE[,ro]", help="A raw image as a virtio disk; may be repeated.")
]
Cpus = Annotated[int, typer.Option(metavar="N", min=1, max=machine.CPUS_MAX, help="Processors.")]
Memory = Annotated[
    int,
    typer.Option(metavar="SIZE", parser=values.memory_size, show_default="256M", help="RAM, such as 512M or 2G."),
]
Profile = Annotated[bool, typer.Option("--profile", help="Say on stderr at the end where time went.")]
