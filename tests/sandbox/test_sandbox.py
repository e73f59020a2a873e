"""Confined processes try what they must not do. Each is a process of its own: there is no way back."""

from __future__ import annotations

import os
import plistlib
import subprocess
import sys
from pathlib import Path

import pytest

import pyhv
from pyhv.errors import BadArgument
from pyhv.sandbox import Entitlements

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="the sandbox is Linux's")

HYPERVISOR, OLD_NAME = "com.apple.security.hypervisor", "com.apple.vm.hypervisor"
NETWORKING, DEVICES = "com.apple.vm.networking", "com.apple.vm.device-access"

TRY = """
import ctypes, errno, fcntl, os, socket, sys, threading
import pyhv, pyhv.sandbox
from pyhv.sandbox import Entitlements, Files

def tried(what, *arguments, **named):
    try:
        what(*arguments, **named)
    except OSError as error:
        return errno.errorcode[error.errno] if error.errno else type(error).__name__
    except pyhv.HvError as error:
        return type(error).__name__
    return "ok"

def opened(path, flags=os.O_RDONLY):
    os.close(os.open(path, flags))
"""


def confined(program: str, **environment: str) -> list[str]:
    """What the program printed, a line each."""
    done = subprocess.run(
        [sys.executable, "-c", TRY + program],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        env={**os.environ, **environment},
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.split()


def plist(tmp_path: Path, **keys: object) -> str:
    path = tmp_path / "entitlements.plist"
    path.write_bytes(plistlib.dumps(keys))
    return str(path)


def entitlements(tmp_path: Path, *keys: str) -> str:
    return plist(tmp_path, **dict.fromkeys(keys, True))


@pytest.mark.parametrize("key", [HYPERVISOR, OLD_NAME])
def test_either_name_of_the_entitlement_will_do(tmp_path: Path, key: str) -> None:
    program = f"pyhv.sandbox.enter({entitlements(tmp_path, key)!r})\nprint(tried(pyhv.VirtualMachine, 'soft'))"
    assert confined(program) == ["ok"]


def test_without_it_there_are_no_machines(tmp_path: Path) -> None:
    """behaviour 6.1: HV_DENIED."""
    program = f"""
from pyhv.framework import intel as hv
pyhv.sandbox.enter({entitlements(tmp_path, NETWORKING)!r})
print(tried(pyhv.VirtualMachine, "soft"), tried(hv.hv_vm_create, 0))
try:
    hv.hv_vm_create(0)
except pyhv.HvError as error:
    print(hex(error.code))
"""
    assert confined(program) == ["Denied", "Denied", hex(pyhv.HvReturn.DENIED)]


def test_the_variable_refuses_without_confining(tmp_path: Path) -> None:
    program = "print(tried(pyhv.VirtualMachine, 'soft'), tried(opened, '/etc/hostname'))"
    assert confined(program, PYHV_ENTITLEMENTS=entitlements(tmp_path)) == ["Denied", "ok"]
    assert confined(program, PYHV_ENTITLEMENTS=entitlements(tmp_path, HYPERVISOR)) == ["ok", "ok"]
    assert confined(program, PYHV_ENTITLEMENTS=str(tmp_path / "none")) == ["BadArgument", "ok"]


@pytest.mark.skipif(not os.access("/dev/kvm", os.R_OK | os.W_OK), reason="this machine has no /dev/kvm to open")
def test_kvm_opens_with_the_entitlement_only(tmp_path: Path) -> None:
    """By its node, through /proc, and by one that was open before: the last is the filter's."""
    program = """
KVM_GET_API_VERSION = 0xAE00
inherited = os.open("/dev/kvm", os.O_RDWR)
pyhv.sandbox.enter(PLIST)
for path in ("/dev/kvm", "/proc/self/root/dev/kvm", "/dev/../dev/kvm"):
    print(tried(opened, path, os.O_RDWR))
print(tried(fcntl.ioctl, inherited, KVM_GET_API_VERSION))
"""
    without, granted = entitlements(tmp_path, NETWORKING), None
    assert confined(program.replace("PLIST", repr(without))) == ["EACCES", "EACCES", "EACCES", "EPERM"]
    granted = entitlements(tmp_path, HYPERVISOR)
    assert confined(program.replace("PLIST", repr(granted))) == ["ok", "ok", "ok", "ok"]


def test_networks_need_their_entitlement(tmp_path: Path) -> None:
    program = """
TUNSETIFF = 0x400454CA
pipe = os.pipe()[0]
pyhv.sandbox.enter(PLIST)
print(tried(socket.socket, socket.AF_PACKET, socket.SOCK_DGRAM), tried(socket.socket, socket.AF_INET, socket.SOCK_RAW))
print(tried(fcntl.ioctl, pipe, TUNSETIFF), tried(opened, "/dev/net/tun", os.O_RDWR))
print(tried(socket.socket, socket.AF_INET, socket.SOCK_STREAM))
"""
    packet, raw, tun, node, stream = confined(program.replace("PLIST", repr(entitlements(tmp_path, HYPERVISOR))))
    assert (packet, raw, tun, stream) == ("EPERM", "EPERM", "EPERM", "ok")
    assert node in ("EACCES", "ENOENT")
    _, _, tun, _, stream = confined(program.replace("PLIST", repr(entitlements(tmp_path, NETWORKING))))
    assert (tun, stream) == ("ENOTTY", "ok")  # the pipe's own answer


def test_usb_needs_its_entitlement(tmp_path: Path) -> None:
    program = """
USBDEVFS_RESET = 0x5514
pipe = os.pipe()[0]
pyhv.sandbox.enter(PLIST)
print(tried(fcntl.ioctl, pipe, USBDEVFS_RESET), tried(os.listdir, "/dev/bus/usb"))
"""
    ioctl, node = confined(program.replace("PLIST", repr(entitlements(tmp_path, HYPERVISOR))))
    assert ioctl == "EPERM"
    assert node in ("EACCES", "ENOENT")
    assert confined(program.replace("PLIST", repr(entitlements(tmp_path, DEVICES))))[0] == "ENOTTY"


def test_what_no_guest_needs_is_gone(tmp_path: Path) -> None:
    program = f"""
libc = ctypes.CDLL(None, use_errno=True)
pyhv.sandbox.enter({entitlements(tmp_path, HYPERVISOR, NETWORKING, DEVICES)!r})
def call(name, *arguments):
    if getattr(libc, name)(*arguments) < 0:
        raise OSError(ctypes.get_errno(), name)
print(tried(call, "ptrace", 0, 0, 0, 0), tried(call, "mount", b"/", b"/mnt", None, 4096, None))
print(tried(call, "unshare", 0x10000000), tried(call, "setns", 0, 0))
print(tried(os.mknod, {str(tmp_path / "node")!r}, 0o20600, os.makedev(10, 232)))
libc.setuid.restype = ctypes.c_int
PR_GET_NO_NEW_PRIVS = 39
print(libc.prctl(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0))
"""
    assert confined(program) == ["EPERM"] * 5 + ["1"]


def test_threads_and_children_are_confined_too(tmp_path: Path) -> None:
    program = f"""
pyhv.sandbox.enter({entitlements(tmp_path)!r})
results = []
thread = threading.Thread(target=lambda: results.append(tried(socket.socket, socket.AF_PACKET, socket.SOCK_RAW)))
thread.start(); thread.join()
import subprocess
code = "import socket\\ntry: socket.socket(socket.AF_PACKET, socket.SOCK_RAW)\\nexcept PermissionError: print('EPERM')"
print(*results, subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout)
"""
    assert confined(program) == ["EPERM", "EPERM"]


def test_files_can_be_confined_too(tmp_path: Path) -> None:
    for name in ("secret", "shown", "out"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "file").write_text("x")
    program = f"""
from pathlib import Path
tmp = Path({str(tmp_path)!r})
held = open(tmp / "secret" / "file")
pyhv.sandbox.enter(Entitlements(hypervisor=True), files=Files(readable=(tmp / "shown",), writable=(tmp / "out",)))
print(tried((tmp / "secret" / "file").read_text), tried((tmp / "shown" / "file").read_text))
print(tried((tmp / "shown" / "file").write_text, "y"), tried((tmp / "out" / "new").write_text, "y"))
print(tried((tmp / "new").write_text, "y"), held.read())
import wave, pyhv.testing
with pyhv.VirtualMachine("soft") as vm:
    print(vm.engine_name)
"""
    landlock = confined("import pyhv.sandbox._landlock as l\nprint(l.version())")[0] != "0"
    closed = "EACCES" if landlock else "ok"
    assert confined(program) == [closed, "ok", closed, "ok", closed, "x", "soft"]


def test_a_process_with_threads_is_refused_and_stays_free(tmp_path: Path) -> None:
    program = f"""
stop = threading.Event()
thread = threading.Thread(target=stop.wait)
thread.start()
print(tried(pyhv.sandbox.enter, {entitlements(tmp_path)!r}))
stop.set(); thread.join()
print(tried(pyhv.VirtualMachine, "soft"))
"""
    assert confined(program) == ["Busy", "ok"]


def test_nothing_has_happened_where_the_file_is_bad(tmp_path: Path) -> None:
    bad = plist(tmp_path, **{HYPERVISOR: "yes"})
    program = f"print(tried(pyhv.sandbox.enter, {bad!r}))\nprint(tried(pyhv.VirtualMachine, 'soft'))"
    assert confined(program) == ["BadArgument", "ok"]


@pytest.mark.parametrize(
    ("data", "word"),
    [(b"", "not a property list"), (b"<plist><dict><key>", "not a property list"), (b"bplist00junk", "not a property")],
)
def test_bad_lists_are_named(data: bytes, word: str) -> None:
    with pytest.raises(BadArgument, match=word):
        Entitlements.parse(data)


def test_lists_that_are_none_of_ours() -> None:
    with pytest.raises(BadArgument, match="a list; a dictionary would do"):
        Entitlements.parse(plistlib.dumps([1]))
    with pytest.raises(BadArgument, match=r"com\.apple\.vm\.networking is 1; <true/>"):
        Entitlements.parse(plistlib.dumps({NETWORKING: 1}))
    others = {"com.apple.security.app-sandbox": True, HYPERVISOR: False, OLD_NAME: True}
    assert Entitlements.parse(plistlib.dumps(others, fmt=plistlib.FMT_BINARY)) == Entitlements(hypervisor=True)
