"""Debian as a guest: the archive, the order of modules, the cache, and what is said when something is missing."""

from __future__ import annotations

import json
import lzma
import os
import struct
import subprocess
from pathlib import Path

import pytest
import zstandard

from pyhv.vmm.debian import DebianError, cache_folder, cpio, debian_guest, guest, initramfs, modules, packages


def unpacked(archive: bytes) -> dict[str, tuple[int, bytes, tuple[int, int]]]:
    """Name → (mode, data, device), read by the format's own rules."""
    found, at = {}, 0
    while True:
        assert archive[at : at + 6] == b"070701"
        fields = [int(archive[at + 6 + 8 * n : at + 14 + 8 * n], 16) for n in range(13)]
        name = archive[at + 110 : at + 110 + fields[11] - 1].decode()
        at += (110 + fields[11] + 3) & ~3
        if name == "TRAILER!!!":
            return found
        assert name not in found
        found[name] = (fields[1], archive[at : at + fields[6]], (fields[9], fields[10]))
        at += (fields[6] + 3) & ~3


def test_an_archive_has_directories_before_what_is_in_them() -> None:
    archive = cpio.pack(
        [cpio.file("a/b/c", b"12345", 0o755), cpio.symlink("a/l", "b/c"), cpio.character_device("dev/console", 5, 1)]
    )
    found = unpacked(archive)
    assert list(found) == ["a", "a/b", "a/b/c", "a/l", "dev", "dev/console"]
    assert found["a/b/c"] == (0o100755, b"12345", (0, 0))
    assert found["a/l"] == (0o120777, b"b/c", (0, 0))
    assert found["dev/console"] == (0o020600, b"", (5, 1))
    assert len(archive) % 4 == 0


@pytest.mark.parametrize("name", ["", "/etc", "a\0b", "x" * 5000])
def test_names_that_cannot_be(name: str) -> None:
    with pytest.raises(ValueError, match="cannot be a name"):
        cpio.file(name, b"")


def module(depends: str) -> bytes:
    """A relocatable ELF file with nothing but .modinfo."""
    info = f"license=GPL\0depends={depends}\0name=x\0".encode()
    names = b"\0.modinfo\0.shstrtab\0"
    header = (
        b"\x7fELF\x02\x01\x01" + bytes(9) + struct.pack("<HHIQQQIHHHHHH", 1, 62, 1, 0, 0, 64, 0, 64, 0, 0, 64, 3, 2)
    )
    at = 64 + 3 * 64
    sections = bytes(64)
    for name, offset, size in ((1, at, len(info)), (10, at + len(info), len(names))):
        sections += struct.pack("<IIQQQQIIQQ", name, 1 if name == 1 else 3, 0, 0, offset, size, 0, 0, 1, 0)
    return header + sections + info + names


def test_modules_stand_behind_what_they_need(tmp_path: Path) -> None:
    (tmp_path / "net").mkdir()
    (tmp_path / "net/virtio-net.ko").write_bytes(module("virtio_ring,virtio,net-failover"))
    (tmp_path / "virtio_ring.ko.xz").write_bytes(lzma.compress(module("virtio")))
    (tmp_path / "virtio.ko.zst").write_bytes(zstandard.compress(module("")))
    (tmp_path / "net_failover.ko").write_bytes(module(""))
    found = modules.find(tmp_path)
    assert list(modules.in_order(["virtio_net", "not_there"], found)) == [
        "virtio", "virtio_ring", "net_failover", "virtio_net",
    ]  # fmt: skip


def test_modules_in_a_circle_damaged_or_missing(tmp_path: Path) -> None:
    for name, data in (("a", module("b")), ("b", module("a")), ("c", module("gone")), ("d", b"no ELF at all")):
        (tmp_path / f"{name}.ko").write_bytes(data)
    (tmp_path / "e.ko.xz").write_bytes(lzma.compress(b"x" * 99)[:-9])
    found = modules.find(tmp_path)
    for name, words in (
        ("a", "circle: a → b → a"),
        ("c", "needs gone"),
        ("d", "no kernel module"),
        ("e", "decompressed"),
    ):
        with pytest.raises(DebianError, match=words):
            modules.in_order([name], found)


