"""Kernels of operating systems: `plan` finds the way in that fits the file."""

from __future__ import annotations

from ..plan import ImageError, Plan
from . import linux, multiboot, pvh

DEFAULT_COMMAND_LINE = "console=ttyS0 panic=-1"
_BOOTABLE = "bootable are bzImage, vmlinux with a PVH entry, and Multiboot kernels; `hv run` takes other images"


def plan(image: bytes, arguments: str = "", *, initrd: bytes = b"") -> Plan:
    """A bzImage (unpacked here where we know how), an ELF kernel by PVH, or one by Multiboot. Raises ImageError."""
    if not image:
        raise ImageError("the file is empty; there is nothing to boot")
    if linux.is_image(image):
        return linux.unpacked_plan(image, arguments, initrd=initrd)
    is_elf = image.startswith(b"\x7fELF")
    if is_elf and pvh.find_entry(image) is not None:
        return pvh.plan(image, arguments, initrd=initrd)
    if multiboot.find_header(image) is not None:
        if initrd:
            raise ImageError("a Multiboot kernel is given no initrd here; leave out --initrd")
        return multiboot.plan(image, arguments)
    if is_elf:
        raise ImageError(f"this ELF file has neither a PVH entry nor a Multiboot header; {_BOOTABLE}")
    raise ImageError(f"this is no kernel; {_BOOTABLE}")
