"""Loaders: bytes in, a `Plan` out. `load` finds the right one; what cannot run gets an `ImageError` that says why."""

from __future__ import annotations

from ..plan import ImageError, Mode, Plan
from . import com, elf, firmware, flat, linux, multiboot

_FOREIGN: tuple[tuple[bytes, str], ...] = (
    (b"\xcf\xfa\xed\xfe", "a Mach-O executable, which needs macOS"),
    (b"\xce\xfa\xed\xfe", "a Mach-O executable, which needs macOS"),
    (b"\xca\xfe\xba\xbe", "a Mach-O universal file or a Java class"),
    (b"\x1f\x8b", "gzip-compressed: unpack it first (gunzip)"),
    (b"\xfd7zXZ\x00", "xz-compressed: unpack it first (unxz)"),
    (b"BZh", "bzip2-compressed: unpack it first (bunzip2)"),
    (b"\x28\xb5\x2f\xfd", "zstd-compressed: unpack it first (unzstd)"),
    (b"PK\x03\x04", "a zip archive: unpack it first"),
    (b"!<arch>\n", "an ar archive (a static library): link it to an executable first"),
    (b"QFI\xfb", "a qcow2 disk image; disks cannot be attached yet"),
    (b"#!", "a script for an interpreter"),
)


def load(
    image: bytes,
    name: str = "",
    *,
    mode: Mode | None = None,
    load_at: int | None = None,
    entry: int | None = None,
    arguments: str = "",
) -> Plan:
    """Find out what `image` is and plan how it starts.

    `name` matters for DOS programs only, which have no mark but their ".com". `load_at` (a GPA) says that the image is
    a flat binary, whatever it looks like; `mode` and `entry` replace what the format says. Raises ImageError.
    """
    if not image:
        raise ImageError("the file is empty; there is nothing to run")
    if load_at is not None:
        return flat.plan(image, mode=mode, load_at=load_at, entry=entry)
    if image.startswith(b"\x7fELF"):
        return _load_elf(image, mode, entry, arguments)
    if linux.is_image(image):
        return linux.plan(image, arguments, mode=mode, entry=entry)
    _refuse_foreign(image)
    if name.lower().endswith(".com"):
        return com.plan(image, arguments, mode=mode, entry=entry)
    if multiboot.find_header(image) is not None:
        return multiboot.plan(image, arguments, mode=mode, entry=entry)
    if mode is None and entry is None and firmware.looks_like(image):
        return firmware.plan(image)
    return flat.plan(image, mode=mode, load_at=None, entry=entry)


def _load_elf(image: bytes, mode: Mode | None, entry: int | None, arguments: str) -> Plan:
    if mode is not Mode.LONG and multiboot.find_header(image) is not None:
        return multiboot.plan(image, arguments, mode=mode, entry=entry)
    return elf.plan(image, mode=mode, entry=entry, arguments=arguments)


def _refuse_foreign(image: bytes) -> None:
    for magic, what in _FOREIGN:
        if image.startswith(magic):
            raise ImageError(f"this is {what}; {_RUNNABLE}")
    if image[:2] == b"MZ":
        header = int.from_bytes(image[0x3C:0x40], "little")
        what = "a Windows or EFI program" if image[header : header + 4] == b"PE\0\0" else "a DOS .EXE program"
        raise ImageError(f"this is {what}; of DOS only .COM programs run. {_RUNNABLE}")


_RUNNABLE = (
    "runnable are flat binaries, DOS .COM, ELF, Multiboot and Linux kernels and firmware (with --load ADDR: any bytes)"
)
