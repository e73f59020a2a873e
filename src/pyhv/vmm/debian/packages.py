"""Debian packages by Debian's own tools: apt finds and downloads, dpkg-deb unpacks. No root is needed."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path

from .errors import DebianError

APT_SECONDS = 600


def require_tools() -> None:
    """Raises DebianError where a tool is missing."""
    missing = [tool for tool in ("apt-get", "apt-cache", "dpkg-deb") if shutil.which(tool) is None]
    if missing:
        raise DebianError(
            f"--kernel debian needs {', '.join(missing)}, which this machine does not have;"
            " it works on Debian and its relatives. Elsewhere give a kernel file: --kernel bzImage --initrd FILE"
        )


def kernel_package(meta: str) -> str:
    """The package with the kernel itself that a meta package such as linux-image-cloud-amd64 stands for now."""
    shown = _run(["apt-cache", "show", "--no-all-versions", meta], f"apt does not know the package {meta}")
    match = re.search(r"^Depends:.*?\b(linux-image-[0-9][^\s,]*)", shown, re.MULTILINE)
    if match is None:
        raise DebianError(f"the package {meta} names no kernel that it depends on; `apt-cache show {meta}` shows it")
    return match[1]


def download(package: str, folder: Path) -> Path:
    """Fetch a package into `folder` and give its file. Raises DebianError."""
    before = set(folder.glob("*.deb"))
    _run(["apt-get", "-q", "download", package], f"apt cannot download {package}", cwd=folder)
    new = set(folder.glob("*.deb")) - before or set(folder.glob(f"{package}_*.deb"))
    if not new:
        raise DebianError(f"apt-get download {package} said that all went well, and no file is there")
    return max(new, key=lambda path: path.stat().st_mtime_ns)


def unpack(package: Path, folder: Path) -> None:
    """The files of a package below `folder`. Raises DebianError."""
    _run(["dpkg-deb", "-x", str(package), str(folder)], f"{package.name} cannot be unpacked")


def _run(command: list[str], failure: str, cwd: Path | None = None) -> str:
    environment = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL": "C.UTF-8"}
    environment |= {name: value for name, value in os.environ.items() if name.lower().endswith("_proxy")}
    try:
        done = subprocess.run(
            command, cwd=cwd, env=environment, capture_output=True, text=True, timeout=APT_SECONDS, check=False
        )
    except FileNotFoundError:
        raise DebianError(f"{failure}: there is no {command[0]} on this machine") from None
    except subprocess.TimeoutExpired:
        raise DebianError(f"{failure}: no answer for {APT_SECONDS} s; is the network up?") from None
    if done.returncode:
        raise DebianError(f"{failure}: {_reason(done.stderr)}")
    return done.stdout


def _reason(stderr: str) -> str:
    """apt's own words, and what usually helps."""
    errors = [line.removeprefix("E: ") for line in stderr.splitlines() if line.startswith(("E: ", "dpkg-deb: error"))]
    said = "; ".join(errors) or stderr.strip() or "it gave no reason"
    if "Unable to locate" in said or "No packages found" in said or "Can't find" in said:
        return f"{said}. `apt-get update` (as root) fetches the lists"
    if any(word in said for word in ("Failed to fetch", "Could not resolve", "Temporary failure", "Unable to connect")):
        return f"{said}. Is the network up? Once fetched, the guest boots without it"
    return said
