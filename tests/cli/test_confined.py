"""`hv run`, `hv boot` and `hv compare` confine themselves: what they open afterwards is what their guest needs."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from pyhv.cli.exit_codes import ExitCode

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="the sandbox is Linux's")

# Runs the command with the guest's bus replaced by something that tries what a guest that has broken out would try.
TRY = """
import json, os, socket, sys
from pyhv.vmm import session
def tried(what, *arguments):
    try:
        what(*arguments)
    except OSError as error:
        return error.errno
    return 0
def escape(plan, settings, capture, source):
    results = [
        tried(open, sys.argv[-1]),
        tried(open, os.path.dirname(sys.argv[-1]) + "/new", "w"),
        tried(socket.socket, socket.AF_PACKET, socket.SOCK_RAW),
        tried(open, json.__file__),
    ]
    print(json.dumps(results))
    sys.stdout.flush()
    os._exit(0)
session.run = escape
from pyhv.cli import main
main()
"""
EPERM, EACCES = 1, 13


def escaped(image: Path, *options: str) -> list[int]:
    secret = image.parent / "secret"
    secret.write_text("x")
    command = [sys.executable, "-c", TRY, "run", *options, str(image), str(secret)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
    found: list[int] = json.loads(done.stdout)
    return found


def has_landlock() -> bool:
    code = "from pyhv.sandbox import _landlock\nprint(_landlock.version())"
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout != "0\n"


@pytest.mark.skipif(not has_landlock(), reason="this kernel has no Landlock")
def test_a_guest_that_breaks_out_finds_nothing(tmp_path: Path) -> None:
    (tmp_path / "guest.bin").write_bytes(b"\xf4")
    assert escaped(tmp_path / "guest.bin") == [EACCES, EACCES, EPERM, 0]


def test_it_can_be_left_out(tmp_path: Path) -> None:
    (tmp_path / "guest.bin").write_bytes(b"\xf4")
    secret, new, packet, module = escaped(tmp_path / "guest.bin", "--no-sandbox")
    assert (secret, new, module) == (0, 0, 0)
    assert packet == (0 if os.geteuid() == 0 else EPERM)


def test_a_bad_entitlements_file_is_a_usage_error(tmp_path: Path) -> None:
    (tmp_path / "guest.bin").write_bytes(b"\xf4")
    environment = {**os.environ, "PYHV_ENTITLEMENTS": str(tmp_path / "none")}
    command = [sys.executable, "-m", "pyhv.cli", "run", str(tmp_path / "guest.bin")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False, env=environment)
    assert done.returncode == ExitCode.USAGE
    assert "none cannot be read" in done.stderr


@pytest.mark.parametrize("command", ["run", "compare"])
def test_a_right_that_is_missing_is_told_by_where_it_is_missing(command: str, tmp_path: Path) -> None:
    (tmp_path / "guest.bin").write_bytes(b"\xf4")
    (tmp_path / "none.plist").write_text('<plist version="1.0"><dict/></plist>')
    environment = {**os.environ, "PYHV_ENTITLEMENTS": str(tmp_path / "none.plist")}
    line = [sys.executable, "-m", "pyhv.cli", command, str(tmp_path / "guest.bin")]
    done = subprocess.run(line, capture_output=True, text=True, timeout=60, check=False, env=environment)
    assert done.returncode == ExitCode.NO_MACHINE
    assert f"$PYHV_ENTITLEMENTS={tmp_path / 'none.plist'} lacks" in done.stderr


@pytest.mark.skipif(not has_landlock(), reason="this kernel has no Landlock")
def test_a_comparison_is_confined_too(tmp_path: Path) -> None:
    (tmp_path / "guest.bin").write_bytes(b"\xf4")
    code = TRY.replace("session.run = escape", "from pyhv.cli import compare; compare.compare = escape").replace(
        "escape(plan, settings, capture, source)", "escape(*_)"
    )
    line = [sys.executable, "-c", code, "compare", "--to", "kvm", str(tmp_path / "guest.bin")]
    done = subprocess.run(line, capture_output=True, text=True, timeout=60, check=False)
    assert json.loads(done.stdout) == [EACCES, EACCES, EPERM, 0]
