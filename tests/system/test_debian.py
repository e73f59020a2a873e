"""Debian's unmodified kernel to a shell: commands, processors, disks, and every way it can end."""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from pyhv.vmm.boot import BootSettings
from pyhv.vmm.boot import boot as boot_in_process
from pyhv.vmm.console import Capture, PumpedSource
from pyhv.vmm.debian import debian_guest
from pyhv.vmm.limits import Limits
from pyhv.vmm.loaders import kernel
from pyhv.vmm.outcome import LimitReached

from .conftest import Guest

Boot = Callable[..., Guest]
pytestmark = pytest.mark.slow
COMPLAINTS = re.compile(
    r"unchecked MSR|WARNING:|BUG:|Call Trace|ACPI (?:Error|Warning|BIOS)|\[Firmware Bug\]|failed with error|I/O error"
)
COUNT = "i=0; while [ $i -lt 20000 ]; do i=$((i+1)); done"
IDLE_SECONDS, IDLE_SHARE = 5, 0.03


@pytest.mark.parametrize("cpus", [1, 2])
def test_a_shell_and_commands(boot: Boot, cpus: int) -> None:
    guest = boot("--cpus", str(cpus))
    assert guest.run("nproc").strip() == str(cpus)
    assert guest.run("uname -r").strip() == debian_guest().version
    assert guest.run("echo $((6 * 7)) | sha256sum").split()[0] == hashlib.sha256(b"42\n").hexdigest()
    assert len(guest.run("head -c 64 /dev/hwrng | od -An -tx1")) > 100
    guest.type("poweroff -f\n")
    assert guest.end() == 0
    found = COMPLAINTS.findall(guest.output)
    assert not found, guest.output


def test_two_processors_work_at_once(boot: Boot) -> None:
    guest = boot("--cpus", "2")
    guest.run(
        "for n in 0 1; do taskset $((n + 1)) sh -c 'i=0; while [ $i -lt 20000 ]; do i=$((i+1)); done' & done; wait"
    )
    busy = [
        int(line.split()[1]) for line in guest.run("grep '^cpu[01]' /proc/stat").splitlines() if line.startswith("cpu")
    ]
    assert len(busy) == 2
    assert all(ticks > 0 for ticks in busy)


@pytest.mark.parametrize(("command", "code"), [("poweroff -f", 0), ("reboot -f", 16), ("halt -f", 10),
                                               ("echo c > /proc/sysrq-trigger", 18), ("exit", 0)])  # fmt: skip
def test_each_end_has_its_code(boot: Boot, command: str, code: int) -> None:
    guest = boot()
    guest.type(command + "\n")
    assert guest.end() == code


@pytest.mark.skipif(not shutil.which("mkfs.ext4", path="/usr/sbin:/sbin"), reason="e2fsprogs is not installed")
def e2fs(*command: str | Path) -> subprocess.CompletedProcess[bytes]:
    """A tool of e2fsprogs, which lives where only root's PATH goes."""
    path = f"/usr/sbin:/sbin:{os.environ['PATH']}"
    return subprocess.run(command, env={"PATH": path}, capture_output=True, check=False)


def test_a_disk_is_written_and_in_order_afterwards(boot: Boot, tmp_path: Path) -> None:
    disk, shared = tmp_path / "disk.img", tmp_path / "shared.img"
    disk.write_bytes(bytes(32 << 20))
    shared.write_bytes(b"read me\n".ljust(512))
    assert e2fs("mkfs.ext4", "-q", disk).returncode == 0
    guest = boot("--disk", str(disk), "--disk", f"{shared},ro")
    assert guest.run("head -c 7 /dev/vdb").startswith("read me")
    assert "Operation not permitted" in guest.run("echo x > /dev/vdb")
    guest.run("mount -t ext4 /dev/vda /mnt && mkdir /mnt/d && cp /bin/busybox /mnt/d/")
    digest = guest.run("head -c 1000000 /dev/urandom | tee /mnt/random | sha256sum").split()[0]
    guest.run("fstrim -v /mnt; sync; umount /mnt")
    guest.type("poweroff -f\n")
    assert guest.end() == 0
    assert not COMPLAINTS.findall(guest.output)
    checked = e2fs("e2fsck", "-fn", disk)
    assert checked.returncode == 0, checked.stdout
    written = e2fs("debugfs", "-R", "cat /random", disk).stdout
    assert (len(written), hashlib.sha256(written).hexdigest()) == (1_000_000, digest)


def test_an_idle_guest_costs_little(boot: Boot) -> None:
    guest = boot()
    guest.run("sleep 1")

    def used() -> float:
        fields = Path(f"/proc/{guest.process.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    before = used()
    with pytest.raises(AssertionError, match="no 'never'"):
        guest.expect("never", IDLE_SECONDS)
    assert used() - before < IDLE_SHARE * IDLE_SECONDS


def test_a_boot_with_a_budget_repeats_exactly() -> None:
    found = debian_guest()
    plan = kernel.plan(found.kernel.read_bytes(), found.command_line, initrd=found.initrd.read_bytes())
    settings = BootSettings("soft", limits=Limits(instructions=200_000_000), ns_per_instruction=10.0)
    results = []
    for _ in range(2):
        capture = Capture()
        result = boot_in_process(plan, settings, capture, PumpedSource(None))
        assert result.outcome == LimitReached(200_000_000)
        results.append((capture.data, result.seconds, dict(result.exits), result.instructions))
    assert results[0] == results[1]
    assert b"Linux version" in results[0][0]
