"""A kernel and an initramfs of Debian's, ready in a cache folder: made once, then used without network."""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from . import initramfs, modules, packages
from .errors import DebianError

META_PACKAGE = "linux-image-cloud-amd64"
BUSYBOX_PACKAGE = "busybox-static"
MANIFEST = "guest.json"
FORMAT = 1  # of the folder: another number makes it anew from the packages that are there
DRIVERS = ("virtio_pci", "virtio_blk", "virtio_net", "virtio_console", "virtio_rng")
COMMAND_LINE = "console=ttyS0 panic=-1"


@dataclass(frozen=True, slots=True)
class DebianGuest:
    """Files to boot, and the kernel's version for people."""

    kernel: Path
    initrd: Path
    version: str
    command_line: str = COMMAND_LINE


def cache_folder() -> Path:
    """Where fetched guests live: `$XDG_CACHE_HOME/pyhv/debian`, by the XDG Base Directory Specification."""
    given = os.environ.get("XDG_CACHE_HOME", "")
    base = Path(given) if Path(given).is_absolute() else Path.home() / ".cache"
    return base / "pyhv" / "debian"


def debian_guest(folder: Path | None = None, say: Callable[[str], object] = lambda _: None) -> DebianGuest:
    """The guest in `folder` (by default the cache), fetched and built first if it is not there. Raises DebianError."""
    folder = folder or cache_folder()
    found = _from_manifest(folder)
    if found:
        return found
    packages.require_tools()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        return _make(folder, say)
    except OSError as error:
        raise DebianError(f"the cache folder {folder} cannot be filled: {error.strerror or error}") from None


def _from_manifest(folder: Path) -> DebianGuest | None:
    try:
        manifest = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
        guest = DebianGuest(folder / manifest["kernel"], folder / manifest["initrd"], manifest["version"])
    except (OSError, ValueError, KeyError, TypeError):
        return None
    whole = manifest.get("format") == FORMAT and guest.kernel.is_file() and guest.initrd.is_file()
    return guest if whole else None


def _make(folder: Path, say: Callable[[str], object]) -> DebianGuest:
    kernel_name = packages.kernel_package(META_PACKAGE)
    with tempfile.TemporaryDirectory(dir=folder, prefix="unpacked-") as scratch:
        root = Path(scratch)
        for name in (kernel_name, BUSYBOX_PACKAGE):
            say(f"fetching {name} with apt")
            file = packages.download(name, root)
            say(f"unpacking {file.name}")
            packages.unpack(file, root / "root")
        say("building the initramfs")
        return _collect(root / "root", folder, kernel_name.removeprefix("linux-image-"))


def _collect(root: Path, folder: Path, version: str) -> DebianGuest:
    """Take the kernel and build the initramfs; the manifest is written last, so that half a folder is none."""
    kernel = root / "boot" / f"vmlinuz-{version}"
    busybox = next((path for path in (root / "bin/busybox", root / "usr/bin/busybox") if path.is_file()), None)
    if not kernel.is_file() or busybox is None:
        raise DebianError(f"the packages have no {kernel.name} or no busybox where Debian puts them")
    folders = [root / "lib/modules" / version, root / "usr/lib/modules" / version]
    found = {name: path for each in folders for name, path in modules.find(each).items()}
    archive = initramfs.build(busybox.read_bytes(), modules.in_order(DRIVERS, found))
    guest = DebianGuest(folder / kernel.name, folder / f"initramfs-{version}.cpio", version)
    _replace(guest.initrd, archive)
    shutil.copyfile(kernel, guest.kernel)
    manifest = {"format": FORMAT, "version": version, "kernel": guest.kernel.name, "initrd": guest.initrd.name}
    _replace(folder / MANIFEST, json.dumps(manifest, indent=2).encode() + b"\n")
    return guest


def _replace(path: Path, data: bytes) -> None:
    """Write a file so that it is whole or not there."""
    part = path.with_name(f"{path.name}.{os.getpid()}")
    part.write_bytes(data)
    part.replace(path)
