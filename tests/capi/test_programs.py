"""C programs of ours, as C and as C++, against libHypervisor.so, in an empty environment."""

from __future__ import annotations

import functools
import shlex
import subprocess
import sys
import tomllib
from collections.abc import Callable
from pathlib import Path

import pytest

from pyhv.engines.select import ENGINES

PROGRAMS = Path(__file__).parent / "programs"
SPEC = Path(__file__).resolve().parents[2] / "spec" / "api" / "intel.toml"
NAMES = sorted(path.stem for path in PROGRAMS.glob("*.c"))
COMPILERS = {"c": ("gcc", "-std=gnu11"), "c++": ("g++", "-std=gnu++17", "-x", "c++")}
SECONDS = 120


@functools.cache
def hv(*arguments: str) -> str:
    command = [sys.executable, "-m", "pyhv.cli", *arguments]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


def vmcs_fields() -> str:
    """A line FIELD(name, what Apple's table says of it) for each VMCS field of the spec."""
    fields = next(enum for enum in tomllib.loads(SPEC.read_text("utf-8"))["enum"] if enum["name"] == "vmcs_field")
    words = {"access_rw": "RW", "access_conditional": "CONDITIONAL", "access_ro": "RO"}
    said = {name: word for key, word in words.items() for name in fields[key]}
    names = [name for name in fields["values"] if name != "VMCS_INVALID"]
    return "".join(f"FIELD({name}, {said.get(name, 'NO_WORD')})\n" for name in names)


def build(program: Path, out: Path, language: str = "c") -> Path:
    compile_flags, libs = (shlex.split(hv("c-flags", part)) for part in ("--cflags", "--libs"))
    flags = ["-O1", "-Wall", "-Wextra", "-Werror", "-pthread", f"-I{out.parent}"]
    command = [*COMPILERS[language], *flags, *compile_flags, str(program), "-x", "none", "-o", str(out), *libs]
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return out


def run(program: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    """In an empty environment: `env -i`."""
    return subprocess.run([str(program)], check=False, capture_output=True, text=True, env=environment, timeout=SECONDS)


@pytest.fixture(scope="module")
def programs(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """A program by its name, compiled once."""
    folder = tmp_path_factory.mktemp("programs")
    (folder / "vmcs_fields.inc").write_text(vmcs_fields())

    @functools.cache
    def program(name: str) -> Path:
        return build(PROGRAMS / f"{name}.c", folder / name)

    return program


@pytest.mark.parametrize("name", NAMES)
def test_program(programs: Callable[[str], Path], name: str) -> None:
    done = run(programs(name))
    assert (done.returncode, done.stdout, done.stderr) == (0, "ok\n", "")


@pytest.mark.parametrize("name", NAMES)
def test_a_program_is_cpp_too(programs: Callable[[str], Path], name: str) -> None:
    """The same code once more, so it need not run again."""
    build(PROGRAMS / f"{name}.c", programs(name).with_suffix(".cpp"), "c++")


ON_KVM = ("crowd", "forks", "leaves", "memory", "msrs", "notifiers", "state", "storm", "strict", "threads")


@pytest.mark.parametrize("name", ON_KVM)
def test_program_on_kvm(programs: Callable[[str], Path], name: str) -> None:
    """Those that ask for nothing that KVM has not. (In `changes` another thread may see a byte that KVM puts back.)"""
    status = ENGINES["kvm"].status()
    if not status.works:
        pytest.skip(f"the kvm engine: {status.reason}")
    done = run(programs(name), PYHV_ENGINE="kvm")
    assert (done.returncode, done.stdout, done.stderr) == (0, "ok\n", "")


def test_an_error_says_what_was_wrong_when_asked(tmp_path: Path) -> None:
    (tmp_path / "bad.c").write_text(
        "#include <Hypervisor/Hypervisor.h>\n"
        "int main(void) { return hv_vm_map(0, 0x123, 0x1000, 7) != HV_NO_DEVICE; }\n"
    )
    program = build(tmp_path / "bad.c", tmp_path / "bad")
    assert run(program).stderr == ""
    told = run(program, PYHV_ERRORS="1")
    assert told.returncode == 0
    assert told.stderr.startswith("hv_vm_map: NoDevice: this process has no VM")


def test_entitlements_deny_a_c_program_too(tmp_path: Path) -> None:
    (tmp_path / "make.c").write_text(
        "#include <Hypervisor/Hypervisor.h>\nint main(void) { return hv_vm_create(HV_VM_DEFAULT) != HV_DENIED; }\n"
    )
    (tmp_path / "none.plist").write_text("<plist><dict/></plist>")
    program = build(tmp_path / "make.c", tmp_path / "make")
    assert run(program, PYHV_ENTITLEMENTS=str(tmp_path / "none.plist")).returncode == 0
    assert run(program).returncode == 1


def test_pkg_config_knows_the_same(tmp_path: Path) -> None:
    libs = shlex.split(hv("c-flags", "--libs"))
    folder = Path(libs[0].removeprefix("-L"))
    text = (folder / "pkgconfig" / "Hypervisor.pc").read_text()
    assert "-lHypervisor" in text
    assert "@" not in text
    assert (folder.parent / "include" / "Hypervisor" / "Hypervisor.h").exists()