def test_the_root_file_system(tmp_path: Path) -> None:
    found = unpacked(initramfs.build(b"BUSYBOX", {"virtio": b"V", "virtio_pci": b"P"}))
    assert found["bin/busybox"][:2] == (0o100755, b"BUSYBOX")
    assert found["etc/modules"][1] == b"virtio\nvirtio_pci\n"
    assert found["lib/modules/virtio_pci.ko"][1] == b"P"
    assert found["init"][1].startswith(b"#!/bin/sh\n")
    (tmp_path / "init").write_bytes(found["init"][1])
    subprocess.run(["sh", "-n", tmp_path / "init"], check=True)


def test_the_cache_follows_xdg(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert cache_folder() == tmp_path / "pyhv/debian"
    monkeypatch.setenv("XDG_CACHE_HOME", "relative")
    assert cache_folder() == Path.home() / ".cache/pyhv/debian"


def archive_of(folder: Path) -> None:
    """What the two packages unpack to, small."""
    for name, data in (
        ("boot/vmlinuz-6.1-x", b"KERNEL"),
        ("bin/busybox", b"BUSYBOX"),
        ("lib/modules/6.1-x/virtio_pci.ko", module("virtio")),
        ("lib/modules/6.1-x/virtio.ko", module("")),
    ):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(data)


def test_a_guest_is_made_once_and_found_without_network(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []
    monkeypatch.setattr(packages, "require_tools", lambda: None)
    monkeypatch.setattr(packages, "kernel_package", lambda meta: "linux-image-6.1-x")
    monkeypatch.setattr(packages, "download", lambda name, folder: asked.append(name) or folder / "x.deb")
    monkeypatch.setattr(packages, "unpack", lambda package, folder: archive_of(folder))
    first = debian_guest(tmp_path)
    assert asked == ["linux-image-6.1-x", "busybox-static"]
    assert (first.version, first.kernel.read_bytes()) == ("6.1-x", b"KERNEL")
    assert unpacked(first.initrd.read_bytes())["etc/modules"][1] == b"virtio\nvirtio_pci\n"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["guest.json", "initramfs-6.1-x.cpio", "vmlinuz-6.1-x"]
    monkeypatch.setattr(packages, "require_tools", lambda: pytest.fail("the cache is filled"))
    assert debian_guest(tmp_path) == first


@pytest.mark.parametrize(
    "damage", ["", "{", "[]", '{"format": 1}', '{"format": 0, "kernel": "k", "initrd": "i", "version": "v"}']
)
def test_half_a_cache_is_none(tmp_path: Path, damage: str, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "guest.json").write_text(damage)
    monkeypatch.setattr(packages, "require_tools", lambda: (_ for _ in ()).throw(DebianError("asked")))
    with pytest.raises(DebianError, match="asked"):
        debian_guest(tmp_path)


def test_a_machine_without_apt(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(DebianError, match=r"needs apt-get, apt-cache, dpkg-deb.*--kernel bzImage"):
        debian_guest(tmp_path / "cache")


@pytest.mark.parametrize(
    ("stderr", "words"),
    [
        ("E: Unable to locate package linux-image-cloud-amd64\n", "apt-get update"),
        ("E: Failed to fetch http://x  Temporary failure resolving 'x'\nE: Some files failed\n", "Is the network up"),
        ("", "no reason"),
    ],
)
def test_apt_s_own_words_and_what_helps(monkeypatch: pytest.MonkeyPatch, stderr: str, words: str) -> None:
    failed = subprocess.CompletedProcess([], 100, "", stderr)
    monkeypatch.setattr(subprocess, "run", lambda *_, **__: failed)
    with pytest.raises(DebianError, match=words):
        packages.kernel_package("linux-image-cloud-amd64")


def test_the_meta_package_names_its_kernel(monkeypatch: pytest.MonkeyPatch) -> None:
    shown = "Package: m\nDepends: linux-image-6.1.0-56-cloud-amd64 (= 6.1.192-2)\n"
    monkeypatch.setattr(subprocess, "run", lambda *_, **__: subprocess.CompletedProcess([], 0, shown, ""))
    assert packages.kernel_package("m") == "linux-image-6.1.0-56-cloud-amd64"


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_cache_that_cannot_be_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(packages, "require_tools", lambda: None)
    tmp_path.chmod(0o500)
    with pytest.raises(DebianError, match="cannot be filled"):
        debian_guest(tmp_path / "cache")


def test_the_manifest_is_json(tmp_path: Path) -> None:
    archive_of(tmp_path / "root")
    guest._collect(tmp_path / "root", tmp_path, "6.1-x")
    assert json.loads((tmp_path / "guest.json").read_text())["kernel"] == "vmlinuz-6.1-x"
