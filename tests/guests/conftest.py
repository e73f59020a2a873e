"""Guests from source: built once a session by the host's gcc, run in this process with their output caught."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

SOURCES = Path(__file__).parent / "src"
LONG = (
    "gcc -std=c17 -O2 -m64 -mgeneral-regs-only -mno-red-zone -fcf-protection=none -fno-pic -ffreestanding -fno-builtin"
    " -fno-stack-protector -fno-asynchronous-unwind-tables -fno-tree-loop-distribute-patterns"
    " -Wall -Wextra -Werror -Wno-parentheses"
    " -static -nostdlib -no-pie -Wl,--build-id=none -Wl,-z,noexecstack -Wl,--no-warn-rwx-segments"
    " -Wl,-z,max-page-size=4096 -Wl,-Ttext-segment=0x100000"
).split()
KERNEL = [*LONG, "-m32", "-fno-pie"]
FLAT = "ld -Ttext=0x1000 -e 0 --oformat binary".split()


def _run(*command: str | Path) -> None:
    done = subprocess.run([str(part) for part in command], capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{' '.join(map(str, command))}\n{done.stderr}"


@pytest.fixture(scope="session")
def build(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """`build("paging.c")` gives a 64-bit ELF, `build("real.S")` flat code for 0x1000,
    `build("system.c")` a 32-bit Multiboot kernel."""
    if not shutil.which("gcc"):
        pytest.fail("these tests build guests: install gcc and binutils")
    folder = tmp_path_factory.mktemp("guests")
    made: dict[str, Path] = {}

    def make(name: str) -> Path:
        if name not in made:
            made[name] = folder / name.replace(".", "_")
            if name == "system.c":
                _run(*KERNEL, "-o", made[name], SOURCES / "system.S", SOURCES / name)
            elif name.endswith(".c"):
                _run(*LONG, "-o", made[name], SOURCES / "entry.S", SOURCES / "guest.c", SOURCES / name)
            else:
                _run("as", "--32", "-o", folder / "flat.o", SOURCES / name)
                _run(
                    "ld",
                    "-m",
                    "elf_i386",
                    "-Ttext=0x1000",
                    "-e",
                    "0",
                    "--oformat",
                    "binary",
                    "-o",
                    made[name],
                    folder / "flat.o",
                )
        return made[name]

    return make
