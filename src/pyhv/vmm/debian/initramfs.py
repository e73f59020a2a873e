"""The root file system that the guest starts with: BusyBox, the kernel's modules for our devices, and an /init."""

from __future__ import annotations

from collections.abc import Mapping

from . import cpio

READY = "pyhv: BusyBox is up"  # the first line that /init prints

_INIT = f"""#!/bin/sh
echo "{READY}"
/bin/busybox mkdir -p /proc /sys /dev /tmp /root /mnt /sbin /usr/bin /usr/sbin
/bin/busybox --install -s
mount -t proc proc /proc
mount -t sysfs sysfs /sys
grep -q ' /dev ' /proc/mounts || mount -t devtmpfs devtmpfs /dev
mkdir -p /dev/pts && mount -t devpts devpts /dev/pts
mount -t tmpfs tmpfs /tmp
hostname pyhv
while read -r module; do
    insmod "/lib/modules/$module.ko" || echo "pyhv: the module $module was not taken"
done < /etc/modules
export HOME=/root TERM=linux PATH=/sbin:/bin:/usr/sbin:/usr/bin PS1='pyhv# '
cd /root
echo "This is $(uname -sr) with $(nproc) CPU(s). 'poweroff -f' or the end of this shell ends the machine."
console=$(sed 's/.*console=\\([a-zA-Z0-9]*\\).*/\\1/;t;s/.*/ttyS0/' /proc/cmdline)
setsid sh -c "exec sh < /dev/$console > /dev/$console 2>&1" || true
sync
poweroff -f
"""


def build(busybox: bytes, modules: Mapping[str, bytes]) -> bytes:
    """The archive; the modules are loaded in the order given."""
    return cpio.pack(
        [
            cpio.file("init", _INIT.encode(), 0o755),
            cpio.file("bin/busybox", busybox, 0o755),
            cpio.symlink("bin/sh", "busybox"),
            cpio.character_device("dev/console", 5, 1),
            cpio.character_device("dev/null", 1, 3),
            cpio.file("etc/modules", "".join(f"{name}\n" for name in modules).encode()),
            *(cpio.file(f"lib/modules/{name}.ko", data) for name, data in modules.items()),
        ]
    )
