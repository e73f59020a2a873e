"""Kernel modules in the order that insmod needs, by what each says about itself in its `.modinfo` section."""

from __future__ import annotations

import bz2
import gzip
import lzma
from collections.abc import Iterable, Mapping
from io import BytesIO
from pathlib import Path

from elftools.common.exceptions import ELFError
from elftools.elf.elffile import ELFFile

from .errors import DebianError

SUFFIXES = (".ko", ".ko.xz", ".ko.zst", ".ko.gz")


def find(folder: Path) -> dict[str, Path]:
    """The modules below a kernel's folder, by name; `-` and `_` are the same in names of modules."""
    files = (path for path in sorted(folder.rglob("*.ko*")) if path.name.endswith(SUFFIXES))
    return {path.name.split(".ko")[0].replace("-", "_"): path for path in files}


def read(path: Path) -> bytes:
    """The module itself, decompressed by what its file begins with. Raises DebianError."""
    data = path.read_bytes()
    try:
        if data.startswith(b"\xfd7zXZ\0"):
            return lzma.decompress(data)
        if data.startswith(b"\x1f\x8b"):
            return gzip.decompress(data)
        if data.startswith(b"BZh"):
            return bz2.decompress(data)
        if data.startswith(b"\x28\xb5\x2f\xfd"):
            return _zstd(data)
    except (lzma.LZMAError, OSError, EOFError, ValueError) as error:
        raise DebianError(f"the kernel module {path} cannot be decompressed: {error}") from None
    return data


def _zstd(data: bytes) -> bytes:
    import zstandard  # noqa: PLC0415 - few packages need it, and every start of `hv` would wait for it

    try:
        return zstandard.ZstdDecompressor().decompressobj().decompress(data)
    except zstandard.ZstdError as error:
        raise ValueError(str(error)) from None


def depends(module: bytes, name: str = "the module") -> tuple[str, ...]:
    """The names of the modules that have to be there first. Raises DebianError."""
    try:
        section = ELFFile(BytesIO(module)).get_section_by_name(".modinfo")
    except (ELFError, ValueError, KeyError) as error:
        raise DebianError(f"{name} is no kernel module: {error}") from None
    if section is None:
        raise DebianError(f"{name} is no kernel module: it has no section .modinfo")
    for line in section.data().split(b"\0"):
        key, _, value = line.partition(b"=")
        if key == b"depends":
            return tuple(part.replace("-", "_") for part in value.decode().split(",") if part)
    return ()


def in_order(wanted: Iterable[str], found: Mapping[str, Path]) -> dict[str, bytes]:
    """The wanted modules and all that they need, each behind what it needs. What the kernel has built in is left out.

    A wanted module that is not in `found` is taken as built in; one that another names must be there. Raises
    DebianError.
    """
    order: dict[str, bytes] = {}
    underway: list[str] = []

    def add(name: str) -> None:
        if name in order:
            return
        if name in underway:
            raise DebianError(f"kernel modules need each other in a circle: {' → '.join([*underway, name])}")
        underway.append(name)
        module = read(found[name])
        for needed in depends(module, name):
            if needed not in found:
                raise DebianError(f"the kernel module {name} needs {needed}, which the package does not have")
            add(needed)
        underway.pop()
        order[name] = module

    for name in wanted:
        if name.replace("-", "_") in found:
            add(name.replace("-", "_"))
    return order
